package node

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
)

func TestAddressesOfAStart(t *testing.T) {
	t.Parallel()
	own, _, err := net.SplitHostPort(here("", "1", "192.0.2.9:1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		made              config
		set               Settings
		listen, advertise string
	}{
		"as made":                      {config{Listen: ":7000", Advertise: "192.0.2.9:7000"}, Settings{}, ":7000", "192.0.2.9:7000"},
		"the machine has moved":        {config{Listen: ":7000", Advertise: "192.0.2.9:7000", Follow: true}, Settings{}, ":7000", net.JoinHostPort(own, "7000")},
		"listen set":                   {config{Listen: ":7000", Advertise: "192.0.2.9:7000", Follow: true}, Settings{Listen: "127.0.0.1:7001"}, "127.0.0.1:7001", "127.0.0.1:7001"},
		"listen set, advertise given":  {config{Listen: ":7000", Advertise: "me.example:1"}, Settings{Listen: ":7001"}, ":7001", "me.example:1"},
		"advertise set":                {config{Listen: ":7000", Advertise: "192.0.2.9:7000", Follow: true}, Settings{Advertise: "me.example:1"}, ":7000", "me.example:1"},
		"a loopback stays one":         {config{Listen: "127.0.0.1:7000", Advertise: "127.0.0.1:7000", Follow: true}, Settings{}, "127.0.0.1:7000", "127.0.0.1:7000"},
		"a host's name stays as it is": {config{Listen: "desk.example:7000", Follow: true}, Settings{}, "desk.example:7000", "desk.example:7000"},
	} {
		got := c.made.with(c.set)
		if got.Listen != c.listen || got.Advertise != c.advertise {
			t.Errorf("%s: listen %q, advertise %q; want %q, %q", name, got.Listen, got.Advertise, c.listen, c.advertise)
		}
	}
}

// TestSettingsBeforeInit: a config.toml that was there first is followed and kept;
// what contradicts it, or is misspelt in it, makes no node.
func TestSettingsBeforeInit(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf.Path(home), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nme = \"desk\"\n")
	if err := Init(InitOptions{Home: home, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), `line 1: there is no key "nme"; did you mean "name"?`) {
		t.Errorf("a misspelt key: %v", err)
	}
	write("name = \"desk\"\nadvertise = \"desk.example:7000\"\n")
	if err := Init(InitOptions{Home: home, Name: "table"}); !errors.Is(err, ErrUsage) {
		t.Errorf("a flag against the file: %v", err)
	}
	if err := Init(InitOptions{Home: home, Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	if name, listen, adv, err := Addresses(home); err != nil || name != "desk" || adv != "desk.example:7000" || !strings.HasPrefix(listen, "127.0.0.1:") {
		t.Errorf("made as %q, listening on %q, at %q; %v", name, listen, adv, err)
	}
	if text, err := os.ReadFile(conf.Path(home)); err != nil || !strings.HasPrefix(string(text), "name =") {
		t.Errorf("the user's file is now %q, %v", text, err)
	}
	write("scan_interval = \"1s\"\n")
	if err := Run(t.Context(), RunOptions{Home: home}); err == nil || !strings.Contains(err.Error(), "line 1: scan_interval") {
		t.Errorf("a start with a setting that makes no sense: %v", err)
	}
}

func TestSampleInAHome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Init(InitOptions{Home: dir, Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.toml"))
	if err != nil || string(text) != SampleSettings() {
		t.Errorf("a new home has the settings %q, %v", text, err)
	}
	p := Paths(dir)
	for _, there := range []string{p.Home, p.Config, p.Node, p.Identity} {
		if _, err := os.Stat(there); err != nil {
			t.Errorf("paths: %v", err)
		}
	}
}
