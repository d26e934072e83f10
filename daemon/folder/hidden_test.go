package folder

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/meta"
)

// history starts a cluster whose losers make no copies.
func historyCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(t, t.TempDir(), n, map[string]string{"conflicts": "history"})
	t.Cleanup(c.close)
	return c.start()
}

// TestHiddenLoser: the author's own disk gets the winner too, for history holds what
// it had; what its user built on it offline goes the same way, and a resolution brings
// it to every disk.
func TestHiddenLoser(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			t.Parallel()
			c := historyCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.write("f.txt", "base")
			c.settled()
			b.set(true, false)
			a.write("f.txt", "a1")
			a.committed()
			for i := range 3 {
				b.write("f.txt", fmt.Sprint("b", i))
				b.captured()
			}
			if restart {
				b.restart()
			}
			b.set(false, true) // sent, but b does not know the outcome
			b.write("f.txt", "b3")
			b.captured()
			c.done()
			c.conflicts(1)
			for _, n := range c.nodes {
				n.has("f.txt", "a1")
				for p := range n.disk() {
					if strings.Contains(p, "conflict") {
						t.Errorf("%s is on a disk", p)
					}
				}
			}
			for i := range 4 {
				c.inHistory(fmt.Sprint("b", i))
			}
			out := c.submit(a, meta.ResolveCmd{Folder: c.folder, Conflict: 1, Keep: meta.KeepLoser, Seen: c.head().Base()})
			if out.Kind != meta.Accepted {
				t.Fatalf("%+v", out)
			}
			c.done()
			for _, n := range c.nodes {
				n.has("f.txt", "b3")
			}
		})
	}
}

func (c *cluster) submit(n *node, cmd meta.Command) (out meta.Outcome) {
	c.t.Helper()
	within(c.t, "submit", func(ctx context.Context) (err error) {
		out, err = n.engine.Submit(ctx, cmd)
		return err
	})
	return out
}

// TestUnsyncedEditsAgainstAResolution: what another disk has not sent yet of a side when
// the conflict is resolved is not lost, and no disk's bytes are written over.
func TestUnsyncedEditsAgainstAResolution(t *testing.T) {
	t.Parallel()
	for _, keep := range []meta.Keep{meta.KeepWinner, meta.KeepLoser, meta.KeepBoth} {
		t.Run(keep.String(), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			a, b, d := c.nodes[0], c.nodes[1], c.nodes[2]
			a.write("f", "base")
			c.settled()
			b.set(true, false)
			a.write("f", "a1")
			a.committed()
			b.write("f", "b1")
			b.captured()
			c.settled()
			copied := "f (conflict n2 r3)"
			d.has(copied, "b1")

			d.set(true, false)
			d.write("f", "d on the path")
			d.write(copied, "d on the copy")
			d.captured()
			if out := c.submit(a, meta.ResolveCmd{Folder: c.folder, Conflict: 1, Keep: keep, Seen: c.head().Base()}); out.Kind == meta.Refused {
				t.Fatalf("%+v", out)
			}
			c.done()
			for _, text := range []string{"base", "a1", "b1", "d on the path", "d on the copy"} {
				c.inHistory(text)
			}
			found := 0
			for _, what := range a.disk() {
				if strings.Contains(what, "d on the") {
					found++
				}
			}
			if found != 2 {
				t.Errorf("%d of d's two edits are on a's disk\n%s", found, render(a.disk()))
			}
		})
	}
}
