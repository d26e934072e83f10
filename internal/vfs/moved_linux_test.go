package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
)

// A directory that the user moves out of the root while something is renamed into it,
// or out of it, gets nothing and loses nothing.
func TestRenameUnderAMovedDirectory(t *testing.T) {
	for _, m := range []RenameMode{NoReplace, Exchange} {
		for _, out := range []bool{false, true} {
			base := t.TempDir()
			root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
			must(t, os.MkdirAll(filepath.Join(root, "d"), 0o755))
			must(t, os.WriteFile(filepath.Join(root, "new"), []byte("new"), 0o600))
			if m == Exchange {
				must(t, os.WriteFile(filepath.Join(root, "d", "f"), []byte("old"), 0o600))
			} else if out {
				must(t, os.Rename(filepath.Join(root, "new"), filepath.Join(root, "d", "f")))
			}
			f, err := OpenReal(root)
			must(t, err)
			if _, ok := f.(*realFS); !ok {
				t.Skip("SKIPPED: no openat2 here, and the portable implementation cannot tell")
			}
			failpoint.Set("vfs/renamed", func() error { return os.Rename(filepath.Join(root, "d"), outside) })
			if out {
				err = f.Rename("d/f", "new", m)
			} else {
				err = f.Rename("new", "d/f", m)
			}
			failpoint.Set("vfs/renamed", nil)
			if !errors.Is(err, ErrEscape) {
				t.Errorf("mode %d, out %v: %v, want ErrEscape", m, out, err)
			}
			was := map[string]string{filepath.Join(root, "new"): "new", filepath.Join(outside, "f"): "old"}
			if m == NoReplace {
				was = map[string]string{filepath.Join(root, "new"): "new", filepath.Join(outside, "f"): ""}
				if out {
					was = map[string]string{filepath.Join(root, "new"): "", filepath.Join(outside, "f"): "new"}
				}
			}
			for p, want := range was {
				if got, _ := os.ReadFile(p); string(got) != want {
					t.Errorf("mode %d, out %v: %s holds %q, want %q", m, out, p, got, want)
				}
			}
			must(t, f.Close())
		}
	}
}
