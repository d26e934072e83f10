package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/internal/atomicfile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// home is the directory that holds everything a node owns.
type home string

func (h home) path(name string) string { return filepath.Join(string(h), name) }

func (h home) identity() string { return h.path("identity") }
func (h home) config() string   { return h.path("node.json") }
func (h home) lockFile() string { return h.path("lock") }
func (h home) meta() string     { return h.path("meta") }
func (h home) raft() string     { return h.path("raft") }
func (h home) local() string    { return h.path("local") }
func (h home) packs() string    { return h.path("packs") }
func (h home) settings() string { return conf.Path(string(h)) }

// configVersion is the version of node.json.
const configVersion = 1

// config is what a home remembers of its place in the cluster: node.json.
type config struct {
	Version int        `json:"version"`
	Cluster id.Cluster `json:"cluster"`
	Name    string     `json:"name"`
	// Listen is the address bound, with the port that the first start was given.
	Listen string `json:"listen"`
	// Advertise is what others are told to dial.
	Advertise string `json:"advertise"`
	// First: this node made the cluster, and bootstraps it at its first start.
	First bool `json:"first,omitempty"`
	// Members are those that the inviter told of: they count until the replicated
	// membership has come.
	Members []meta.NodeRecord `json:"members,omitempty"`
	// Follow: Advertise was not given by the user, so each start takes the machine's
	// address of that time.
	Follow bool `json:"follow,omitempty"`
}

// ErrNoNode is returned by Run where the home holds no node.
var ErrNoNode = errors.New("no node in this home")

func (h home) load() (c config, err error) {
	data, err := os.ReadFile(h.config())
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%w: %s; run `lockstep init` for a new cluster or `lockstep join TOKEN`", ErrNoNode, h)
	}
	if err != nil {
		return c, fmt.Errorf("read the node's config: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("read the node's config %s: %w", h.config(), err)
	}
	if c.Version != configVersion {
		return c, fmt.Errorf("read the node's config %s: version %d is not known to this program; use the one that wrote it or a newer one", h.config(), c.Version)
	}
	return c, nil
}

func (h home) save(c config) error {
	c.Version = configVersion
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write the node's config: %w", err)
	}
	return atomicfile.Write(h.config(), append(data, '\n'), 0o600)
}

// own refuses a directory that holds something else than a node's: closing it to
// others, and filling it, would be done to whatever it is, /tmp say.
func (h home) own() error {
	names, err := os.ReadDir(string(h))
	if err != nil {
		return fmt.Errorf("look into the home: %w", err)
	}
	for _, n := range names {
		switch h.path(n.Name()) {
		case h.identity(), h.config(), h.lockFile(), h.meta(), h.raft(), h.local(), h.packs(), h.settings(), h.path("lost+found"):
		default:
			if atomicfile.IsTemp(n.Name()) {
				continue // of an attempt that was cut short
			}
			return fmt.Errorf("%s holds other things (%q): choose an empty or a new directory with --home", h, n.Name())
		}
	}
	return nil
}

// create makes an empty home, or says that one is there.
func (h home) create() error {
	if err := os.MkdirAll(string(h), 0o700); err != nil {
		return fmt.Errorf("make the home: %w; choose another with --home", err)
	}
	if _, err := os.Lstat(h.config()); err == nil {
		return fmt.Errorf("a node is in %s already; run `lockstep daemon`, or choose another home with --home", h)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look into the home: %w", err)
	}
	if err := h.own(); err != nil {
		return err
	}
	// A home that was there already may be open to others.
	if err := os.Chmod(string(h), 0o700); err != nil {
		return fmt.Errorf("close the home to others: %w", err)
	}
	return nil
}
