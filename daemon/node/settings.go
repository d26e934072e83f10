package node

import (
	"fmt"
	"net"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/join"
)

// Settings are what a home's config.toml says, and the defaults.
type Settings = conf.Config

// LoadSettings reads a home's config.toml; the error names the line.
func LoadSettings(home string) (Settings, error) { return conf.Load(home) }

// SampleSettings is a config.toml that explains every key and sets none.
func SampleSettings() string { return conf.Sample() }

// FormatRate shows a limit as config.toml takes it.
func FormatRate(n int64) string { return conf.FormatRate(n) }

// Addresses are where a home's node listens and what the others are told to dial,
// by node.json and config.toml together.
func Addresses(dir string) (name, listen, advertise string, err error) {
	h := home(dir)
	c, err := h.load()
	if err != nil {
		return "", "", "", err
	}
	s, err := conf.Load(dir)
	if err != nil {
		return "", "", "", err
	}
	c = c.with(s)
	return c.Name, c.Listen, c.Advertise, nil
}

// finish writes what makes the home a node's, the sample of settings before it.
func (h home) finish(c config) error {
	if err := conf.WriteSample(string(h)); err != nil {
		return err
	}
	return h.save(c)
}

// agreed is what a flag or config.toml says; that they contradict each other is
// refused, for at the next start only the file would count.
func agreed(key, flag, file string) (string, error) {
	if flag != "" && file != "" && flag != file {
		return "", fmt.Errorf("%w: the %s given is %q, and config.toml says %q: change one of them", ErrUsage, key, flag, file)
	}
	if flag == "" {
		return file, nil
	}
	return flag, nil
}

// with is the config of a start: what config.toml sets counts, and an address that
// nobody set is the machine's of now.
func (c config) with(s Settings) config {
	if s.Listen != "" {
		c.Listen = s.Listen
	}
	if s.Name != "" {
		c.Name = s.Name
	}
	host, port, err := net.SplitHostPort(c.Listen)
	switch {
	case s.Advertise != "":
		c.Advertise = s.Advertise
		c.Follow = false
	case c.Follow && err == nil:
		c.Advertise = here(host, port, c.Advertise)
	}
	return c
}

// PathSet is where everything of a node is.
type PathSet struct {
	Home     string `json:"home"`
	Config   string `json:"config"`
	Node     string `json:"node"`
	Identity string `json:"identity"`
	Socket   string `json:"socket"`
	Metadata string `json:"metadata"`
	Raft     string `json:"raft"`
	Local    string `json:"local"`
	Chunks   string `json:"chunks"`
}

// Paths returns where everything of the node in a home is, whether it is there or not.
func Paths(dir string) PathSet {
	h := home(dir)
	return PathSet{
		Home: dir, Config: h.settings(), Node: h.config(), Identity: h.identity(), Socket: control.SocketPath(dir),
		Metadata: h.meta(), Raft: h.raft(), Local: h.local(), Chunks: h.packs(),
	}
}

// TokenIsOf reports whether a token is one of the cluster that a home's node is in.
func TokenIsOf(dir, token string) (bool, error) {
	t, err := join.ParseToken(token)
	if err != nil {
		return false, err
	}
	c, err := home(dir).load()
	return err == nil && c.Cluster == t.Cluster, err
}

// DefaultSettings are those of a home without a config.toml.
func DefaultSettings() Settings { return conf.Default() }
