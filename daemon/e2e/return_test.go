package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A machine comes back with a thousand stale files (10,000 in the long form). What
// history holds makes no conflict and no commit, and what is equal is not pulled; for
// the rest there is a plan, which changes nothing.
func TestReturningMachine(t *testing.T) {
	n := 1000
	if os.Getenv("LOCKSTEP_LONG") != "" {
		n = envInt(t, "LOCKSTEP_STALE", 10000)
	}
	const differ = 101
	ctx := within(t, 5*time.Minute)
	c := newCluster(t)
	for _, name := range []string{"a", "b"} {
		_, err := c.Add(ctx, name)
		must(t, err)
	}
	a, b := c.Nodes[0], c.Nodes[1]
	name := func(i int) string { return fmt.Sprintf("d%02d/f%05d", i%50, i) }
	// What a version of a file holds: 4 KiB each, so that a pull would show.
	text := func(i, version int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "%d of %d;", version, i), 4096)[:4096]
	}
	_, err := a.Client().FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(a.Tree), Name: folderName})
	must(t, err)
	begun := time.Now()
	for i := range n {
		writeFile(t, a, name(i), text(i, 1))
		writeFile(t, b, name(i), text(i, 1))
	}
	lockstep(t, ctx, a, 0, "wait", folderName, "--timeout", "2m")
	// A tenth is deleted meanwhile, a tenth stays, the rest goes on twice.
	var equal, deleted int
	var stale []int
	for v := 2; v <= 3; v++ {
		equal, deleted, stale = 0, 0, nil
		for i := range n {
			switch {
			case i%10 == 0:
				equal++
			case i%10 == 1:
				if deleted++; v == 2 {
					must(t, os.Remove(at(a, name(i))))
				}
			default:
				stale = append(stale, i)
				writeFile(t, a, name(i), text(i, v))
			}
		}
		lockstep(t, ctx, a, 0, "wait", folderName, "--timeout", "2m")
	}
	for _, i := range stale[:differ] { // edited on the machine that was away
		writeFile(t, b, name(i), text(i, 99))
	}
	t.Logf("%d files of three versions: %.1f s", n, time.Since(begun).Seconds())
	want, had := snapshot(t, a), snapshot(t, b)
	before, err := a.Folder(ctx, folderName)
	must(t, err)

	begun = time.Now()
	dry := decode[control.FolderAddResult](t, lockstep(t, ctx, b, 0, "folder", "add", b.Tree, "--name", folderName, "--dry-run", "--json").Stdout)
	t.Logf("dry run: %.2f s", time.Since(begun).Seconds())
	if p := dry.Plan; !p.Stops || p.Different.Count != differ || p.Older.Count != len(stale)-differ || p.DeletedThere.Count != deleted {
		t.Errorf("dry run: %+v", p)
	}
	begun = time.Now()
	r := lockstep(t, ctx, b, 1, "folder", "add", b.Tree, "--name", folderName)
	t.Logf("stopped after %.2f s: %s", time.Since(begun).Seconds(), r.Stderr)
	for _, say := range []string{"101 paths", fmt.Sprintf("%d equal", equal), fmt.Sprintf("%d older", len(stale)-differ), fmt.Sprintf("%d deleted there", deleted), "--prefer"} {
		if !strings.Contains(r.Stderr, say) {
			t.Errorf("the plan does not say %q: %s", say, r.Stderr)
		}
	}
	if _, err := os.Lstat(at(b, ".lockstep")); err == nil {
		t.Error("the plan left a marker behind")
	}
	if d := harness.Diff(had, snapshot(t, b)); len(d) > 0 {
		t.Errorf("the plan changed the disk: %s", harness.Summary(d))
	}

	begun = time.Now()
	r = lockstep(t, ctx, b, 0, "folder", "add", b.Tree, "--name", folderName, "--prefer", "cluster", "--json")
	res := decode[control.FolderAddResult](t, r.Stdout)
	added := time.Since(begun)
	must(t, harness.WaitTree(ctx, want, b))
	t.Logf("added after %.2f s, equal after %.2f s", added.Seconds(), time.Since(begun).Seconds())
	lockstep(t, ctx, b, 0, "wait", folderName, "--all", "--timeout", "1m")
	must(t, harness.WaitTree(ctx, want, a, b))
	fb, err := b.Folder(ctx, folderName)
	must(t, err)
	if fb.ConflictsOpen != 0 {
		t.Errorf("%d conflicts", fb.ConflictsOpen)
	}
	// Two commits keep what differed; what history held made none.
	if fb.HeadRevision != before.HeadRevision+2 || res.Kept == nil || res.Kept.Files != differ {
		t.Errorf("head %d, was %d; kept %+v", fb.HeadRevision, before.HeadRevision, res.Kept)
	}
	if most := int64(len(stale)) * 4096 * 5 / 4; fb.WireBytesReceived > most {
		t.Errorf("received %d bytes, want at most %d: what is equal is not pulled", fb.WireBytesReceived, most)
	}
	kept := fmt.Sprintf("%s:%s/%s@%d", folderName, res.Kept.Path, name(stale[0]), res.Kept.Revision)
	if got := lockstep(t, ctx, a, 0, "cat", kept).Stdout; got != string(text(stale[0], 99)) {
		t.Errorf("%s has %d other bytes", kept, len(got))
	}
}
