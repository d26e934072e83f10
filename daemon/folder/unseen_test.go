package folder

import (
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestUnseenBelowADirectory: what one node's user did deep in a directory that another's
// removed or renamed without having seen it stays on all disks, whatever the second
// node knew when it proposed that.
func TestUnseenBelowADirectory(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name string
		do   step
	}{
		{"removed", func(n *node) { n.remove("d") }},
		{"renamed", func(n *node) { n.rename("d", "e") }},
		{"renamed, another in its place", func(n *node) { n.rename("d", "e"); n.write("d/sub/deep/y", "other") }},
	} {
		for _, how := range []string{"cut", "held", "down"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.write("d/x", "x")
				a.write("d/sub/deep/y", "y")
				c.settled()
				switch how {
				case "cut": // it proposes without having heard of a's change
					b.set(true, false)
				case "held": // it sends, but does not apply
					b.set(false, true)
				case "down": // it knows of a's change when it finds what its user did
					b.end()
				}
				a.write("d/sub/deep/y", "edited")
				a.write("d/sub/deep/new", "created")
				a.committed()
				k.do(b)
				if how == "down" {
					b.caught()
					b.start()
				}
				b.captured()
				c.settled()
				for _, n := range c.nodes {
					got := render(n.disk())
					for _, text := range []string{"edited", "created"} {
						if !strings.Contains(got, text) {
							t.Errorf("%q is gone from %s\n%s%s", text, n.root, got, c.story())
						}
					}
				}
				if a, b := render(a.disk()), render(b.disk()); a != b {
					t.Errorf("the disks differ:\n%s\n%s", a, b)
				}
			})
		}
	}
}

// TestEditUnderAMovingDirectory: a directory is renamed elsewhere while a file in it is
// edited here: under way, or not yet noticed. The edit follows; nobody deleted, and
// nobody made anything twice.
func TestEditUnderAMovingDirectory(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"under way", "not noticed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.write("d/f", "one")
			a.write("d/g", "two")
			c.settled()
			b.set(how == "not noticed", how == "under way")
			a.rename("d", "e")
			a.committed()
			if how == "under way" {
				b.write("d/f", "edited")
				b.captured() // sent, and in the log behind the rename; b applies neither yet
				b.step()
			} else {
				b.end()
				b.write("d/f", "edited")
				b.set(false, false)
				b.caught()
				b.start()
			}
			c.settled()
			for _, n := range c.nodes {
				n.has("e/f", "edited")
				n.has("e/g", "two")
				n.gone("d")
			}
			c.noRecords()
		})
	}
}

// What the follower leaves to the local loop was on this disk: a directory that the
// user replaced then is no clash with it.
func TestLocalChangesAreNotLacked(t *testing.T) {
	t.Parallel()
	var s state
	s.init()
	for p, why := range map[id.Path]string{"a/deleted": whyLocal, "b/waits": whyOutcome, "c/comes": whyFollow} {
		s.postpone(p, postponed{why: why})
	}
	for dir, want := range map[id.Path]bool{"a": false, "b": false, "c": true} {
		lacked := false
		s.lackedBelow(dir, nil, func(id.Path) { lacked = true })
		if lacked != want {
			t.Errorf("below %s: %v, want %v", dir, lacked, want)
		}
	}
}

// A directory that moves into new ones, in the same moment, leaves them their modes.
func TestMoveIntoNewDirectories(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a := c.nodes[0]
	a.write("p/q/f", "1")
	c.settled()
	a.end() // so that all is found at once
	for _, d := range []string{"new", "new/deep"} {
		c.ok(os.Mkdir(a.path(d), 0o700))
	}
	a.rename("p", "new/deep/p")
	a.start()
	a.captured()
	c.settled()
	for _, n := range c.nodes {
		if got, want := render(n.disk()), "  new: dir 700\n  new/deep: dir 700\n  new/deep/p: dir 755\n"; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got\n%s\nwant first\n%s", n.root, got, want)
		}
	}
	if s := c.story(); !strings.Contains(s, "new/deep/p=directory(from p)") {
		t.Errorf("the directory did not move as one:\n%s", s)
	}
}
