package folder

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
)

// movedTo ends the node and starts it with another root, as `folder move` does.
func (n *node) movedTo(root string) {
	n.c.t.Helper()
	n.end()
	l, err := local.Open(n.home+"/local", local.Options{})
	n.c.ok(err)
	m, ok, err := l.Folder(n.c.folder)
	n.c.ok(err)
	if !ok {
		n.c.t.Fatalf("the folder is not mapped")
	}
	m.Root, m.Moved = root, true
	b := l.NewBatch()
	b.SetFolder(m)
	n.c.ok(b.Commit(true))
	n.c.ok(l.Close())
	n.root = root
	n.start()
}

// TestRootMoved: after a rename nothing is new; after a copy, with other inodes and
// times, only other bytes are. What did not come along comes back, whatever of the
// folder that is, and what the copy holds of an older version is no change.
func TestRootMoved(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"renamed", "copied", "copied with times"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.many(100)
			a.write("edited", "0")
			a.write("d/lost", "0")
			a.write("stale", "0")
			a.chmod("edited", 0o700)
			c.settled()
			old, root := b.root, b.root+"-moved"
			switch how {
			case "renamed":
				b.end() // else it halts, or not, before it is told
				c.ok(os.Rename(old, root))
			case "copied":
				c.ok(exec.Command("cp", "-r", old, root).Run())
				past := time.Now().Add(-time.Hour)
				c.ok(os.Chtimes(root+"/t/1/f1", past, past))
			default:
				c.ok(exec.Command("cp", "-a", old, root).Run())
			}
			want := c.head().Revision
			if how != "renamed" {
				a.write("stale", "1")
				c.settled()
				want++
			}
			c.ok(os.RemoveAll(root + "/d"))
			c.ok(os.RemoveAll(root + "/t/2"))
			c.ok(os.WriteFile(root+"/edited", []byte("b"), 0o700))
			b.movedTo(root)
			c.done()
			if got := c.head().Revision; got != want+1 { // the edit
				t.Errorf("revision %d, want %d\n%s", got, want+1, c.story())
			}
			a.has("edited", "b")
			b.has("d/lost", "0")
			b.has("t/2/f2", "text 2")
			if how != "renamed" {
				b.has("stale", "1")
			}
			c.conflicts(0)
		})
	}
}

// TestRootMovedToLess: what is missing of most of the folder is no mass deletion.
func TestRootMovedToLess(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.many(100)
	c.settled()
	root := b.root + "-moved"
	c.ok(os.MkdirAll(root, 0o755))
	c.ok(exec.Command("cp", "-r", b.path(".lockstep"), root).Run())
	want := c.head()
	b.movedTo(root)
	c.done()
	if got := c.head(); got != want {
		t.Errorf("revision %d, want %d", got.Revision, want.Revision)
	}
}
