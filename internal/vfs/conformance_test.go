package vfs_test

import (
	"testing"

	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/internal/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) vfs.FS{
		"real": func(t *testing.T) vfs.FS { return must(t, vfs.OpenReal) },
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

func must(t *testing.T, open func(string) (vfs.FS, error)) vfs.FS {
	t.Helper()
	f, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return f
}
