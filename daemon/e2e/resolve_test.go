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

// Conflicts made by two nodes, each resolved in another way on another node: by command
// and by hand. Disks, records and the history's hash are the same everywhere.
func TestResolveConflicts(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	names := []string{"current", "other", "both", "with", "deleted", "moved", "renamed"}
	for _, p := range names {
		writeFile(t, a, p, []byte("base of "+p+"\n"))
	}
	everywhere(t, ctx, c, a)
	cut(t, b, harness.Reset)
	t0 := time.Now()
	for _, p := range names {
		writeFile(t, a, p, []byte(p+" by a\n"))
		writeFile(t, b, p, []byte(p+" by b\n"))
	}
	for _, p := range names {
		queuedAfter(t, b, p, t0)
	}
	lockstep(t, ctx, a, 0, "wait")
	b.Heal()
	lockstep(t, ctx, b, 0, "wait", "--all")
	settled(t, ctx, c)

	ids, copies := map[string]string{}, map[string]string{}
	for _, x := range conflicts(t, ctx, a) {
		ids[x.Path], copies[x.Path] = x.ID, x.CopyPath
	}
	if len(ids) != len(names) {
		t.Fatalf("open conflicts: %v", ids)
	}
	shown := lockstep(t, ctx, b, 0, "conflicts", "show", ids["other"]).Stdout
	for _, want := range []string{"-base of other\n+other by a", "-base of other\n+other by b", "-other by a\n+other by b"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show lacks %q:\n%s", want, shown)
		}
	}
	if got := lockstep(t, ctx, b, 0, "conflicts", "show", ids["other"], "--side", "base").Stdout; got != "base of other\n" {
		t.Errorf("the base is %q", got)
	}

	given := t.TempDir() + "/merged"
	must(t, os.WriteFile(given, []byte("merged\n"), 0o600))
	lockstep(t, ctx, a, 0, "conflicts", "resolve", ids["current"], "--keep", "current")
	lockstep(t, ctx, b, 0, "conflicts", "resolve", ids["other"], "--keep", "other")
	lockstep(t, ctx, a, 0, "conflicts", "resolve", ids["both"], "--keep", "both")
	res := decode[control.ResolveResult](t, lockstep(t, ctx, b, 0, "conflicts", "resolve", ids["with"], "--with", given, "--json").Stdout)
	if res.State != "resolved" || res.Resolution != "with" || res.ResolvedBy != "b" || res.Revision == 0 {
		t.Errorf("%+v", res)
	}
	lockstep(t, ctx, a, 1, "conflicts", "resolve", ids["with"], "--keep", "other")
	must(t, os.Remove(at(a, copies["deleted"])))
	must(t, os.Rename(at(b, copies["moved"]), at(b, "moved")))
	must(t, os.Rename(at(a, copies["renamed"]), at(a, "renamed by hand")))
	lockstep(t, ctx, a, 0, "wait", "--all")
	lockstep(t, ctx, b, 0, "wait", "--all")
	settled(t, ctx, c)

	want := map[string]string{
		"current": "current by a\n", "other": "other by b\n", "both": "both by a\n", copies["both"]: "both by b\n", "with": "merged\n",
		"deleted": "deleted by a\n", "moved": "moved by b\n", "renamed": "renamed by a\n", "renamed by hand": "renamed by b\n",
	}
	resolution := map[string]string{
		"current": "current by a", "other": "other by b", "both": "both by a", "with": "with by b",
		"deleted": "current by a", "moved": "other by b", "renamed": "both by a",
	}
	for _, n := range c.Nodes {
		tree := snapshot(t, n)
		if len(tree) != len(want) {
			t.Errorf("%s has %d paths: %v", n.Name, len(tree), tree.Find(func(string, harness.Entry) bool { return true }))
		}
		for p, text := range want {
			if tree[p].Sum != harness.Sum([]byte(text)) {
				t.Errorf("%s: %s is not %q", n.Name, p, text)
			}
		}
		if m := tree["with"].Mode.Perm(); m != 0o644 {
			t.Errorf("%s: the mode of with is %o", n.Name, m)
		}
		if open := conflicts(t, ctx, n); len(open) != 0 {
			t.Errorf("%s: open: %+v", n.Name, open)
		}
		for _, x := range conflicts(t, ctx, n, "--all") {
			if got := x.Resolution + " by " + x.ResolvedBy; got != resolution[x.Path] {
				t.Errorf("%s: %s is %s, want %s", n.Name, x.Path, got, resolution[x.Path])
			}
		}
	}
	refusedAfterLook(t, ctx, a, b)
}

// refusedAfterLook: what another node changed since it was shown is not decided upon.
func refusedAfterLook(t *testing.T, ctx context.Context, a, b *harness.Node) {
	t.Helper()
	cut(t, b, harness.Reset)
	t0 := time.Now()
	writeFile(t, a, "current", []byte("again by a\n"))
	writeFile(t, b, "current", []byte("again by b\n"))
	queuedAfter(t, b, "current", t0)
	lockstep(t, ctx, a, 0, "wait")
	b.Heal()
	lockstep(t, ctx, b, 0, "wait", "--all")
	x := conflicts(t, ctx, a)
	if len(x) != 1 {
		t.Fatalf("%+v", x)
	}
	lockstep(t, ctx, a, 0, "conflicts", "show", x[0].ID)
	writeFile(t, b, x[0].CopyPath, []byte("one word more by b\n"))
	lockstep(t, ctx, b, 0, "wait", "--all")
	r := lockstep(t, ctx, a, 1, "conflicts", "resolve", x[0].ID, "--keep", "current")
	if !strings.Contains(r.Stderr, "has changed since it was looked at, by b") {
		t.Errorf("stderr %q", r.Stderr)
	}
	lockstep(t, ctx, a, 0, "conflicts", "show", x[0].ID)
	writeFile(t, a, "current", []byte("mended by hand\n")) // one's own change was seen
	lockstep(t, ctx, a, 0, "conflicts", "resolve", fmt.Sprint(strings.TrimPrefix(x[0].ID, folderName+"#")), "--keep", "current")
	if got, err := os.ReadFile(at(a, "current")); err != nil || string(got) != "mended by hand\n" {
		t.Errorf("%q %v", got, err)
	}
}
