package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/materialize"
)

// blockedAt returns when a wait on the node says that these paths, and no others,
// cannot be waited for. An earlier one may say so of some of them: what was not looked
// at yet, or waits for another pass, does not hold it up.
func (n *node) blockedAt(want ...string) {
	n.c.t.Helper()
	eventually(n.c.t, "a wait that says what stays here", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := n.engine.Wait(ctx)
		var be *BlockedError
		if !errors.As(err, &be) {
			return errors.Join(errors.New("no blocked paths"), err)
		}
		var got []string
		for _, p := range be.Paths {
			got = append(got, string(p.Path)+": "+p.Reason)
		}
		ok := len(got) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			return errors.New(strings.Join(got, "\n"))
		}
		return nil
	})
}

// reverted returns the texts of the files that were set aside on the node.
func (n *node) reverted() map[string]string {
	n.c.t.Helper()
	out := make(map[string]string)
	dirs, _ := filepath.Glob(n.path(asideName + "/*"))
	for _, d := range dirs {
		n.c.ok(filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(p)
			rel, _ := filepath.Rel(d, p)
			out[rel] = string(b)
			return err
		}))
	}
	return out
}

// TestReceive: what is done on a receiving node stays there, is listed, and is not
// overwritten; everything else follows the head. Revert puts the head back and keeps
// the bytes.
func TestReceive(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for _, p := range []string{"same", "edited", "both", "deleted", "chmod", "d/x", "d/y", "e/x", "r/x"} {
		a.write(p, "0")
	}
	c.settled()
	b.setMode(ModeReceive)
	head := c.head()
	b.write("edited", "b")
	b.write("both", "b")
	b.write("new", "b")
	b.write("newdir/deep/f", "b")
	b.chmod("chmod", 0o600)
	b.remove("deleted")
	b.remove("d")
	b.rename("r", "r2")
	b.remove("e")
	b.write("e", "a file")
	mine := []string{"both: changed", "chmod: changed", "d: deleted", "deleted: deleted", "e: changed", "edited: changed",
		"new: made", "newdir: made", "newdir/deep: made", "newdir/deep/f: made", "r: deleted", "r2: made", "r2/x: made"}
	b.blockedAt(mine...)
	a.write("same", "a")
	a.write("both", "a")
	a.write("d/new", "a")
	a.write("e/new", "a")
	a.write("fresh", "a")
	a.committed()
	b.blockedAt("both: changed", "chmod: changed", "d/x: deleted", "d/y: deleted", "deleted: deleted", "e: changed", "edited: changed",
		"new: made", "newdir: made", "newdir/deep: made", "newdir/deep/f: made", "r: deleted", "r2: made", "r2/x: made")
	b.has("same", "a")
	b.has("fresh", "a")
	b.has("both", "b")
	b.has("edited", "b")
	eventually(t, "what is new in a directory that was deleted here", func() error {
		_, err := os.Lstat(b.path("d/new"))
		return err
	})
	b.has("d/new", "a")
	b.has("e", "a file")
	b.gone("d/x")
	b.gone("deleted")
	var in Info
	eventually(t, "what was brought to be looked at", func() (err error) {
		in, err = b.engine.Info()
		if err == nil && (len(in.Kept) == 0 || in.LocalChanges != len(in.Kept) || len(in.Blocked) != 0) {
			err = fmt.Errorf("%d kept, %d local changes, %d blocked: %v", len(in.Kept), in.LocalChanges, len(in.Blocked), in.Kept)
		}
		return err
	})
	if x, below, n, err := b.engine.Why("edited"); err != nil || x.Step != Stuck || n != 0 || len(below) != 0 {
		t.Errorf("why: %+v, %d below, %v", x, n, err)
	}
	if _, below, n, err := b.engine.Why(""); err != nil || n < len(in.Kept) || len(below) < len(in.Kept) {
		t.Errorf("why of the folder: %d below, %v", n, err)
	}
	b.restart()
	b.write("edited", "b2")
	a.follows()
	if h := c.head(); h.Revision == head.Revision || h.Node != a.id {
		t.Errorf("the head is %d by n%d", h.Revision, h.Node[0])
	}

	var out Reverted
	within(t, "revert", func(ctx context.Context) (err error) {
		out, err = b.engine.Revert(ctx, false)
		return err
	})
	c.done()
	if h := c.head(); h.Node != a.id {
		t.Errorf("a receiving node has committed revision %d\n%s", h.Revision, c.story())
	}
	want := map[string]string{"edited": "b2", "both": "b", "new": "b", "newdir/deep/f": "b", "r2/x": "0", "e": "a file"}
	got := b.reverted()
	for p, text := range want {
		if got[p] != text {
			t.Errorf("set aside: %s is %q, want %q", p, got[p], text)
		}
	}
	if len(got) != len(want) || out.SetAside == 0 || out.Where == "" {
		t.Errorf("set aside: %v, want %v; told %+v", got, want, out)
	}
	within(t, "a second revert", func(ctx context.Context) error {
		if _, err := b.engine.Revert(ctx, false); !errors.Is(err, ErrNothingHeld) {
			return errors.Join(errors.New("did something"), err)
		}
		return nil
	})
}

// TestReceiveThenBoth: what was kept is proposed once the node sends again, on the
// versions that it was made from.
func TestReceiveThenBoth(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for _, p := range []string{"edited", "both", "deleted"} {
		a.write(p, "0")
	}
	c.settled()
	b.setMode(ModeReceive)
	b.write("edited", "b")
	b.write("both", "b")
	b.write("new", "b")
	b.remove("deleted")
	b.captured()
	a.write("both", "a")
	a.write("more", "a")
	a.committed()
	b.blockedAt("both", "deleted", "edited", "new")
	b.setMode(ModeBoth)
	c.done()
	c.conflicts(1)
	a.has("edited", "b")
	a.has("both", "a")
	a.has("new", "b")
	a.gone("deleted")
}

// TestReceiveTakesBackWhatIsPutRight: a change that is undone by hand, or that history
// comes to hold, is none any more.
func TestReceiveTakesBackWhatIsPutRight(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "0")
	a.write("g", "0")
	c.settled()
	b.setMode(ModeReceive)
	b.write("f", "b")
	b.write("g", "1")
	b.write("tmp", "x")
	b.blockedAt("f", "g", "tmp")
	b.remove("tmp")
	b.write("f", "0")
	a.write("g", "1")
	c.settled()
	c.conflicts(0)
	b.has("f", "0")
	if h := c.head(); h.Node != a.id {
		t.Errorf("committed by n%d", h.Node[0])
	}
}

// TestReceiveKeepsARemovedDirectory: a directory that history removes stays while
// something made here is in it, and goes with a revert.
func TestReceiveKeepsARemovedDirectory(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("d/x", "0")
	c.settled()
	b.setMode(ModeReceive)
	b.write("d/mine", "b")
	b.blockedAt("d/mine")
	a.remove("d")
	a.committed()
	b.blockedAt("d: removed by history", "d/mine: made")
	b.gone("d/x")
	b.has("d/mine", "b")
	within(t, "revert", func(ctx context.Context) error { _, err := b.engine.Revert(ctx, false); return err })
	c.done()
	b.gone("d")
	if got := b.reverted(); got["d/mine"] != "b" {
		t.Errorf("set aside: %v", got)
	}
}

// TestSend: nothing comes to the disk of a sending node; what it changes is committed,
// on the versions that it was made from.
func TestSend(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	for _, p := range []string{"f", "both", "theirs", "d/x", "gone", "e/x"} {
		a.write(p, "0")
	}
	c.settled()
	b.setMode(ModeSend)
	a.write("theirs", "a")
	a.write("both", "a")
	a.write("fresh", "a")
	a.write("e/new", "a")
	a.remove("gone")
	a.committed()
	b.caught()
	b.write("f", "b")
	b.write("both", "b")
	b.write("mine", "b")
	b.rename("d", "d2")
	b.remove("e")
	within(t, "a wait on the sending node", func(ctx context.Context) error { _, err := b.engine.Wait(ctx); return err })
	a.follows()
	a.has("f", "b")
	a.has("mine", "b")
	a.has("d2/x", "0")
	a.has("both", "a")
	a.has("e/new", "a")
	a.gone("d")
	a.gone("e/x")
	c.conflicts(1)
	b.has("both", "b")
	b.has("theirs", "0")
	b.has("gone", "0")
	b.gone("fresh")
	b.gone("e")
	in, err := b.engine.Info()
	c.ok(err)
	if in.Skipped == 0 || in.OnDisk != c.head().Revision {
		t.Errorf("%d skipped, on disk %d of %d", in.Skipped, in.OnDisk, c.head().Revision)
	}
	b.restart()
	within(t, "a wait after a restart", func(ctx context.Context) error { _, err := b.engine.Wait(ctx); return err })
	b.gone("fresh")
	b.setMode(ModeBoth)
	c.done()
	c.conflicts(1)
	b.has("fresh", "a")
}

// TestReceiveRace: an edit on a receiving node that comes between the last look and
// the move is on its disk afterwards, and not in history.
func TestReceiveRace(t *testing.T) {
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("f", "0")
	c.settled()
	b.setMode(ModeReceive)
	b.committed()
	onceAt(t, "materialize/before-exchange", func() {
		b.write("t", "mine")
		b.rename("t", "f")
	})
	a.write("f", "theirs")
	a.committed()
	eventually(t, "mine to be somewhere", func() error {
		text, err := os.ReadFile(b.path("f"))
		if err == nil && (string(text) == "mine" || string(text) == "theirs" && b.reverted()["f"] == "mine") {
			return nil
		}
		return errors.New(string(text) + b.state() + fmt.Sprint(b.reverted()))
	})
	if h := c.head(); h.Node != a.id {
		t.Errorf("committed by n%d", h.Node[0])
	}
}

// TestReturnedOnAReceivingNode: bytes of the user's in a displaced file are copied to
// where he finds them, and not proposed.
func TestReturnedOnAReceivingNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.write("d/f", "0")
	c.settled()
	b.setMode(ModeReceive)
	b.committed()
	before := c.head()
	f, err := b.engine.openFS()
	c.ok(err)
	defer f.Close()
	h, err := f.Open("d/f")
	c.ok(err)
	defer h.Close()
	for range 2 { // it may be called again
		c.ok(keeper{b.engine}.Returned(t.Context(), materialize.Kept{Path: "d/f"}, h))
		c.ok(keeper{b.engine}.Returned(t.Context(), materialize.Kept{Path: "d/link", Target: "there"}, nil))
	}
	if got := b.reverted(); got["d/f"] != "0" {
		t.Errorf("set aside: %v", got)
	}
	links, err := filepath.Glob(b.path(asideName + "/*/d/link"))
	if err != nil || len(links) != 2 {
		t.Errorf("links: %v, %v", links, err)
	}
	c.settled()
	if c.head() != before {
		t.Errorf("revision %d was made", c.head().Revision)
	}
}
