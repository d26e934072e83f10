package folder

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// forget ends the tracking of a path.
func (n *node) forget(p id.Path) {
	n.c.t.Helper()
	within(n.c.t, "forgetting", func(ctx ctxt) error {
		_, _, err := n.engine.Forget(ctx, p, false)
		return err
	})
}

// rollback makes the folder what it was at a revision.
func (n *node) rollback(to meta.Commit) {
	n.c.t.Helper()
	within(n.c.t, "a rollback", func(ctx ctxt) error {
		out, err := n.engine.Submit(ctx, meta.RollbackCmd{Folder: n.c.folder, Target: to.Revision, TargetHash: to.Hash.Prefix()})
		if err == nil && out.Kind == meta.Refused {
			err = errors.New(out.Reason)
		}
		return err
	})
}

func (n *node) commitOf(r id.Revision) (meta.Commit, error) {
	v := n.machine.View()
	defer v.Close()
	c, _, err := v.Commit(n.c.folder, r)
	return c, err
}

// inHead reports whether the head has the path.
func (c *cluster) inHead(p string) bool {
	c.t.Helper()
	_, is := c.tree()[p]
	return is
}

// TestForget: the head loses what was forgotten, everybody's files stay, nobody takes
// them for new, and every version stays in history though files change after that.
func TestForget(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	a, b, d := c.nodes[0], c.nodes[1], c.nodes[2]
	a.write("out/x/f", "from a")
	b.write("out/g", "from b")
	a.write("one.log", "a line")
	c.settled()
	a.write(ignore.Name, "/out/\n*.log\n")
	c.settled()
	a.forget("out")
	b.forget("one.log")
	c.done()
	if c.inHead("out") || c.inHead("out/x/f") || c.inHead("one.log") {
		t.Errorf("still tracked:\n%s", render(c.tree()))
	}
	for _, n := range c.nodes {
		n.has("out/x/f", "from a")
		n.has("out/g", "from b")
		n.has("one.log", "a line")
	}
	d.write("out/g", "d's own") // from now on everybody's own
	d.remove("one.log")
	a.write("out/x/f", "a's own")
	c.done()
	a.has("out/g", "from b")
	a.has("one.log", "a line")
	c.inHistory("from a")
	c.inHistory("from b")
	c.inHistory("a line")
	c.conflicts(0)
}

// TestForgetFromAfar: nodes that were away when something was forgotten: one let it be,
// one edited it meanwhile, one lacks the rule until after the commit.
func TestForgetFromAfar(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	a, b, d := c.nodes[0], c.nodes[1], c.nodes[2]
	for _, p := range []string{"still", "edited"} {
		a.write("out/"+p, "1")
	}
	c.settled()
	b.set(true, false)
	d.end()
	a.write(ignore.Name, "/out/\n")
	a.committed()
	b.write("out/edited", "by b")
	b.captured()
	a.forget("out")
	b.set(false, false)
	d.start()
	c.done()
	if c.inHead("out/still") || !c.inHead("out/edited") {
		t.Errorf("want only the edited file tracked:\n%s", render(c.tree()))
	}
	for _, n := range c.nodes {
		n.has("out/edited", "by b") // the edit won
		n.has("out/still", "1")
	}
}

// TestForgetUnignoredSince: where somebody took the rule back before another node let
// go, what was forgotten is new there, and is synced again; so is a rule file that was
// forgotten with its directory.
func TestForgetUnignoredSince(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("out/f", "1")
	a.write("out/"+ignore.Name, "x\n")
	c.settled()
	b.set(true, false)
	a.write(ignore.Name, "/out/\n")
	a.committed()
	a.forget("out")
	a.remove("out") // b's copies are the only ones
	a.write(ignore.Name, "")
	a.committed()
	b.set(false, false)
	c.done()
	a.has("out/f", "1")
	b.has("out/"+ignore.Name, "x\n")
	if !c.inHead("out/f") || !c.inHead("out/"+ignore.Name) {
		t.Errorf("not synced again:\n%s", render(c.tree()))
	}
}

// TestForgetIsRefused says what is missing, and changes nothing.
func TestForgetIsRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a := c.nodes[0]
	a.write("d [1]/f", "1")
	a.write("line\nend", "1")
	a.write("own", "1")
	a.write("sub/x", "1")
	c.settled()
	a.write("sub/"+ignore.Name, ignore.Name+"\n/x\n")
	c.settled()
	before := c.head()
	for p, want := range map[id.Path]string{
		"line\nend": `add the line /line?end to`, "d [1]/f": `add the line /d\ \[1]/f to .lockstepignore`, "d [1]": `add the line /d\ \[1]/ to`, "nothing": "not tracked", "sub": "no ignore rule", "sub/x": "others do not have it",
	} {
		within(t, "forgetting", func(ctx ctxt) error {
			_, _, err := a.engine.Forget(ctx, p, false)
			var no *NotForgettableError
			if !errors.As(err, &no) || !strings.Contains(no.Why+"; "+no.Hint, want) {
				t.Errorf("%s: %v (%+v), want %s", p, err, no, want)
			}
			return nil
		})
	}
	a.write(ignore.Name, "/own\n")
	c.settled()
	within(t, "a dry run", func(ctx ctxt) error {
		rev, n, err := a.engine.Forget(ctx, "own", true)
		if rev != 0 || n != 1 {
			t.Errorf("revision %d, %d paths", rev, n)
		}
		return err
	})
	if now := c.head(); now.Revision != before.Revision+1 || !c.inHead("own") {
		t.Errorf("revision %d became %d\n%s", before.Revision, now.Revision, c.story())
	}
}

// TestForgetAndRollback: a rollback brings what was forgotten back under tracking, and
// undoing the rollback leaves everybody's file.
func TestForgetAndRollback(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f.log", "1")
	a.committed()
	a.write(ignore.Name, "*.log\n")
	a.committed()
	a.forget("f.log")
	c.done()
	gone := c.head()
	before, err := a.commitOf(gone.Revision - 1)
	c.ok(err)
	for i := range 2 {
		a.rollback(before)
		c.done()
		if !c.inHead("f.log") {
			t.Fatalf("not tracked after rollback %d\n%s", i, c.story())
		}
		a.rollback(gone)
		c.done()
		if c.inHead("f.log") {
			t.Fatalf("tracked after undoing it\n%s", c.story())
		}
		a.has("f.log", "1")
		b.has("f.log", "1")
	}
}

// TestForgetLarge: what history has only by location on a disk is packed before the
// file is everybody's own.
func TestForgetLarge(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	text := strings.Repeat("a file of b's in chunks\n", 20000)
	b.write("big.bin", text)
	b.write("same.bin", text) // the two must not rely on each other
	c.settled()
	b.end() // only a's disk has it among those online
	c.ok(os.RemoveAll(b.home))
	a.write(ignore.Name, "*.bin\n")
	a.committed()
	a.forget("big.bin")
	a.forget("same.bin")
	a.write("big.bin", "short")
	a.write("same.bin", "short")
	a.committed()
	c.inHistory(text)
}

// TestRetired: an engine that is replaced puts nothing into the queue any more, whatever
// a command was doing meanwhile. The next one would not know of it: it would neither
// take the outcome nor keep it from being forgotten, and wait for it after a restart.
func TestRetired(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.write("out/f", "1")
	c.settled()
	a.write(ignore.Name, "/out/\n")
	c.settled()
	f, err := a.engine.openFS()
	c.ok(err)
	defer f.Close()
	rows, err := a.engine.forgettable(f, "out")
	c.ok(err)
	why := errors.New("replaced")
	a.engine.Retire(why)
	if _, err := a.engine.enqueueForget(f, "out", rows); !errors.Is(err, why) {
		t.Errorf("forget: %v", err)
	}
	if _, err := a.engine.enqueue(meta.RollbackCmd{Folder: c.folder}); !errors.Is(err, why) {
		t.Errorf("another command: %v", err)
	}
	c.ok(a.local.Queue(c.folder, 1, func(it local.Item) error {
		t.Errorf("%d was queued", it.Sequence)
		return nil
	}))
}

// TestForgetOverAConflict: what is on a disk lost a conflict, and the path was forgotten
// before the winner came. The disk keeps it, and the copy; nobody waits for anything.
func TestForgetOverAConflict(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("x.log", "0")
	c.settled()
	a.write(ignore.Name, "/x.log\n")
	c.settled()
	b.set(false, true)
	a.write("x.log", "a")
	a.committed()
	b.write("x.log", "b")
	b.captured()
	eventually(t, "the conflict", func() error {
		if h := c.head(); h.Node != b.id {
			return fmt.Errorf("the head is revision %d by n%d", h.Revision, h.Node[0])
		}
		return nil
	})
	a.caught()
	a.forget("x.log")
	c.settled()
	if c.inHead("x.log") {
		t.Errorf("it is tracked again:\n%s", render(c.tree()))
	}
	a.has("x.log", "a")
	b.has("x.log", "b")
	if _, had, err := b.local.Get(c.folder, "x.log"); err != nil || had {
		t.Errorf("n2 has a record of it: %v, %v", had, err)
	}
	c.conflicts(1)
}
