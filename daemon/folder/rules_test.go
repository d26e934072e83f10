package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// withoutIgnored takes off a list of the disk what is not in want and left out by rules.
func (n *node) withoutIgnored(disk, want map[string]string) {
	n.c.t.Helper()
	f, err := vfs.OpenReal(n.root)
	n.c.ok(err)
	defer f.Close()
	var left []string
	for p := range disk {
		st, err := f.Lstat(id.Path(p))
		n.c.ok(err)
		if _, in := want[p]; !in && n.engine.watch.Leaves(f, id.Path(p), st) {
			left = append(left, p)
		}
	}
	for _, p := range left {
		delete(disk, p)
	}
}

// clearTheWay does what the user is told to where ignored files keep the head away.
func (n *node) clearTheWay(err error) (done bool) {
	var blocked *BlockedError
	if !errors.As(err, &blocked) {
		return false
	}
	for _, b := range blocked.Paths {
		if b.Reason == reasonInTheWay || b.Reason == reasonNotKept {
			done = os.RemoveAll(n.path(string(b.Path))) == nil || done
		}
	}
	return done
}

// absent fails if something is at the path on the node's disk.
func (n *node) absent(p string) {
	n.c.t.Helper()
	if _, err := os.Lstat(n.path(p)); !os.IsNotExist(err) {
		n.c.t.Fatalf("%s is on %s (%v)", p, n.root, err)
	}
}

// TestIgnoredFilesStayHome: ignored files go to nobody, tracked ones that are ignored
// later keep syncing, and what is not ignored any more goes to all.
func TestIgnoredFilesStayHome(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write(ignore.Name, "*.o\nmodules/\n")
	a.write("a.c", "1")
	a.write("kept.txt", "1")
	a.write("modules/m/f", "1")
	a.write("a.o", "1")
	c.done()
	b.absent("modules")
	b.absent("a.o")
	b.write("b.o", "1") // the rules came along
	b.write(ignore.Name, "*.o\nmodules/\n*.txt\n")
	c.done()
	a.absent("b.o")
	a.write("kept.txt", "22")
	c.done()
	b.has("kept.txt", "22")
	b.write(ignore.Name, "*.o\n*.txt\n")
	c.done()
	b.has("modules/m/f", "1")
	a.write(ignore.Name, "*\n") // ignoring deletes nothing
	c.done()
	b.has("kept.txt", "22")
	b.has("modules/m/f", "1")
}

// TestDirectoryGoesFromIgnoredFiles: a directory that others delete or rename leaves
// ignored files where they are, and does not come back for them.
func TestDirectoryGoesFromIgnoredFiles(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write(ignore.Name, "*.o\nout/\n")
	a.write("d/e/f.c", "1")
	a.write("d/g.c", "1")
	a.write("r/s/f.c", "1")
	a.write("out.c", "1")
	c.settled()
	b.write("d/e/f.o", "b's")
	b.write("d/out/x/y", "b's")
	b.write("r/s/f.o", "b's")
	b.committed()
	a.remove("d")
	a.rename("r", "q")
	c.done()
	b.has("d/e/f.o", "b's")
	b.has("d/out/x/y", "b's")
	b.absent("d/e/f.c")
	b.has("q/s/f.o", "b's") // a rename takes the whole directory along
	a.absent("d")
	a.write("d/e/new.c", "1") // and may come again
	c.done()
	b.has("d/e/new.c", "1")
	b.has("d/e/f.o", "b's")
	b.rename("d", "p") // the user's own rename takes them along as well
	c.done()
	a.has("p/e/new.c", "1")
	a.absent("d")
	b.has("p/e/f.o", "b's")
	b.remove("p/e/new.c")
	c.done()
	a.absent("p/e/f.o")
}

// TestIgnoredInTheWay: ignored bytes are never overwritten. A file makes a conflict, a
// directory blocks the path until it is gone.
func TestIgnoredInTheWay(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.set(true, false) // a does not have the rules
	b.write(ignore.Name, "*.o\nout\n")
	b.write("f.o", "b's file")
	b.write("out/cache", "b's cache")
	b.captured()
	a.write("f.o", "a's file")
	a.write("out", "a's out")
	a.committed()
	b.set(false, false)
	b.committed()
	within(t, "the block of b", func(ctx context.Context) error {
		for {
			err := b.engine.WaitFor(ctx, c.head().Revision)
			if blocked := new(BlockedError); errors.As(err, &blocked) {
				if p := blocked.Paths[0]; len(blocked.Paths) != 1 || p.Path != "out" || p.Reason != reasonInTheWay {
					t.Errorf("blocked: %v", blocked.Paths)
				}
				return nil
			}
			if ctx.Err() != nil {
				return err
			}
		}
	})
	b.has("out/cache", "b's cache")
	b.rename("out", "../elsewhere")
	c.done()
	b.has("out", "a's out")
	c.inHistory("b's file")
	c.conflicts(1)
}

// TestRulesArriveWithTheFolder: a node with files of its own that joins takes the head's
// rules before it takes its files for new.
func TestRulesArriveWithTheFolder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	a.write(ignore.Name, "modules/\n")
	a.write("f", "1")
	a.committed()
	b.caught()
	b.write("modules/m", "1")
	b.write("g", "1")
	b.gate, b.gated = make(chan struct{}), make(chan struct{}, 1)
	b.start()
	<-b.gated // the rules are on their way
	b.captured()
	for p := range c.tree() {
		if strings.HasPrefix(p, "modules") || p == "g" {
			t.Errorf("%s was proposed without the rules", p)
		}
	}
	close(b.gate)
	b.follows()
	c.done()
	a.has("g", "1")
	a.absent("modules")
}

// TestListIgnored: the list has the topmost ignored paths that nobody tracks, each with
// its rule.
func TestListIgnored(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	a.write("tracked.o", "1")
	a.write("out/tracked", "1")
	a.committed()
	a.write(ignore.Name, "*.o\nout/\n")
	a.write("d/"+ignore.Name, "# nothing\n/local\n")
	a.committed()
	a.write("new.o", "1")
	a.write("out/new/deep", "1")
	a.write("d/local/deep", "1")
	a.write("d/e/f.o", "1")
	a.write("tracked.o", "2")
	a.committed()
	var got []string
	list := func() {
		got = nil
		within(t, "the list", func(ctx context.Context) error {
			return a.engine.Ignored(ctx, func(i IgnoredPath) error {
				got = append(got, fmt.Sprintf("%s %s %s:%d:%s", i.Path, i.Kind, i.RuleFile, i.Line, i.Pattern))
				return nil
			})
		})
	}
	want := []string{"new.o file .lockstepignore:1:*.o", "d/local directory d/.lockstepignore:2:/local", "d/e/f.o file .lockstepignore:1:*.o",
		"out/new directory .lockstepignore:2:out/"}
	for range 2 {
		if list(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		a.restart()
	}
	if by, is, err := a.engine.IgnoredBy(t.Context(), "d/local/deep"); !is || err != nil || by.Pattern != "/local" {
		t.Errorf("d/local/deep is ignored by %+v (%v, %v)", by, is, err)
	}
	for p, want := range map[id.Path]string{"new.o": ".lockstepignore:1:*.o", "d/e/f.o": ".lockstepignore:1:*.o", "d/local": "d/.lockstepignore:2:/local"} {
		if x, _, _, err := a.engine.Why(p); err != nil || x.Step != Ignored || x.Reason != want {
			t.Errorf("why %s: %s, %s (%v), want %s", p, x.Step, x.Reason, err, want)
		}
	}
	for _, p := range []id.Path{"tracked.o", "out/tracked", "d", "nowhere.o"} {
		if by, is, err := a.engine.IgnoredBy(t.Context(), p); is || err != nil {
			t.Errorf("%s is ignored by %+v (%v)", p, by, err)
		}
	}
}

// TestJoinLeavesIgnoredAlone: what is ignored and was once in the folder is the user's
// own on a machine that joins: it is neither counted nor removed.
func TestJoinLeavesIgnoredAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	a.write("modules/m", "1")
	a.write("gone", "1")
	a.committed()
	a.remove("modules")
	a.remove("gone")
	a.write(ignore.Name, "modules/\n")
	a.committed()
	b.caught()
	b.write(ignore.Name, "modules/\n")
	b.write("modules/m", "1")
	b.write("modules/new", "1")
	b.write("gone", "1")
	b.survey(func(s *Survey, _ *local.DB) {
		s.counts(t, reconcile.Gone, 1)
		if n := s.plan.By[reconcile.Fresh]; n != 0 {
			t.Errorf("%d are only here", n)
		}
	})
	b.start()
	c.done()
	b.has("modules/m", "1")
	b.absent("gone")
	a.absent("modules")
}
