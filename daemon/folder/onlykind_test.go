package folder

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// TestNotKeptInPlaceOfDirectory: a file or symlink that takes the place of a directory
// which led to what is kept is the user's own. What was kept is deleted, what was not
// stays with the others, and nothing new is said to them.
func TestNotKeptInPlaceOfDirectory(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(n *node){
		"file":    func(n *node) { n.write("p", "of b alone") },
		"symlink": func(n *node) { n.symlink("in", "p") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.write("in/x", "x")
			a.write("p/q/1", "1")
			a.write("p/r/2", "2")
			c.settled()
			b.keep("/in,/p/q")
			c.settled()
			b.remove("p")
			put(b)
			b.committed()
			b.notKeptAt("p")
			a.follows()
			a.absent("p/q/1")
			a.has("p/r/2", "2")
			c.conflicts(0)

			a.write("p/q/3", "3") // there is no place for it here
			a.committed()
			b.restart()
			b.notKeptAt("p")
			if in, err := os.Lstat(b.path("p")); err != nil || in.IsDir() {
				t.Fatalf("%v, %v", in, err)
			}
			c.conflicts(0)

			b.remove("p")
			b.restart()
			c.done()
			b.has("p/q/3", "3")
			a.has("p/r/2", "2")
			b.absent("p/r")
		})
	}
}

// notKeptAt waits until the head is on the disk but for what is at or below p, where
// something is that the node does not keep.
func (n *node) notKeptAt(p string) {
	n.c.t.Helper()
	within(n.c.t, "the block", func(ctx context.Context) error {
		err := n.engine.WaitFor(ctx, n.c.head().Revision)
		if blocked := new(BlockedError); errors.As(err, &blocked) {
			if q := blocked.Paths[0]; string(q.Path) != p || q.Reason != reasonNotKept {
				n.c.t.Fatalf("blocked: %v", blocked.Paths)
			}
			return nil
		}
		n.c.t.Fatalf("it ends with %v", err)
		return err
	})
}

// TestNarrowWithoutRoom: a home that is nearly full is not filled by what history needs
// of the rest. The folder halts, and goes on when there is room.
func TestNarrowWithoutRoom(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("docs/x", "x")
	a.write("big/y", strings.Repeat("y", 1000))
	c.settled()
	var full atomic.Bool
	b.room = func() error {
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	full.Store(true)
	b.keep("docs")
	b.halts()
	within(t, "what it halts with", func(ctx context.Context) error {
		if err := b.engine.Compared(ctx); !errors.Is(err, errNoRoom) {
			t.Errorf("it halts with %v", err)
		}
		return nil
	})
	full.Store(false)
	b.restart()
	c.settled()
	b.remove("big")
	c.done()
	a.has("big/y", strings.Repeat("y", 1000))
}
