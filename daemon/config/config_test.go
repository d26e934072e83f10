package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSample: what the sample shows behind a # is each key once, and the default.
func TestSample(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(Sample()))
	if err != nil || got != Default() {
		t.Errorf("as it is: %+v, %v; want the defaults %+v", got, err, Default())
	}
	key := regexp.MustCompile(`(?m)^#([a-z_]+) = `)
	var keys []string
	for _, m := range key.FindAllStringSubmatch(Sample(), -1) {
		keys = append(keys, m[1])
	}
	if !reflect.DeepEqual(keys, Keys()) {
		t.Errorf("the sample has the keys %q, want %q", keys, Keys())
	}
	got, err = Parse([]byte(key.ReplaceAllString(Sample(), "$1 = ")))
	if err != nil || got != Default() {
		t.Errorf("with every # taken away: %+v, %v; want the defaults %+v", got, err, Default())
	}
	for line := range strings.Lines(Sample()) {
		if n := len(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte("\n# mine\nname = \"desk\" # here\nlisten = '[::]:7417'\nadvertise = \"desk.example:7000\"\n" +
		"limit_up = \"2 MiB/s\"\nlimit_down = 0\nlog_level = \"debug\"\nlog_format=\"json\"\nscan_interval = \"1h30m\"\n"))
	want := Config{Name: "desk", Listen: "[::]:7417", Advertise: "desk.example:7000", LimitUp: 2 << 20,
		LogLevel: "debug", LogFormat: "json", ScanInterval: 90 * time.Minute}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\n\nlimitup = \"1 MiB/s\"":       `line 3: there is no key "limitup"; did you mean "limit_up"?`,
		"log-level = \"info\"":            `line 1: there is no key "log-level"; did you mean "log_level"?`,
		"colour = \"red\"":                `line 1: there is no key "colour"; the keys are name, listen,`,
		"[log]\nlevel = \"info\"":         `line 1: there is no key "log"; the keys are name`,
		"listen = \"7417\"":               `line 1: listen: "7417" is no address: write HOST:PORT`,
		"listen = \"0.0.0.0:0\"":          `line 1: listen: "0.0.0.0:0" is no address`,
		"#\nadvertise = \"0.0.0.0:7417\"": `line 2: advertise: "0.0.0.0:7417": nobody can dial that`,
		"advertise = \":7417\"":           `nobody can dial that`,
		"limit_up = \"fast\"":             `line 1: limit_up: "fast" is no rate`,
		"limit_up = 12":                   `line 1: limit_up: "12" is less than 1 KiB/s`,
		"limit_up = -5":                   `is no rate`,
		"limit_up = [1]":                  `line 1, column`,
		"log_level = \"loud\"":            `line 1: log_level: "loud" is none of debug, info, warn, error`,
		"log_format = true":               `line 1: log_format: "true" is none of text, json`,
		"name = \"Desk Top\"":             `line 1: name: `,
		"scan_interval = \"1s\"":          `line 1: scan_interval: 1s is not between 10s and 168h0m0s`,
		"scan_interval = 300":             `"300" is no time: write such as "90s"`,
		"name = \"a\"\nname = \"b\"":      `line 2`,
		"name = \"a":                      `line 1`,
		"name":                            `line 1`,
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\n got %v\nwant one line with %s", text, err, want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, " 0 ": 0, "0 MiB/s": 0, "2048": 2048, "2 MiB/s": 2 << 20, "2MiB": 2 << 20, "1.5 mib/s": 3 << 19, "500 kB/s": 500_000,
		"20 Mbit/s": 2_500_000, "1 GiB / s": 1 << 30, "1024 B/s": 1024,
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB/s", "1 parsec", "-1 MiB/s", "1e9", "0x10", "1 MiB/m", "0.0001", "99999999999 GiB/s", "NaN", "Inf", "1_000"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(minRate, 1<<50).Draw(t, "n")
		if got, err := ParseRate(FormatRate(n)); err != nil || got != n {
			t.Fatalf("%d is shown as %q, which is read as %d, %v", n, FormatRate(n), got, err)
		}
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if got, err := Load(home); err != nil || got != Default() {
		t.Errorf("no file: %+v, %v", got, err)
	}
	if err := WriteSample(home); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(home); err != nil || got != Default() {
		t.Errorf("the sample: %+v, %v", got, err)
	}
	if err := os.WriteFile(Path(home), []byte("nam = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteSample(home); err != nil {
		t.Fatal(err)
	}
	_, err := Load(home)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(home, "config.toml")+": line 1: ") {
		t.Errorf("the user's file was not kept, or the error does not name it: %v", err)
	}
	if err := os.WriteFile(Path(home), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(home); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a huge file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Sample()))
	f.Add([]byte("limit_up = \"1 MiB/s\"\n[x]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err == nil && (c.LimitUp < 0 || c.LimitDown < 0 || c.ScanInterval < minScan || c.LogLevel == "") {
			t.Errorf("%q gives %+v", text, c)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%q: the error is not one line: %q", text, err)
		}
	})
}
