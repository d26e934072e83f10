package folder

import (
	"context"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// forsake ends the folder on a node, as `folder rm` does; the node goes on.
func (n *node) forsake() (lost int) {
	n.c.t.Helper()
	n.cancel()
	<-n.done
	lost, err := n.engine.Rescue(context.Background())
	n.c.ok(err)
	n.c.ok(n.engine.RescueKept(context.Background()))
	n.c.ok(Forget(n.local, n.chunks, n.c.folder))
	return lost
}

// TestRemoveLosesNoBytes: what only the files of a folder held stays in history when the
// folder is removed from the node: the head, and what was displaced and waits.
func TestRemoveLosesNoBytes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	large := strings.Repeat("many chunks, ", 50_000)
	b.write("f", "displaced")
	b.write("dir/large", large)
	c.settled()
	b.write("f", "the head")
	c.settled()
	numbers, err := a.local.KeptFiles(c.folder)
	c.ok(err)
	b.end() // nobody else has anything
	if lost := a.forsake(); lost != 0 {
		t.Errorf("%d files could not be read", lost)
	}
	a.remove("f")
	a.remove("dir")
	for _, text := range []string{"displaced", "the head", large} {
		c.inHistory(text)
	}
	for p, n := range numbers {
		if _, _, ok, err := a.local.FilePath(n); ok || err != nil {
			t.Errorf("the place of %q is still known (%v)", p, err)
		}
	}
}

// TestRemoveOfWhatIsNotThere: what cannot be packed is told, and the folder goes all the
// same: a disk may be lost for good.
func TestRemoveOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.write("f", "one")
	b.write("g", "two")
	a.write("own", "packed by its author")
	c.settled()
	a.end()
	a.remove("")
	a.start()
	a.halts()
	if lost := a.forsake(); lost != 2 {
		t.Errorf("%d files were not packed, want 2", lost)
	}
	if _, ok, err := a.local.Get(c.folder, id.Path("f")); ok || err != nil {
		t.Errorf("f is still recorded (%v)", err)
	}
}
