package folder

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// preferCluster joins with what b has, after the survey found so many paths to differ, and
// commits what is kept as a node does.
func (n *node) preferCluster(differ int) {
	n.c.t.Helper()
	n.survey(func(s *Survey, _ *local.DB) {
		s.counts(n.c.t, reconcile.Different, differ)
		_, err := s.Mine(context.Background(), "kept")
		n.c.ok(err)
		n.c.ok(s.PreferCluster()) // as if history had them
	})
}

// TestPreferClusterAlongRenames: what was made below a directory that the cluster renamed
// meanwhile meets the cluster's at its new name: it is among what differs, and theirs win.
func TestPreferClusterAlongRenames(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	for _, p := range []string{"d/edited", "d/sub/edited", "d/same", "d/file now/x"} {
		a.write(p, "1")
	}
	a.committed()
	a.rename("d", "e")
	a.committed()
	a.rename("e", "top")
	a.committed()
	a.write("top/made by both", "theirs")
	a.write("top/made alike", "alike")
	a.remove("top/file now")
	a.write("top/file now", "file")
	a.write("top/longer", "theirs")
	a.committed()
	for _, p := range []string{"d/edited", "d/sub/edited", "d/made by both", "d/longer", "d/file now/y"} {
		b.write(p, "mine: "+strings.Repeat("m", len(p)%3))
	}
	b.write("d/made by both", "xheirs") // of the same size
	b.write("d/made alike", "alike")
	b.write("d/same", "1")
	b.write("d/file now/x", "1")
	b.write("d/new", "new")
	b.caught()
	before := c.head().Revision
	b.preferCluster(5)
	b.start()
	c.done()
	c.conflicts(0)
	b.gone("d")
	for p, text := range map[string]string{"edited": "1", "sub/edited": "1", "same": "1", "made by both": "theirs", "made alike": "alike", "file now": "file", "new": "new", "longer": "theirs"} {
		b.has("top/"+p, text)
		a.has("top/"+p, text)
	}
	if now := c.head().Revision; now > before+2 {
		t.Errorf("revisions %d to %d for two new paths", before+1, now)
	}
}

// TestOwnRenamesAreNotFollowed: below a directory that this node renamed itself a path is
// new, so it is no clash.
func TestOwnRenamesAreNotFollowed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 1)
	t.Cleanup(c.close)
	a := c.nodes[0]
	a.start()
	a.write("d/f", "1")
	a.committed()
	a.rename("d", "e")
	a.committed()
	a.end()
	a.write("d/f", "mine")
	a.survey(func(s *Survey, _ *local.DB) {
		s.o.Self = a.id // the only path; so none differs
		s.counts(t, reconcile.Fresh, 1)
		c.ok(s.Undo())
	})
}

// TestPreferClusterEmptyDirectories: where only an empty directory clashes nothing has to
// be kept, and the cluster's file takes its place, also one of the first revision.
func TestPreferClusterEmptyDirectories(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	a.write("f", "file")
	a.committed()
	if r := c.head().Revision; r != 1 {
		t.Fatalf("revision %d", r)
	}
	b.mkdir("f/in it")
	b.caught()
	b.preferCluster(1)
	b.start()
	c.done()
	c.conflicts(0)
	b.has("f", "file")
	v := b.machine.View()
	defer v.Close()
	c.ok(v.Tree(c.folder, "", ^id.Revision(0), func(x meta.Version) error {
		if x.Path != "f" {
			t.Errorf("%q is in the folder", x.Path)
		}
		return nil
	}))
}

// TestPreferClusterThenEdit: an edit that the user makes before the cluster's version has
// taken its place is no edit of that: both are kept, whatever revision it dates from.
func TestPreferClusterThenEdit(t *testing.T) {
	t.Parallel()
	for _, later := range []bool{false, true} {
		for what, edit := range map[string]func(n *node){
			"nothing": func(*node) {},
			"edits":   func(n *node) { n.write("f", "mine, edited") },
			"removes": func(n *node) { n.remove("f") },
			"renames": func(n *node) { n.rename("f", "g") },
			"swaps":   func(n *node) { n.remove("f"); n.write("f/in it", "mine, edited") },
			"chmods":  func(n *node) { n.chmod("f", 0o600) },
		} {
			t.Run(fmt.Sprintf("later %v, the user %s", later, what), func(t *testing.T) {
				t.Parallel()
				c := newCluster(t, t.TempDir(), 2)
				t.Cleanup(c.close)
				a, b := c.nodes[0], c.nodes[1]
				a.start()
				if later {
					a.write("other", "first")
					a.committed()
				}
				a.write("f", "theirs")
				a.committed()
				b.write("f", "mine")
				b.caught()
				b.preferCluster(1)
				edit(b)
				b.start()
				c.done()
				want := map[string]int{"edits": 1, "swaps": 1, "chmods": 1}[what]
				c.conflicts(want)
				for _, n := range c.nodes {
					if what == "renames" && later { // the rename is of theirs
						n.has("g", "theirs")
						continue
					}
					n.has("f", "theirs")
				}
				if what == "edits" || what == "swaps" {
					c.inHistory("mine, edited")
				}
				b.write("f", "after")
				c.done()
				c.conflicts(want)
				a.has("f", "after")
			})
		}
	}
}
