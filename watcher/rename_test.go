package watcher

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOneDirectoryAtTwoPaths: a directory that was renamed, and added at its new
// path before the event of the old one was read, has one watch, at the new path.
// The library alone keeps both names for one watch and panics when both go.
func TestOneDirectoryAtTwoPaths(t *testing.T) {
	n, err := newFSNotify()
	if err != nil {
		t.Skipf("SKIPPED: no events on this system: %v", err)
	}
	defer n.Close()
	dir := t.TempDir()
	names := []string{"d", "e", "f", "d"}
	at := func(i int) string { return filepath.Join(dir, names[i]) }
	if err := os.Mkdir(at(0), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.Add(at(0)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(names); i++ {
		if err := os.Rename(at(i-1), at(i)); err != nil {
			t.Fatal(err)
		}
		if err := n.Add(at(i)); err != nil {
			t.Fatal(err)
		}
		if n.Watched(at(i-1)) || !n.Watched(at(i)) {
			t.Errorf("after the rename to %s: watched at the old path %v, at the new %v", names[i], n.Watched(at(i-1)), n.Watched(at(i)))
		}
	}
	for i := range names { // removing any of them, in any order, does no harm
		_ = n.Remove(at(i))
	}
	if n.Watched(at(3)) {
		t.Error("still watched after its removal")
	}
}
