package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// cut cuts a node off, or fails the test where this system cannot.
func cut(t *testing.T, n *harness.Node, m harness.CutMode) {
	t.Helper()
	if err := n.Cut(m); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// queuedAfter waits until the node has durably queued a change of path that it saw
// after t0.
func queuedAfter(t *testing.T, n *harness.Node, path string, t0 time.Time) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	must(t, harness.Until(ctx, "the change to be queued", func() error {
		steps, err := n.Client().Trace(ctx, control.TraceRequest{Target: control.Target{Folder: folderName, Rel: control.RawPath(path)}})
		if err != nil {
			return err
		}
		for _, s := range steps {
			if s.Name == "queued" && s.Time.After(t0) {
				return nil
			}
		}
		return fmt.Errorf("steps %v", steps)
	}))
}

// A queue of three offline versions of one file against a newer head: one
// conflict, one copy, everything in history.
func TestOfflineVersionsMakeOneConflict(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		cut  harness.CutMode
	}{{"reset", harness.Reset}, {"stall", harness.Stall}} {
		t.Run(mode.name, func(t *testing.T) {
			ctx := within(t, 3*time.Minute)
			c := shared(t, ctx, 3)
			a, off := c.Nodes[0], c.Nodes[2]
			writeFile(t, a, "plan.txt", []byte("base\n"))
			everywhere(t, ctx, c, a)

			cut(t, off, mode.cut)
			var mine []string
			for i := range 3 {
				v := fmt.Sprintf("offline version %d\n", i+1)
				t0 := time.Now()
				writeFile(t, off, "plan.txt", []byte(v))
				queuedAfter(t, off, "plan.txt", t0)
				mine = append(mine, v)
			}
			writeFile(t, a, "plan.txt", []byte("the head moved on\n"))
			must(t, harness.WaitTree(ctx, snapshot(t, a), a, c.Nodes[1]))
			off.Heal()

			copyPath := oneConflict(t, ctx, c, "plan.txt", "the head moved on\n", mine[2])
			all := map[string]bool{}
			for _, v := range append(versions(t, ctx, a, "plan.txt"), versions(t, ctx, a, copyPath)...) {
				all[v.Content] = true
			}
			for _, want := range append(mine, "base\n", "the head moved on\n") {
				if !all[hexSum([]byte(want))] {
					t.Errorf("%q is not in the history of the path or of its copy", want)
				}
			}
			// What is in history can be had back, on any node.
			for _, v := range versions(t, ctx, a, copyPath) {
				if v.Action == "delete" {
					continue
				}
				got := lockstep(t, ctx, c.Nodes[1], 0, "cat", fmt.Sprintf("%s:%s@%d", folderName, v.Path, v.Revision)).Stdout
				if hexSum([]byte(got)) != v.Content {
					t.Errorf("cat of revision %d gave %q", v.Revision, got)
				}
			}
		})
	}
}

// oneConflict waits until all disks are equal and hold path with the winner's and
// one copy with the loser's content, and one open record says so. It returns the
// copy's path.
func oneConflict(t *testing.T, ctx context.Context, c *harness.Cluster, path, winner, loser string) string {
	t.Helper()
	var copies []string
	must(t, harness.Until(ctx, "both sides on all disks", func() error {
		want := snapshot(t, c.Nodes[0])
		if want[path].Sum != harness.Sum([]byte(winner)) {
			return fmt.Errorf("%s is not the winner's", path)
		}
		copies = want.Find(func(p string, e harness.Entry) bool { return strings.Contains(p, "(conflict ") })
		if len(copies) != 1 || want[copies[0]].Sum != harness.Sum([]byte(loser)) {
			return fmt.Errorf("copies %q", copies)
		}
		for _, n := range c.Nodes[1:] {
			if d := harness.Diff(want, snapshot(t, n)); len(d) > 0 {
				return fmt.Errorf("%s: %s", n.Name, harness.Summary(d))
			}
		}
		return nil
	}))
	settled(t, ctx, c)
	for _, n := range c.Nodes {
		list := conflicts(t, ctx, n, "--all")
		if len(list) != 1 || list[0].Path != path || list[0].CopyPath != copies[0] || list[0].State != "open" {
			t.Fatalf("%s lists %+v", n.Name, list)
		}
		if k := list[0]; k.WinnerNode == k.LoserNode || k.WinnerRevision >= k.LoserRevision {
			t.Errorf("winner %s r%d, loser %s r%d", k.WinnerNode, k.WinnerRevision, k.LoserNode, k.LoserRevision)
		}
	}
	return copies[0]
}

func TestConflictRules(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	c := shared(t, ctx, 3)
	a, off := c.Nodes[0], c.Nodes[2]
	for _, name := range []string{"same", "edit-delete", "delete-edit", "both-deleted", "attributes"} {
		writeFile(t, a, name, []byte("base of "+name))
	}
	everywhere(t, ctx, c, a)
	cut(t, off, harness.Reset)

	put := func(n *harness.Node, name, s string) { writeFile(t, n, name, []byte(s)) }
	put(a, "same", "equal on both sides")
	put(off, "same", "equal on both sides")
	put(a, "edit-delete", "edited on a")
	must(t, os.Remove(at(off, "edit-delete")))
	must(t, os.Remove(at(a, "delete-edit")))
	put(off, "delete-edit", "edited offline")
	must(t, os.Remove(at(a, "both-deleted")))
	must(t, os.Remove(at(off, "both-deleted")))
	put(a, "attributes", "content changed on a")
	must(t, os.Chmod(at(off, "attributes"), 0o600))
	put(a, "created", "a's")
	put(off, "created", "off's")
	put(a, "only-a", "1")
	put(off, "only-off", "2")
	must(t, harness.WaitTree(ctx, snapshot(t, a), a, c.Nodes[1]))
	must(t, harness.Until(ctx, "all changes to be seen", func() error {
		f, err := off.Folder(ctx, folderName)
		if err == nil && f.LocalChanges < 7 {
			err = fmt.Errorf("%d local changes", f.LocalChanges)
		}
		return err
	}))
	off.Heal()

	content := map[string]string{
		"same": "equal on both sides", "edit-delete": "edited on a", "delete-edit": "edited offline",
		"attributes": "content changed on a", "created": "a's", "only-a": "1", "only-off": "2",
	}
	must(t, harness.Until(ctx, "the rules' outcome on all disks", func() error {
		for _, n := range c.Nodes {
			tree := snapshot(t, n)
			for p, want := range content {
				if tree[p].Sum != harness.Sum([]byte(want)) {
					return fmt.Errorf("%s: %s is not %q", n.Name, p, want)
				}
			}
			if m := tree["attributes"].Mode; m != 0o600 {
				return fmt.Errorf("%s: mode of attributes is %v", n.Name, m)
			}
			if _, ok := tree["both-deleted"]; ok {
				return fmt.Errorf("%s: both-deleted is there", n.Name)
			}
			copies := tree.Find(func(p string, _ harness.Entry) bool { return strings.Contains(p, "(conflict ") })
			if len(copies) != 1 || !strings.HasPrefix(copies[0], "created (conflict ") || tree[copies[0]].Sum != harness.Sum([]byte("off's")) {
				return fmt.Errorf("%s: copies %q", n.Name, copies)
			}
		}
		return nil
	}))
	settled(t, ctx, c)
	open := conflicts(t, ctx, a)
	if len(open) != 1 || open[0].Path != "created" || open[0].Kind != "create/create" {
		t.Errorf("open conflicts: %+v", open)
	}
	for _, k := range conflicts(t, ctx, a, "--all") {
		if k.Path == "same" || k.Path == "both-deleted" || k.Path == "attributes" || strings.HasPrefix(k.Path, "only") {
			t.Errorf("a record without a clash: %+v", k)
		}
		if (k.Path == "edit-delete" || k.Path == "delete-edit") && k.State != "automatic" {
			t.Errorf("edit against delete is not automatic: %+v", k)
		}
	}
}

// A node that is behind the leader's answers never puts old bytes over the user's
// file: whoever reads right after writing, and ever after, reads what he wrote.
func TestLaggingNodeKeepsTheUsersBytes(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 2) // b is a learner
	b := c.Nodes[1]
	writeFile(t, b, "f", []byte("000"))
	everywhere(t, ctx, c, b)
	if err := b.Limit(16 << 10); err != nil { // the log reaches b late
		t.Skipf("SKIPPED: %v", err)
	}
	for i := 1; i <= 40; i++ {
		want := fmt.Sprintf("%03d", i)
		must(t, os.WriteFile(at(b, "f"), []byte(want), 0o644))
		// Some versions are committed and come back while the next are written. What is
		// polled here must hold all the time, so the time runs out.
		for until := time.Now().Add(time.Duration(i%5) * 30 * time.Millisecond); ; time.Sleep(time.Millisecond) {
			got, err := os.ReadFile(at(b, "f"))
			must(t, err)
			if string(got) != want {
				t.Fatalf("wrote %s, then read %s", want, got)
			}
			if time.Now().After(until) {
				break
			}
		}
	}
	must(t, b.Limit(0))
	everywhere(t, ctx, c, b)
	if got := snapshot(t, b)["f"].Sum; got != harness.Sum([]byte("040")) {
		t.Error("the last write is not what the disks hold")
	}
	settled(t, ctx, c)
	if got := conflicts(t, ctx, b, "--all"); len(got) > 0 {
		t.Errorf("one writer alone made conflicts: %+v", got)
	}
}
