package folder

import (
	"context"
	"io/fs"
	"os"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// denying is a filesystem on which nothing below dir can be looked at: the tests may run
// as root, whom no mode keeps out.
type denying struct {
	vfs.FS
	dir id.Path
}

func (d denying) Lstat(p id.Path) (vfs.Stat, error) {
	if p.Below(d.dir) {
		return vfs.Stat{}, &fs.PathError{Op: "lstat", Path: string(p), Err: fs.ErrPermission}
	}
	return d.FS.Lstat(p)
}

// TestUnreadableNamesTheDirectory: what is below a directory that keeps its owner out is
// blocked with that directory, its mode and what to do.
func TestUnreadableNamesTheDirectory(t *testing.T) {
	t.Parallel()
	const shut = `cannot be read: the mode 000 of "c" keeps even its owner out; chmod u+rwx it, here or on another node`
	m := vfs.NewMem(vfs.MemOptions{})
	for _, d := range []id.Path{"c", "c/sub", "open"} {
		if err := m.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Chmod("c", 0); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[id.Path]string{"c/in": shut, "c/sub/x": shut, "open/x": "cannot be read", "x": "cannot be read"} {
		if got := whyUnreadable(denying{m, "c"}, p); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}

// TestShutDirectoryComesOpen: a directory whose mode keeps its owner out gets that mode
// when all below it is there, also where that comes after a restart; a deeper one too.
func TestShutDirectoryComesOpen(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can be the author, who must read what it has shut")
	}
	for _, restart := range []bool{false, true} {
		c := newCluster(t, t.TempDir(), 2)
		t.Cleanup(c.close)
		a, b := c.nodes[0], c.nodes[1]
		lacking := chunks.Sum(chunks.Chunk, []byte("late"))
		c.mu.Lock()
		c.missing[lacking] = true
		c.mu.Unlock()
		a.write("c/sub/late", "late")
		a.write("c/there", "there")
		a.write("d/x", "x")
		a.start()
		a.committed()
		a.chmod("c/sub", 0o600)
		a.chmod("c", 0)
		a.chmod("d", 0)
		a.committed()
		b.start()
		mode := func(p string) fs.FileMode {
			in, err := os.Lstat(b.path(p))
			c.ok(err)
			return in.Mode().Perm()
		}
		within(t, "the late file to be found missing", func(ctx context.Context) error {
			return b.engine.until(ctx, func() (bool, error) {
				b.engine.st.mu.Lock()
				defer b.engine.st.mu.Unlock()
				return b.engine.st.later["c/sub/late"].missing, nil
			})
		})
		if m := mode("c"); m&0o700 != 0o700 {
			t.Errorf("c is %v while something below it is to come", m)
		}
		if restart {
			b.restart()
		}
		c.mu.Lock()
		delete(c.missing, lacking)
		c.mu.Unlock()
		c.done()
		c.conflicts(0)
		b.has("c/sub/late", "late")
		for p, want := range map[string]fs.FileMode{"c": 0, "c/sub": 0o600, "d": 0} {
			if m := mode(p); m != want {
				t.Errorf("%s is %v, want %v", p, m, want)
			}
		}
		for _, n := range []*node{a, b} { // to be removed by who runs the tests
			for _, p := range []string{"c", "c/sub", "d"} {
				n.chmod(p, 0o700)
			}
		}
	}
}
