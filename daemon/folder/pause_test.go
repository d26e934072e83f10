package folder

import (
	"context"
	"errors"
	"testing"
)

// pause and resume are what the node does: another engine.
func (n *node) pause() {
	n.c.t.Helper()
	_, onDisk, err := n.engine.Progress()
	n.c.ok(err)
	n.end()
	n.paused, n.onDisk = true, onDisk
	n.start()
}

func (n *node) resume() { n.c.t.Helper(); n.paused = false; n.restart() }

func (n *node) setMode(m Mode) { n.c.t.Helper(); n.mode = m; n.restart() }

// TestPause: a paused folder neither proposes nor brings, and says so; what came on
// both sides meanwhile is found at the end with the bases that it was made from: a
// conflict only where both changed the same.
func TestPause(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for _, p := range []string{"mine", "theirs", "both", "gone/x", "renamed/x"} {
		a.write(p, "0")
	}
	c.settled()
	before := c.head()
	b.pause()
	b.write("mine", "b")
	b.write("both", "b")
	b.write("new", "b")
	b.remove("gone")
	b.rename("renamed", "elsewhere")
	a.write("theirs", "a")
	a.write("both", "a")
	a.committed()
	b.caught()
	in, err := b.engine.Info()
	c.ok(err)
	if in.Phase != StatePaused || in.Head.Revision != c.head().Revision || in.OnDisk != before.Revision {
		t.Errorf("paused: %s", b.state())
	}
	for name, f := range map[string]func(context.Context) error{
		"flush": b.engine.Flush,
		"wait":  func(ctx context.Context) error { _, err := b.engine.Wait(ctx); return err },
	} {
		within(t, name, func(ctx context.Context) error {
			if err := f(ctx); !errors.Is(err, ErrPaused) {
				return err
			}
			return nil
		})
	}
	b.has("theirs", "0")
	a.has("mine", "0")
	b.restart() // as the daemon is
	b.has("theirs", "0")
	b.resume()
	c.done()
	for _, n := range c.nodes {
		n.has("mine", "b")
		n.has("new", "b")
		n.has("theirs", "a")
		n.has("both", "a")
		n.has("elsewhere/x", "0")
		n.gone("gone")
		n.gone("renamed")
	}
	c.conflicts(1) // of "both"
	c.inHistory("b")
}
