package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
)

// freeze copies the node's local store as the kernel has it: what a kill leaves.
func (n *node) freeze() string {
	n.c.t.Helper()
	to, err := os.MkdirTemp(n.home, "frozen")
	n.c.ok(err)
	n.c.ok(os.CopyFS(filepath.Join(to, "local"), os.DirFS(filepath.Join(n.home, "local"))))
	return filepath.Join(to, "local")
}

// died makes the node one that was killed when freeze was called, but for what the
// executor did to the folder since: a crash before it was recorded.
func (n *node) died(frozen string) {
	n.c.t.Helper()
	n.end()
	l := filepath.Join(n.home, "local")
	n.c.ok(os.RemoveAll(l))
	n.c.ok(os.Rename(frozen, l))
}

// onceAt calls f at the first hit of a failpoint. Failpoints are the process's, so
// its tests do not run beside others.
func onceAt(t *testing.T, place string, f func()) {
	t.Helper()
	var done atomic.Bool
	failpoint.Set(place, func() error {
		if done.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
	t.Cleanup(func() { failpoint.Set(place, nil) })
}

// TestKilledBeforeRecording: b brings a change of a's to its disk and is killed before
// that is recorded. Then a, and b's user, go on. What a did stands, and nobody made a
// conflict.
func TestKilledBeforeRecording(t *testing.T) {
	tree := func(n *node) {
		n.write("f", "c1")
		n.write("keep", "k")
		n.write("d/x", "dx")
		n.write("d/y", "dy")
		n.write("e/x", "ex")
	}
	for _, k := range []struct {
		name          string
		brought, then step // of a
		user          step // of b's user, while b is down
	}{
		{name: "a new file, then deleted", brought: func(n *node) { n.write("n", "new") }, then: func(n *node) { n.remove("n") }},
		{name: "a new file, then edited", brought: func(n *node) { n.write("n", "new") }, then: func(n *node) { n.write("n", "newer") }},
		{name: "an edit, then edited back", brought: func(n *node) { n.write("f", "c2") }, then: func(n *node) { n.write("f", "c1") }},
		{name: "an edit, then deleted", brought: func(n *node) { n.write("f", "c2") }, then: func(n *node) { n.remove("f") }},
		{name: "a rename, then deleted", brought: func(n *node) { n.rename("f", "g") }, then: func(n *node) { n.remove("g") }},
		{name: "a rename, then renamed back", brought: func(n *node) { n.rename("f", "g") }, then: func(n *node) { n.rename("g", "f") }},
		{name: "a rename, then renamed on", brought: func(n *node) { n.rename("f", "g") }, then: func(n *node) { n.rename("g", "h") }},
		{name: "a deletion, then made again", brought: func(n *node) { n.remove("f") }, then: func(n *node) { n.write("f", "again") }},
		{name: "a directory renamed, then back", brought: func(n *node) { n.rename("d", "m") }, then: func(n *node) { n.rename("m", "d") }},
		{name: "a directory renamed, then edited in", brought: func(n *node) { n.rename("d", "m") }, then: func(n *node) { n.write("m/x", "mx") }},
		{name: "a directory renamed, then deleted", brought: func(n *node) { n.rename("d", "m") }, then: func(n *node) { n.remove("m") }},
		{name: "a directory for another", brought: func(n *node) { n.rename("d", "m"); n.rename("e", "d") }, then: func(n *node) { n.write("d/x", "new") }},
		{name: "a mode, then another", brought: func(n *node) { n.chmod("f", 0o600) }, then: func(n *node) { n.chmod("f", 0o640) }},
		{name: "a directory's mode, then another", brought: func(n *node) { n.chmod("d", 0o700) }, then: func(n *node) { n.chmod("d", 0o750) }},
		{name: "a new file, edited by the user", brought: func(n *node) { n.write("n", "new") }, user: func(n *node) { n.write("n", "mine") }},
		{name: "a new file, its mode set by the user", brought: func(n *node) { n.write("n", "new") }, user: func(n *node) { n.chmod("n", 0o600) }},
		{name: "an edit, edited by the user", brought: func(n *node) { n.write("f", "c2") }, user: func(n *node) { n.write("f", "mine") }},
		{name: "a rename, edited by the user", brought: func(n *node) { n.rename("f", "g") }, user: func(n *node) { n.write("g", "mine") }},
		{name: "a subtree, then deleted", brought: func(n *node) { n.write("s/t/u", "deep"); n.write("s/v", "v") }, then: func(n *node) { n.remove("s") }},
	} {
		for _, place := range []string{"before-step", "before-record", "recorded"} {
			t.Run(k.name+"/"+place, func(t *testing.T) {
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				tree(a)
				c.settled()
				b.set(true, false)
				k.brought(a)
				a.committed()
				var frozen string
				onceAt(t, "materialize/"+place, func() { frozen = b.freeze() })
				b.set(false, false)
				b.follows()
				b.died(frozen)
				last := a
				if k.user != nil {
					last = b
					k.user(b)
				} else {
					k.then(a)
					a.committed()
				}
				want := render(last.disk())
				b.start()
				c.settled()
				for _, n := range c.nodes {
					if got := render(n.disk()); got != want {
						t.Errorf("%s:\n%swant\n%s%s", filepath.Base(n.root), got, want, c.story())
					}
				}
				c.noRecords()
			})
		}
	}
}

// noRecords fails if any conflict was ever recorded.
func (c *cluster) noRecords() {
	c.t.Helper()
	v := c.leader.View()
	defer v.Close()
	c.ok(v.Conflicts(c.folder, func(x meta.Conflict) error { return fmt.Errorf("a conflict is on record: %+v", x) }))
}

// A received file's places are known after a kill as before: this node serves it, and
// history has it once it is replaced.
func TestKilledNodeKeepsLocations(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "version one")
	c.settled()
	b.died(b.freeze())
	b.start()
	c.settled()
	sum := chunks.Sum(chunks.Chunk, []byte("version one"))
	stored := func(when string) {
		t.Helper()
		if _, err := b.chunks.Get(context.Background(), sum, chunks.Chunk, nil); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	stored("after the restart")
	a.write("f", "version two")
	c.settled()
	eventually(t, "the sweep of the old version", func() error {
		if n, _ := b.engine.exec.KeptFiles(); n != 0 {
			return fmt.Errorf("%d files are kept", n)
		}
		return nil
	})
	stored("after its replacement")
}

// What a displaced file holds is given back once, however often it is asked for: the
// file may outlive that, by a crash or a writer.
func TestGivenBackOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.write("f", "one")
	c.settled()
	was := c.head().Base()
	a.write("f", "two")
	c.settled()
	kept := materialize.Kept{File: id.ReservedName + "/kept/x-0", Path: "f", WasVersion: was}
	give := func(text string) {
		t.Helper()
		c.ok(os.WriteFile(a.path(string(kept.File)), []byte(text), 0o600))
		f, err := a.engine.openFS()
		c.ok(err)
		h, err := f.Open(kept.File)
		c.ok(err)
		c.ok(keeper{a.engine}.Returned(context.Background(), kept, h))
		c.ok(errors.Join(h.Close(), f.Close()))
		c.settled()
	}
	before := c.head().Revision
	give("raced")
	give("raced")
	if got := c.head().Revision; got != before+1 {
		t.Errorf("given back twice: revision %d, want %d", got, before+1)
	}
	give("raced and written again")
	if got := c.head().Revision; got != before+2 {
		t.Errorf("other bytes: revision %d, want %d", got, before+2)
	}
}

// unreadable is a filesystem on which nothing can be said of one path.
type unreadable struct {
	vfs.FS
	path id.Path
}

func (u unreadable) Lstat(p id.Path) (vfs.Stat, error) {
	if p == u.path {
		return vfs.Stat{}, &fs.PathError{Op: "lstat", Path: string(p), Err: fs.ErrPermission}
	}
	return u.FS.Lstat(p)
}

// A path that cannot be looked at after a crash keeps its placement, and no other from
// being settled.
func TestSettleAroundAnUnreadablePath(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.write("x", "x")
	a.write("y", "y")
	c.settled()
	version := meta.Base{Revision: 1 << 40, Hash: [8]byte{1}}
	f, err := a.engine.openFS()
	c.ok(err)
	defer f.Close()
	a.engine.mu.Lock()
	defer a.engine.mu.Unlock()
	b := a.local.NewBatch()
	for _, p := range []id.Path{"x", "y"} {
		row, _, err := a.local.Get(c.folder, p)
		c.ok(err)
		b.Place(c.folder, p, local.Placement{Path: p, Version: version, Want: row.Entry, Ino: row.Stat.Ino, Was: row.Base})
	}
	c.ok(b.Commit(true))
	list, err := a.local.Placements(c.folder)
	c.ok(err)
	c.ok(a.engine.settleOn(unreadable{f, "x"}, list, nil))
	if row, _, err := a.local.Get(c.folder, "y"); err != nil || row.Base != version {
		t.Errorf("y is not settled: %+v %v", row.Base, err)
	}
	if left, err := a.local.Placements(c.folder); err != nil || len(left) != 1 || left[0].Path != "x" {
		t.Errorf("placements left: %+v %v", left, err)
	}
	b = a.local.NewBatch()
	b.DropPlacement(c.folder, "x")
	c.ok(b.Commit(true))
}

// What could not be brought is forgotten, durably, before its stage goes: the next
// file of the user's may get the stage's inode.
func TestPlacementOfWhatRacedIsForgotten(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "c1")
	c.settled()
	b.set(true, false)
	a.write("f", "theirs")
	a.committed()
	onceAt(t, "materialize/before-exchange", func() {
		b.write("t", "mine")
		b.rename("t", "f") // opening f itself would wait for the lease
	})
	frozen := make(chan string, 1)
	onceAt(t, "folder/placed", func() { frozen <- b.freeze() })
	b.set(false, false)
	l, err := local.Open(<-frozen, local.Options{})
	c.ok(err)
	if left, err := l.Placements(c.folder); err != nil || len(left) > 0 {
		t.Errorf("placements after a kill: %+v %v", left, err)
	}
	c.ok(l.Close())
	c.settled()
	c.inHistory("mine")
	c.inHistory("theirs")
}

// Another mode from elsewhere leaves a large file's number as it is, under which its
// chunks are known and which says whether they are packed.
func TestAttributesKeepTheFilesPlace(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	f, err := os.Create(a.path("big"))
	c.ok(err)
	c.ok(f.Truncate(chunks.LocateBytes + 1))
	c.ok(f.Close())
	c.settled()
	was, _, err := a.local.Get(c.folder, "big")
	c.ok(err)
	b.chmod("big", 0o600)
	c.settled()
	if now, _, err := a.local.Get(c.folder, "big"); err != nil || was.File == 0 || now.File != was.File || now.Entry.Mode != 0o600 {
		t.Errorf("%+v %v, was %+v", now, err, was)
	}
}

// The root is unmounted between the watcher's look and the engine's: what the watcher
// saw is not gone.
func TestRootGoneUnderABatch(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.write("d/f", "x")
	a.write("l/g", "y")
	c.settled()
	before := c.head()
	f, err := vfs.OpenReal(a.root)
	c.ok(err)
	st, err := f.Lstat("d")
	c.ok(errors.Join(err, f.Close()))
	st.Mode = 0o700 // the watcher saw a chmod
	away := a.root + ".away"
	c.ok(os.Rename(a.root, away))
	c.ok(os.Mkdir(a.root, 0o755))
	if err := a.engine.take(context.Background(), watcher.Batch{Paths: []watcher.Dirty{{Path: "d", Stat: st}}, Done: func() {}}); err == nil {
		t.Error("a root without its marker was taken for the folder")
	}
	if _, ok, err := a.local.Get(c.folder, "d/f"); !ok || err != nil {
		t.Errorf("the record of what was below is gone: %v", err)
	}
	if c.head() != before {
		t.Errorf("revision %d was committed", c.head().Revision)
	}
	c.ok(os.Remove(a.root))
	c.ok(os.Rename(away, a.root))
	a.cancel()
	<-a.done
	a.err = nil // the engine may have noticed itself, and halted
}

// TestKilledWhileReverting: a revert on a receiving node that is cut short after the
// records have gone loses nothing, and a second one ends it.
func TestKilledWhileReverting(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "0")
	a.write("gone/x", "0")
	a.chmod("f", 0o700)
	c.settled()
	b.setMode(ModeReceive)
	b.write("f", "mine")
	b.write("new", "mine too")
	c.ok(os.Rename(b.path("gone"), b.root+".gone")) // at once: no batch has only what was in it
	b.blockedAt("f: changed", "gone: deleted", "new: made")
	killed := errors.New("killed")
	failpoint.Set("folder/reverting", func() error { return killed })
	t.Cleanup(func() { failpoint.Set("folder/reverting", nil) })
	revert := func(want error) {
		within(t, "revert", func(ctx ctxt) error {
			if _, err := b.engine.Revert(ctx, false); !errors.Is(err, want) {
				return fmt.Errorf("revert: %w", err)
			}
			return nil
		})
	}
	revert(killed)
	b.restart()
	b.blockedAt("f: made", "new: made")
	b.has("f", "mine")
	failpoint.Set("folder/reverting", nil)
	revert(nil)
	c.done()
	b.has("f", "0")
	b.has("gone/x", "0")
	if got := b.reverted(); got["f"] != "mine" || got["new"] != "mine too" {
		t.Errorf("set aside: %v", got)
	}
	c.conflicts(0)
}

// Killed before recording, and then the root is moved on the same disk: what was brought
// is known by its inode as it would be at the old place, and what it displaced is kept
// for history.
func TestKilledThenMoved(t *testing.T) {
	for name, do := range map[string]step{
		"an edit":    func(n *node) { n.write("f", "version two") },
		"a deletion": func(n *node) { n.remove("f") },
		"a rename":   func(n *node) { n.rename("d", "e") },
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.write("f", "version one")
			a.write("d/x", "dx")
			c.settled()
			b.set(true, false)
			do(a)
			a.committed()
			var frozen string
			onceAt(t, "materialize/before-record", func() { frozen = b.freeze() })
			b.set(false, false)
			b.follows()
			b.died(frozen)
			to := b.root + "-moved"
			c.ok(os.Rename(b.root, to))
			b.movedTo(to)
			c.settled()
			if got, want := render(b.disk()), render(a.disk()); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			c.noRecords()
			sum := chunks.Sum(chunks.Chunk, []byte("version one"))
			if _, err := b.chunks.Get(context.Background(), sum, chunks.Chunk, nil); err != nil {
				t.Errorf("what was displaced is gone: %v", err)
			}
		})
	}
}
