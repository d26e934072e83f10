package node

import (
	"context"
	"fmt"
	"net"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/meta"
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
	case c.Follow && err == nil:
		c.Advertise = net.JoinHostPort(reachable(host), port)
	}
	return c
}

// reachable is the address that others can use to reach a listener on host. Where
// that is all of the machine's, it is the one that faces the network's way out: the
// first in the system's list may be a container bridge's.
func reachable(host string) string {
	if !unspecified(host) {
		return host
	}
	for _, target := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // of no one; nothing is sent
		c, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		a, ok := c.LocalAddr().(*net.UDPAddr)
		c.Close()
		if ok && a.IP.IsGlobalUnicast() {
			return a.IP.String()
		}
	}
	if own := ownAddresses(); len(own) > 0 {
		return own[0].String()
	}
	return "127.0.0.1"
}

// ownAddresses are the machine's that others may dial, IPv4 first.
func ownAddresses() (out []net.IP) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var six []net.IP
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			out = append(out, n.IP)
		default:
			six = append(six, n.IP)
		}
	}
	return append(out, six...)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// keepRecord tells the cluster where this node can be reached, and its name if
// config.toml sets one, where that changed.
func (n *Node) keepRecord(ctx context.Context) error {
	changed, stop := n.machine.Watch()
	defer stop()
	for {
		r, ok, err := n.record()
		if err != nil {
			return err
		}
		if ok {
			return n.updateRecord(ctx, r)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (n *Node) record() (meta.NodeRecord, bool, error) {
	v := n.machine.View()
	defer v.Close()
	return v.Node(n.self)
}

func (n *Node) updateRecord(ctx context.Context, now meta.NodeRecord) error {
	want := meta.NodeRecord{ID: n.self}
	if now.Address != n.cfg.Advertise {
		want.Address = n.cfg.Advertise
	}
	if n.set.Name != "" && now.Name != n.set.Name {
		want.Name = n.set.Name
	}
	if want.Address == "" && want.Name == "" {
		return nil
	}
	out, err := n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeUpdate, Record: want})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case out.Kind == meta.Refused:
		n.log.Error("the cluster does not take this node's name or address", "name", want.Name, "address", want.Address, "reason", out.Reason)
	case want.Name != "" && string(out.Detail) != want.Name:
		n.log.Warn("the name in config.toml is another node's; this one got the next free one", "name", string(out.Detail))
	}
	return nil
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
