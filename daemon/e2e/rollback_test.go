package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A rollback of many changed files is one revision, exact on every node, and
// undone by another.
func TestRollbackOfManyFiles(t *testing.T) {
	t.Parallel()
	files := 1000
	if os.Getenv("LOCKSTEP_LONG") != "" {
		files = 10_000
	}
	ctx := within(t, 5*time.Minute)
	c := shared(t, ctx, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	name := func(i int) string { return fmt.Sprintf("%03d/%05d", i/100, i) }
	for i := range files {
		writeFile(t, a, name(i), fmt.Appendf(nil, "first version of %d\n", i))
	}
	first := snapshot(t, a)
	must(t, harness.WaitTree(ctx, first, c.Nodes...))
	firstRev := settled(t, ctx, c).HeadRevision

	for i := range files {
		switch i % 10 {
		case 0:
			must(t, os.Remove(at(b, name(i))))
		case 1:
			must(t, os.Chmod(at(b, name(i)), 0o600))
		default:
			writeFile(t, b, name(i), fmt.Appendf(nil, "second version of %d\n", i))
		}
		if i%100 == 0 {
			writeFile(t, b, fmt.Sprintf("new/%d", i), []byte("added later"))
		}
	}
	must(t, os.Rename(at(b, "001"), at(b, "moved")))
	second := snapshot(t, b)
	must(t, harness.WaitTree(ctx, second, c.Nodes...))
	secondRev := settled(t, ctx, c).HeadRevision

	dry := decode[struct {
		Changes  uint64                   `json:"changes"`
		Revision uint64                   `json:"revision"`
		List     []control.RollbackChange `json:"list"`
	}](t, lockstep(t, ctx, b, 0, "rollback", fmt.Sprintf("%s@%d", folderName, firstRev), "--dry-run", "--json").Stdout)
	if dry.Revision != 0 || len(dry.List) < files || uint64(len(dry.List)) != dry.Changes {
		t.Errorf("dry run: revision %d, %d changes, %d listed", dry.Revision, dry.Changes, len(dry.List))
	}
	if d := harness.Diff(second, snapshot(t, b)); len(d) > 0 {
		t.Fatalf("the dry run changed the disk: %s", harness.Summary(d))
	}

	back := func(n *harness.Node, rev uint64, want harness.Tree, head uint64) {
		t.Helper()
		begin := time.Now()
		r := decode[control.RollbackResult](t, lockstep(t, ctx, n, 0, "rollback", fmt.Sprintf("%s@%d", folderName, rev), "--json").Stdout)
		if r.Revision != head || r.Target != rev {
			t.Errorf("rollback made revision %d of target %d, want %d of %d", r.Revision, r.Target, head, rev)
		}
		must(t, harness.WaitTree(ctx, want, c.Nodes...))
		t.Logf("%d changes on three disks after %s", r.Changes, time.Since(begin).Round(time.Millisecond))
		if got := settled(t, ctx, c).HeadRevision; got != head {
			t.Errorf("head %d after the rollback, want %d: it is to be one revision", got, head)
		}
	}
	back(c.Nodes[2], firstRev, first, secondRev+1)
	back(a, secondRev, second, secondRev+2)

	log := decode[[]control.LogCommit](t, lockstep(t, ctx, a, 0, "log", folderName, "-n", "2", "--json").Stdout)
	if len(log) != 2 || log[0].Origin != "rollback" || log[1].Origin != "rollback" || log[1].Target != firstRev {
		t.Errorf("log %+v", log)
	}
}

func TestRollbackOfAFileAndOfADirectory(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a := c.Nodes[0]
	writeFile(t, a, "d/x", []byte("x1"))
	writeFile(t, a, "d/sub/y", []byte("y1"))
	writeFile(t, a, "z", []byte("z1"))
	everywhere(t, ctx, c, a)
	first := settled(t, ctx, c).HeadRevision
	writeFile(t, a, "d/x", []byte("x2"))
	must(t, os.RemoveAll(at(a, "d/sub")))
	writeFile(t, a, "z", []byte("z2"))
	everywhere(t, ctx, c, a)
	settled(t, ctx, c)

	content := func(n *harness.Node, path string) string {
		b, err := os.ReadFile(at(n, path))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	// By a path on this machine, and by folder and path.
	lockstep(t, ctx, a, 0, "rollback", fmt.Sprintf("%s@%d", at(a, "d"), first))
	everywhere(t, ctx, c, a)
	must(t, harness.Until(ctx, "the directory's state on b", func() error {
		n := c.Nodes[1]
		if x, y, z := content(n, "d/x"), content(n, "d/sub/y"), content(n, "z"); x != "x1" || y != "y1" || z != "z2" {
			return fmt.Errorf("x %q, y %q, z %q", x, y, z)
		}
		return nil
	}))
	lockstep(t, ctx, c.Nodes[1], 0, "rollback", fmt.Sprintf("%s:z@%d", folderName, first))
	must(t, harness.Until(ctx, "the file's state on a", func() error {
		if z := content(a, "z"); z != "z1" {
			return fmt.Errorf("z %q", z)
		}
		return nil
	}))
	if got := lockstep(t, ctx, a, 0, "cat", folderName+":d/x@head~1").Stdout; got != "x1" {
		t.Errorf("cat gave %q", got)
	}
	lockstep(t, ctx, a, 1, "cat", folderName+":d/x@9999")
	lockstep(t, ctx, a, 1, "cat", folderName+":nothing@head")
	lockstep(t, ctx, a, 1, "cat", folderName+":d@head")
	lockstep(t, ctx, a, 1, "rollback", folderName+"@9999")
	lockstep(t, ctx, a, 1, "rollback", folderName+"@no-such-tag")
	lockstep(t, ctx, a, 1, "log", "no-such-folder:x")
}
