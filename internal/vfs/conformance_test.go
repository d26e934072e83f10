package vfs_test

import (
	"errors"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/internal/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) vfs.FS{
		"real": func(t *testing.T) vfs.FS { return must(t, vfs.OpenReal) },
		"near": func(t *testing.T) vfs.FS { return nearFS{must(t, vfs.OpenReal)} },
		"root": func(t *testing.T) vfs.FS { return must(t, vfs.OpenRootForTest) },
		"mem":  func(t *testing.T) vfs.FS { return vfs.NewMem(vfs.MemOptions{}) },
		"mem, other options": func(t *testing.T) vfs.FS {
			return vfs.NewMem(vfs.MemOptions{FoldCase: true, NoExchange: true, NoLeases: true, NoSyncAll: true,
				ReuseInodes: true, EnforceModes: false, Capacity: 1 << 20, Umask: 0o022})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vfstest.Run(t, open)
		})
	}
}

// nearFS does what a Near can through one that is new each time.
type nearFS struct{ vfs.FS }

func (f nearFS) Lstat(p id.Path) (vfs.Stat, error) {
	n := vfs.NearOf(f.FS)
	defer n.Close()
	return n.Lstat(p)
}

func (f nearFS) Open(p id.Path) (vfs.Handle, error) {
	n := vfs.NearOf(f.FS)
	defer n.Close()
	return n.Open(p)
}

func (f nearFS) Create(p id.Path, mode uint32) (vfs.Handle, error) {
	n := vfs.NearOf(f.FS)
	defer n.Close()
	return n.Create(p, mode)
}

// What a Near answers follows what is done in the directory that it keeps open, and it
// finds the next one by itself.
func TestNearFollows(t *testing.T) {
	for name, f := range map[string]vfs.FS{"real": must(t, vfs.OpenReal), "mem": vfs.NewMem(vfs.MemOptions{})} {
		t.Run(name, func(t *testing.T) {
			defer f.Close()
			n := vfs.NearOf(f)
			defer n.Close()
			kinds := func(want ...vfs.Kind) {
				t.Helper()
				for i, p := range []id.Path{"d/a", "d/b", "e/a", "a", "d/a/x", "none/x"} {
					if st, err := n.Lstat(p); err != nil || st.Kind != want[i] {
						t.Errorf("%s: %s, %v, want %s", p, st.Kind, err, want[i])
					}
				}
			}
			for _, d := range []id.Path{"d", "e"} {
				if err := f.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			kinds(vfs.Absent, vfs.Absent, vfs.Absent, vfs.Absent, vfs.Absent, vfs.Absent)
			for _, p := range []id.Path{"d/a", "d/b", "e/a", "a"} {
				h, err := n.Create(p, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				_ = h.Close()
			}
			kinds(vfs.File, vfs.File, vfs.File, vfs.File, vfs.Absent, vfs.Absent)
			if err := f.Unlink("d/a"); err != nil {
				t.Fatal(err)
			}
			if err := f.Symlink("../e", "d/a"); err != nil {
				t.Fatal(err)
			}
			if st, err := n.Lstat("d/a"); err != nil || st.Kind != vfs.Symlink {
				t.Errorf("d/a: %s, %v", st.Kind, err)
			}
			if _, err := n.Lstat("d/a/a"); !errors.Is(err, vfs.ErrEscape) {
				t.Errorf("below a symlink: %v", err)
			}
			if h, err := n.Open("d/a"); !errors.Is(err, vfs.ErrEscape) {
				t.Errorf("a symlink opened: %v %v", h, err)
			}
		})
	}
}

func must(t *testing.T, open func(string) (vfs.FS, error)) vfs.FS {
	t.Helper()
	f, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return f
}
