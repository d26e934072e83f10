package folder

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// TestNarrow: what is not kept any more is nobody's deletion, however it goes from this
// disk, and history has it.
func TestNarrow(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("docs/x", "x1")
	a.write("big/y", "y1")
	a.write("big/sub/z", "z1")
	c.settled()
	b.write("big/mine", "of b")
	b.keep("*,!/big")
	b.remove("big")
	b.write("big2", "kept")
	c.done()
	a.has("big/y", "y1")
	a.has("big/mine", "of b")
	b.absent("big")
	a.write("big/y", "y2")
	a.write("big/new", "n")
	a.write("docs/x", "x2")
	c.done()
	b.absent("big")
	b.has("docs/x", "x2")
	b.write("big/y", "b's own") // nobody's business
	c.done()
	a.has("big/y", "y2")
	for _, text := range []string{"y1", "z1", "of b", "y2"} {
		c.inHistory(text)
	}
	c.conflicts(0)
}

// TestNarrowLosesNoBytes: bytes that only this node has are packed before their file is
// the user's own.
func TestNarrowLosesNoBytes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.set(true, false) // never saw it
	b.write("big/y", "only here")
	b.committed()
	b.keep("docs")
	b.remove("big")
	b.restart()
	b.committed()
	a.set(false, false)
	c.settled()
	a.has("big/y", "only here")
	c.done()
}

// TestNarrowWhileRemoving: deletions that are made while the command runs are not said
// either, and are once it has failed.
func TestNarrowWhileRemoving(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("keep/x", "x")
	a.write("keep/big/y", "y")
	a.write("big/z", "z")
	c.settled()
	o, err := ignore.ParseOnly("*,!big")
	c.ok(err)
	within(t, "leave", func(ctx context.Context) error { return b.engine.Leave(ctx, o) })
	b.remove("big")
	b.remove("keep")
	b.committed()
	c.settled()
	a.has("big/z", "z")
	a.has("keep/big/y", "y")
	a.absent("keep/x") // that was meant
	b.engine.Stay()
	b.committed()
	c.settled()
	a.absent("big/z")
	c.done()
}

// TestNarrowKilled: whatever instant the daemon dies at, nothing looks deleted.
func TestNarrowKilled(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for i := range 5 {
		a.write(fmt.Sprintf("big/%d", i), fmt.Sprint("n", i))
	}
	a.write("docs/x", "x")
	c.settled()
	b.setKept("docs")
	b.end()
	failpoint.Set("folder/leaving", func() error { return os.ErrDeadlineExceeded })
	b.start()
	b.halts()
	failpoint.Reset()
	b.remove("big")
	b.restart()
	c.done()
	a.has("big/3", "n3")
}

// TestWiden: what comes into the subset again takes its base from history: an old
// version is brought up to date, one that others deleted goes, and only what is neither
// is a conflict.
func TestWiden(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("docs/x", "x")
	for _, p := range []string{"same", "old", "gone", "edited", "missing"} {
		a.write("big/"+p, p+" 1")
	}
	c.settled()
	b.keep("docs")
	c.settled()
	a.write("big/old", "old 2")
	a.remove("big/gone")
	c.settled()
	b.write("docs/new", "equal to nothing")
	b.remove("big/missing")
	b.keep("docs,big")
	c.done()
	b.has("big/old", "old 2")
	b.absent("big/gone")
	b.has("big/missing", "missing 1")
	c.conflicts(0)
	b.keep("docs")
	b.committed()
	b.write("big/edited", "edited while it was not kept")
	b.keep("")
	c.done()
	c.conflicts(1)
	c.inHistory("edited while it was not kept")
}

// TestWidenCutShort: a comparison that is cut short is made again.
func TestWidenCutShort(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("docs/x", "x")
	a.write("big/y", "y1")
	c.settled()
	b.keep("docs")
	a.write("big/y", "y2")
	c.settled()
	b.setKept("")
	b.end()
	failpoint.Set("folder/widened", func() error { return os.ErrDeadlineExceeded })
	b.start()
	b.halts()
	failpoint.Reset()
	b.setKept("docs") // and then something else is set
	b.restart()
	b.keep("big")
	c.done()
	b.has("big/y", "y2")
	c.conflicts(0)
}

// TestPartOfDirectory: of a directory of which a node has a part, its user deletes and
// renames that part; what others do to the whole happens to the part.
func TestPartOfDirectory(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for _, d := range []string{"one", "two", "three", "four"} {
		a.write(d+"/x.md", d)
		a.write(d+"/y.bin", d+" bin")
	}
	c.settled()
	b.keep("*.md")
	for _, d := range []string{"one", "two", "three", "four"} {
		b.remove(d + "/y.bin")
	}
	b.remove("one")
	b.rename("two", "zwei")
	c.done()
	a.absent("one/x.md")
	a.has("one/y.bin", "one bin")
	a.has("zwei/x.md", "two")
	a.absent("two/x.md")
	a.has("two/y.bin", "two bin")
	a.rename("three", "drei")
	a.remove("four")
	c.done()
	b.has("drei/x.md", "three")
	b.absent("drei/y.bin")
	b.absent("four")
	c.conflicts(0)
}

// TestMovesAcrossTheEdge: what moves out of the subset goes, what moves in comes, on
// either side.
func TestMovesAcrossTheEdge(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("in/x", "x")
	a.write("in/d/y", "y")
	a.write("out/z", "z")
	a.write("out/e/w", "w")
	c.settled()
	b.keep("/in")
	c.settled()
	b.remove("out")
	a.rename("in/x", "out/x")
	a.rename("in/d", "out/d")
	a.rename("out/z", "in/z")
	a.rename("out/e", "in/e")
	c.done()
	b.absent("in/x")
	b.absent("in/d")
	b.has("in/z", "z")
	b.has("in/e/w", "w")
	c.ok(os.MkdirAll(b.path("out"), 0o755))
	b.rename("in/z", "out/z")
	b.rename("in/e", "out/e")
	c.done()
	a.absent("in/z") // for others it was a deletion
	a.absent("in/e")
	a.absent("out/e")
	b.has("out/e/w", "w")
	c.inHistory("w")
	c.conflicts(0)
}

// TestOutsideIsNoTrouble: what is not kept is not counted, waited for, blocked or listed
// as anything but left out.
func TestOutsideIsNoTrouble(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.keep("/docs")
	a.write("docs/x", "x")
	a.write("big/y", "y")
	a.write("big/"+ignore.Name, "*.o\n")
	a.write("docs/"+ignore.Name, "*.o\n")
	a.write(ignore.Name, "*.o\n")
	c.settled()
	b.write("big/own", "o")
	b.write("docs/t.o", "o")
	c.done()
	in, err := b.engine.Info()
	c.ok(err)
	if in.PendingFiles != 0 || in.LocalChanges != 0 || len(in.Blocked)+len(in.Waiting) != 0 || in.Only != "/docs" {
		t.Errorf("the state is %+v", in)
	}
	b.has("docs/"+ignore.Name, "*.o\n")
	b.absent("big/" + ignore.Name)
	var list []string
	c.ok(b.engine.Ignored(context.Background(), func(p IgnoredPath) error {
		list = append(list, string(p.Path)+" "+string(p.RuleFile)+" "+p.Pattern)
		return nil
	}))
	if got := strings.Join(list, "; "); got != "big  only=/docs; docs/t.o docs/.lockstepignore *.o" {
		t.Errorf("ignored are %q", got)
	}
	for p, want := range map[id.Path]string{"big/y": notKept + "only=/docs", "big/own": notKept + "only=/docs", "big": notKept + "only=/docs", "docs/x": ""} {
		x, _, _, err := b.engine.Why(p)
		c.ok(err)
		if x.Reason != want || (want != "") != (x.Step == Ignored) {
			t.Errorf("%s is %s: %q", p, x.Step, x.Reason)
		}
	}
}

// TestNarrowWhatIsHeld: deletions that are held are nobody's once their paths are not kept.
func TestNarrowWhatIsHeld(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.least = 2
	b.restart()
	for i := range 6 {
		a.write(fmt.Sprintf("big/%d", i), "n")
	}
	a.write("docs/x", "x")
	c.settled()
	b.remove("big")
	b.captured()
	if in, err := b.engine.Info(); err != nil || in.Held == nil {
		t.Fatalf("nothing is held: %v", err)
	}
	b.keep("/docs")
	eventually(t, "nothing is held", func() error {
		if in, err := b.engine.Info(); err != nil || in.Held != nil {
			return fmt.Errorf("held: %v %v", in.Held, err)
		}
		return nil
	})
	b.least = 0
	c.done()
	a.has("big/5", "n")
	b.keep("")
	c.done()
	b.has("big/5", "n")
}

// TestNarrowInModes: a node that only sends, or only receives, keeps a part like any.
func TestNarrowInModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ModeSend, ModeReceive} {
		c := newCluster(t, t.TempDir(), 2).start()
		defer c.close()
		a, b := c.nodes[0], c.nodes[1]
		a.write("big/x", "x")
		a.write("docs/x", "x")
		c.settled()
		b.setMode(mode)
		b.captured()
		b.write("big/x", "b's")
		b.write("docs/y", "b's")
		b.captured()
		b.keep("/docs")
		b.captured()
		b.remove("big")
		b.captured()
		in, err := b.engine.Info()
		c.ok(err)
		if mode == ModeReceive && (len(in.Kept) != 1 || in.Kept[0].Path != "docs/y") {
			t.Errorf("kept are %v", in.Kept)
		}
		b.setMode("")
		c.done()
		if mode == ModeSend {
			a.has("big/x", "b's")
		} else {
			a.has("big/x", "x")
		}
		a.has("docs/y", "b's")
	}
}

// TestForgetOfAPart: tracking is ended by who keeps all of it.
func TestForgetOfAPart(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("d/x", "x")
	a.write("d/y", "y")
	a.write("e/x", "x")
	a.write("f", "f")
	c.settled()
	a.write(ignore.Name, "d/\ne/\nf\n")
	c.settled()
	b.keep("*,!y,!/f")
	c.done()
	for p, want := range map[id.Path]string{"d": "only a part", "f": notKept, "e": ""} {
		within(t, "forget", func(ctx context.Context) error {
			_, _, err := b.engine.Forget(ctx, p, false)
			if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
				t.Errorf("forget %s: %v, want %q", p, err, want)
			}
			return nil
		})
	}
	c.settled()
	a.has("e/x", "x")
}

// TestKindsAtTheEdge: something that is not kept for its kind is the user's own, also
// where the head has, or gets, a directory that leads to what is kept.
func TestKindsAtTheEdge(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.keep("a/*")
	b.write("a", "a file, and not kept")
	b.committed()
	c.settled()
	a.absent("a")
	a.write("a/x", "x")
	a.committed()
	b.notKeptAt("a")
	b.has("a", "a file, and not kept")
	b.remove("a")
	c.done()
	b.has("a/x", "x")
	// The other way: a directory that is kept becomes a file.
	b.remove("a")
	b.write("a", "b's")
	c.done()
	a.absent("a")
	b.has("a", "b's")
	b.restart()
	b.committed()
	c.settled()
	b.has("a", "b's")
	c.conflicts(0)
}

// TestWidenBeforeOwnChangesLand: own changes whose records were let go while they were
// under way are brought like others' once they are kept again.
func TestWidenBeforeOwnChangesLand(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("d/x", "x")
	a.write("d/y", "y")
	c.settled()
	b.set(true, false)
	b.write("a", "of b")
	b.captured()
	b.rename("d", "e")
	b.captured()
	b.keep("/e/y")
	b.captured()
	b.remove("a")
	b.remove("e/x")
	b.captured()
	b.keep("")
	b.captured()
	b.set(false, false)
	c.done()
	b.has("a", "of b")
	b.has("e/x", "x")
	a.has("e/y", "y")
	c.conflicts(0)
}
