package doctor

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if _, err := Probe(root); err == nil {
		t.Error("a directory that is no folder's root was tried")
	}
	reserved := filepath.Join(root, ".lockstep")
	// What a killed daemon left is cleared.
	if err := os.MkdirAll(filepath.Join(reserved, "probe"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(reserved, "probe", "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Probe(root)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && !f.NoReplace {
		t.Errorf("got %+v of a filesystem for tests", f)
	}
	for dir, want := range map[string]int{root: 1, reserved: 0} {
		if names, err := os.ReadDir(dir); err != nil || len(names) != want {
			t.Errorf("in %s are now %d names, %v", dir, len(names), err)
		}
	}
}

// TestProbeStaysInside: what leads out of the root is not followed.
func TestProbeStaysInside(t *testing.T) {
	t.Parallel()
	root, out := t.TempDir(), t.TempDir()
	if err := os.Symlink(out, filepath.Join(root, ".lockstep")); err != nil {
		t.Skipf("SKIPPED: no symlinks: %v", err)
	}
	if _, err := Probe(root); err == nil {
		t.Error("a reserved directory that is a symlink was used")
	}
	if names, err := os.ReadDir(out); err != nil || len(names) != 0 {
		t.Errorf("outside of the root are now %d names, %v", len(names), err)
	}
}

func TestLookAtHome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := LookAtHome(dir, false, nil)
	if h.Err != nil || h.Open != privateMatters || h.Disk.Known && h.Disk.Free == 0 {
		t.Errorf("%+v", h)
	}
	if h := LookAtHome(filepath.Join(dir, "none"), true, nil); h.Err != nil || !h.Missing || h.Disk.Known {
		t.Errorf("a home that is not there: %+v", h)
	}
}
