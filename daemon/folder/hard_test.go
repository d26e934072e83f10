package folder

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestConflictAndFurtherEdits: however long a node was offline, its edits of one file
// are one lineage: one copy, one record.
func TestConflictAndFurtherEdits(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f.txt", "base")
	c.settled()
	b.set(true, false)
	a.write("f.txt", "a1")
	a.committed()
	// Offline, b edits again and again: one lineage, one copy.
	for i := range 4 {
		b.write("f.txt", fmt.Sprint("b", i))
		b.captured()
	}
	b.set(false, true) // sent, but b does not know the outcome
	b.write("f.txt", "b4")
	b.captured()
	c.done()
	c.conflicts(1)
	a.has("f.txt", "a1")
	for i := range 5 {
		c.inHistory(fmt.Sprint("b", i))
	}
	n := 0
	for p, what := range a.disk() {
		if strings.Contains(p, "conflict") {
			n++
			if !strings.Contains(what, `"b4"`) {
				t.Errorf("the copy %s is %s, want the last edit", p, what)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d copies, want 1\n%s", n, render(a.disk()))
	}
}

// TestBothSides runs two-sided cases: each side does something to the same tree
// while cut off from the other; nothing may be lost and all must agree.
func TestBothSides(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name string
		a, b step
		keep []string
	}{
		{"edit against delete", func(n *node) { n.write("d/f", "a") }, func(n *node) { n.remove("d/f") }, []string{"a"}},
		{"edit against delete of the directory", func(n *node) { n.write("d/f", "a") }, func(n *node) { n.remove("d") }, []string{"a"}},
		{"new file against delete of the directory", func(n *node) { n.write("d/new", "a") }, func(n *node) { n.remove("d") }, []string{"a"}},
		{"edit against rename", func(n *node) { n.write("d/f", "a") }, func(n *node) { n.rename("d/f", "g") }, []string{"a"}},
		{"edit against rename of the directory", func(n *node) { n.write("d/f", "a"); n.write("d/new", "a2") }, func(n *node) { n.rename("d", "e"); n.write("e/f2", "b") }, []string{"a", "a2", "b"}},
		{"two renames of a file", func(n *node) { n.rename("d/f", "x") }, func(n *node) { n.rename("d/f", "y") }, []string{"base"}},
		{"two renames of a directory", func(n *node) { n.rename("d", "x"); n.write("x/f", "a") }, func(n *node) { n.rename("d", "y"); n.write("y/f", "b") }, []string{"a", "b"}},
		{"renames to one name", func(n *node) { n.rename("d", "x") }, func(n *node) { n.rename("h", "x"); n.write("x/f", "b") }, []string{"b"}},
		{"directories renamed into each other", func(n *node) { n.rename("d", "h/d") }, func(n *node) { n.rename("h", "d/h") }, []string{"base"}},
		{"file against directory", func(n *node) { n.write("x", "a") }, func(n *node) { n.write("x/f", "b"); n.write("x/g/h", "b2") }, []string{"a", "b", "b2"}},
		{"directory replaced against edits in it", func(n *node) { n.remove("d"); n.write("d", "a") }, func(n *node) { n.write("d/f", "b") }, []string{"a", "b"}},
		{"symlink against directory", func(n *node) { n.remove("d"); n.symlink("h", "d") }, func(n *node) { n.write("d/f", "b"); n.write("d/n/g", "b2") }, []string{"b", "b2"}},
		{"attributes against content", func(n *node) { n.chmod("d/f", 0o600) }, func(n *node) { n.write("d/f", "b") }, []string{"b"}},
		{"attributes on both", func(n *node) { n.chmod("d/f", 0o600) }, func(n *node) { n.chmod("d/f", 0o755) }, nil},
		{"the same on both", func(n *node) { n.write("n/f", "same") }, func(n *node) { n.write("n/f", "same") }, []string{"same"}},
		{"swap against edit", func(n *node) { n.rename("d/f", "t"); n.rename("h/f", "d/f"); n.rename("t", "h/f") }, func(n *node) { n.write("d/f", "b"); n.write("h/f", "b2") }, []string{"b", "b2"}},
	} {
		for _, how := range []string{"first", "second", "held"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.write("d/f", "base")
				a.write("d/sub/g", "base2")
				a.write("h/f", "base3")
				c.settled()
				first, second := a, b
				do, then := k.a, k.b
				if how == "second" {
					do, then = k.b, k.a
				}
				second.set(how != "held", how == "held")
				do(first)
				first.committed()
				then(second)
				second.captured()
				if how == "held" { // the second's own outcomes come one by one
					second.step()
					second.captured()
				}
				c.done()
				for _, text := range append(k.keep, "base", "base2", "base3") {
					c.inHistory(text)
				}
			})
		}
	}
}

// TestDuringFirstSync: what is still to be pulled was never on the disk, so nobody
// meant to delete it.
func TestDuringFirstSync(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name string
		do   step
	}{
		{"the directory is renamed", func(n *node) { n.rename("d", "e") }},
		{"the directory is removed", func(n *node) { n.remove("d") }},
		{"a file takes its place", func(n *node) { n.remove("d"); n.write("d", "mine") }},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, t.TempDir(), 2)
			t.Cleanup(c.close)
			a, b := c.nodes[0], c.nodes[1]
			a.start()
			a.mkdir("d")
			const size = 3 << 20                     // whole chunks of zeros, which nobody pulls; no large file, which would come last
			for i := range firstPageBytes/size + 1 { // a page of their own
				f, err := os.Create(a.path(fmt.Sprintf("d/a%03d", i)))
				c.ok(err)
				c.ok(f.Truncate(size))
				c.ok(f.Close())
			}
			a.write("d/b", "bbb")
			a.write("d/c", "ccc")
			a.committed()
			b.caught()
			b.gate, b.gated = make(chan struct{}), make(chan struct{}, 1)
			b.least = 1000 // that the directory goes is meant
			b.start()
			<-b.gated // the rest is being pulled
			eventually(t, "the first page: d and d/a…", func() error {
				_, err := os.Lstat(b.path(fmt.Sprintf("d/a%03d", firstPageBytes/size-1)))
				return err
			})
			k.do(b)
			b.captured()
			close(b.gate)
			c.settled()
			for _, text := range []string{"bbb", "ccc"} {
				if got := render(a.disk()); !strings.Contains(got, text) {
					t.Errorf("%q is deleted, and never was on the disk of who deleted\n%s", text, got)
				}
			}
		})
	}
}

// TestMovedAndReplacedByWhatIsMissing: where a file was renamed and another written in
// its place that nobody online has, the old one stays where it was: it must not look
// like a deletion.
func TestMovedAndReplacedByWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("z", "old old old")
	c.settled()
	b.set(true, false)
	a.rename("z", "y")
	a.committed()
	a.write("z", "new new new")
	a.committed()
	head := c.head()
	missing := chunks.Sum(chunks.Chunk, []byte("new new new"))
	c.mu.Lock()
	c.missing[missing] = true
	c.mu.Unlock()
	b.set(false, false)
	within(t, "z to be found missing", func(ctx context.Context) error {
		return b.engine.until(ctx, func() (bool, error) {
			b.engine.st.mu.Lock()
			defer b.engine.st.mu.Unlock()
			return b.engine.st.later["z"].missing, nil
		})
	})
	b.captured()
	b.has("z", "old old old")
	if got := c.head(); got != head {
		t.Errorf("revision %d by node %v, and nobody did anything", got.Revision, got.Node)
	}
	c.mu.Lock()
	delete(c.missing, missing)
	c.mu.Unlock()
	c.settled()
	b.has("z", "new new new")
	b.has("y", "old old old")
	c.noRecords()
}

// TestRestart: what was queued, or sent and not applied here, survives a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"queued", "unapplied"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.write("f", "0")
			a.write("d/g", "0")
			c.settled()
			b.set(how == "queued", how == "unapplied")
			for i := range 3 {
				b.write("f", fmt.Sprint("b", i))
				b.captured()
				b.restart()
			}
			b.rename("d", "e")
			b.captured()
			b.restart()
			b.write("e/g", "b")
			b.captured()
			b.restart()
			b.write("e/new", "while it was down")
			c.done()
			c.conflicts(0)
			a.has("f", "b2")
			a.has("e/g", "b")
			for i := range 3 {
				c.inHistory(fmt.Sprint("b", i))
			}
		})
	}
}

// TestFirstJoin: a node that comes with files of its own.
func TestFirstJoin(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name      string
		have      func(n *node)
		conflicts int
	}{
		{"empty", func(*node) {}, 0},
		{"equal", func(n *node) { n.write("f", "2"); n.write("d/g", "g"); n.symlink("f", "l") }, 0},
		{"an old version", func(n *node) { n.write("f", "1") }, 0},
		{"other content", func(n *node) { n.write("f", "other"); n.write("mine", "m") }, 1},
		{"another kind", func(n *node) { n.write("d", "file"); n.write("l/x", "y") }, 2},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, t.TempDir(), 2)
			t.Cleanup(c.close)
			a, b := c.nodes[0], c.nodes[1]
			a.start()
			for i := range 3 {
				a.write("f", fmt.Sprint(i))
				a.committed()
			}
			a.write("d/g", "g")
			a.symlink("f", "l")
			a.committed()
			k.have(b)
			b.start()
			c.done()
			c.conflicts(k.conflicts)
			a.has("f", "2")
		})
	}
}

// TestMissingChunkComesLater: the old version stays until somebody has the new one.
func TestMissingChunkComesLater(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "old")
	a.write("g", "old")
	c.settled()
	c.mu.Lock()
	c.missing[chunks.Sum(chunks.Chunk, []byte("new"))] = true
	c.mu.Unlock()
	a.write("f", "new")
	a.write("g", "there")
	a.committed()
	within(t, "g comes", func(ctx ctxt) error {
		return b.engine.until(ctx, func() (bool, error) {
			text, err := os.ReadFile(b.path("g"))
			b.engine.st.mu.Lock()
			defer b.engine.st.mu.Unlock()
			return string(text) == "there" && b.engine.st.later["f"].missing, err
		})
	})
	b.has("f", "old")
	if _, on, err := b.engine.Progress(); err != nil || on == c.head().Revision {
		t.Errorf("b says that revision %d is on its disk (%v)", on, err)
	}
	c.mu.Lock()
	clear(c.missing)
	c.mu.Unlock()
	c.done()
	b.has("f", "new")
}

// TestBusyFile: a file that a program on the receiver holds open for writing is not
// taken from it; what it writes is not lost.
func TestBusyFile(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "old")
	c.settled()
	h, err := os.OpenFile(b.path("f"), os.O_RDWR, 0)
	c.ok(err)
	a.write("f", "new")
	a.chmod("f", 0o600)
	a.committed()
	within(t, "the file is found busy", func(ctx ctxt) error {
		return b.engine.until(ctx, func() (bool, error) {
			b.engine.st.mu.Lock()
			defer b.engine.st.mu.Unlock()
			return b.engine.st.later["f"].why != "" && b.engine.st.later["f"].blocked == "", nil
		})
	})
	_, err = h.WriteString("mine")
	c.ok(err)
	c.ok(h.Close())
	c.done()
	c.inHistory("mine")
	c.inHistory("new")
}

// TestAttributesOfABusyFile: waiting for a program is no block.
func TestAttributesOfABusyFile(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "old")
	c.settled()
	h, err := os.OpenFile(b.path("f"), os.O_RDWR, 0)
	c.ok(err)
	a.chmod("f", 0o600)
	a.committed()
	within(t, "the file is found busy", func(ctx ctxt) error {
		return b.engine.until(ctx, func() (bool, error) {
			b.engine.st.mu.Lock()
			defer b.engine.st.mu.Unlock()
			d := b.engine.st.later["f"]
			if d.blocked != "" {
				return false, fmt.Errorf("blocked: %s", d.blocked)
			}
			return !d.at.IsZero(), nil
		})
	})
	c.ok(h.Close())
	c.done()
}

// TestRefused: what the cluster refuses stays on the disk, is listed, and is
// proposed again; a refused deletion brings the file back.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "0")
	a.write("gone", "0")
	c.settled()
	b.set(true, false)
	b.write("f", "1")
	b.write("new/f", "2")
	b.remove("gone")
	b.captured()
	c.refuseNext(b)
	b.set(false, false)
	c.done()
	for _, text := range []string{"0", "1", "2"} {
		c.inHistory(text)
	}
}

// TestBlockedPathThatGoes: a path that could not be read and is gone now blocks nothing.
func TestBlockedPathThatGoes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.engine.st.block("ghost", "cannot be read: permission denied")
	c.done()
}

// TestForeignRecord: a clean file whose record no history holds is
// proposed anew instead of waiting for ever.
func TestForeignRecord(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "0")
	a.write("g", "0")
	c.settled()
	b.end()
	b.start()
	b.engine.mu.Lock()
	row, _, err := b.local.Get(c.folder, "f")
	c.ok(err)
	old := row
	row.Base = meta.Base{Revision: 1, Hash: [8]byte{9, 9}}
	row.Entry.Content = id.Digest{7} // what the other history had there
	bt := b.local.NewBatch()
	bt.Put(c.folder, "f", row, &old)
	c.ok(bt.Commit(true))
	b.engine.mu.Unlock()
	b.restart()
	c.done()
	b.has("f", "0")
}

// TestLargeFile: a version that was committed by location and
// is gone holds up nothing once there is a newer one.
func TestLargeFile(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	big := make([]byte, chunks.LocateBytes+1)
	for i := 0; i < len(big); i += 4096 {
		big[i] = byte(i >> 12)
	}
	a.set(true, false)
	c.ok(os.WriteFile(a.path("big"), big, 0o644))
	a.captured()
	big[5] = 9
	c.ok(os.WriteFile(a.path("big"), big, 0o644))
	a.captured()
	a.rename("big", "big2")
	a.captured()
	c.done()
	if in, err := b.engine.Info(); err != nil || len(in.Blocked) != 0 {
		t.Errorf("%v %v", in.Blocked, err)
	}
}

// TestRenameOfWhatIsUnderWay: a directory that was proposed and is renamed before
// the outcome is known.
func TestRenameOfWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a := c.nodes[0]
	a.set(true, false)
	a.write("d/c/b", "1")
	a.captured()
	a.rename("d/c", "b")
	a.captured()
	c.done()
	a.gone("d/c")
}
