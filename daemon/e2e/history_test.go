package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// What a person does with history, on two nodes: who deleted this, what changed, what
// was in it, bring it back, all without the files being on the disk any more.
func TestHistoryOfFiles(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "notes.txt", []byte("one\ntwo\n"))
	writeFile(t, a, "dir/gone.txt", []byte("was here\n"))
	writeFile(t, a, "dir/pic", []byte("\x00\x01"))
	must(t, os.Mkdir(at(a, "dir/empty"), 0o700))
	must(t, os.Symlink("../notes.txt", at(a, "dir/link")))
	must(t, os.Chmod(at(a, "dir/gone.txt"), 0o600))
	everywhere(t, ctx, c, a)
	settled(t, ctx, c)
	tag := decode[control.Tag](t, lockstep(t, ctx, b, 0, "tag", "v1", folderName, "--json").Stdout)
	then := snapshot(t, a)

	writeFile(t, b, "notes.txt", []byte("one\n2\n"))
	everywhere(t, ctx, c, b)
	must(t, os.Rename(at(b, "dir"), at(b, "moved")))
	everywhere(t, ctx, c, b)
	must(t, os.Remove(at(b, "moved/gone.txt")))
	everywhere(t, ctx, c, b)
	head := settled(t, ctx, c).HeadRevision

	// Who deleted this? By the path that it had then, on the node that did not do it.
	log := versions(t, ctx, a, "moved/gone.txt")
	if len(log) != 3 || log[0].Action != "delete" || log[0].Node != "b" || log[1].From != "dir/gone.txt" || log[2].Revision > tag.Revision {
		t.Errorf("log %+v", log)
	}
	if log := versions(t, ctx, a, "dir/gone.txt"); len(log) == 0 || log[0].To != "moved/gone.txt" {
		t.Errorf("log of the old path %+v", log)
	}
	show := lockstep(t, ctx, a, 0, "show", fmt.Sprintf("%s@%d", folderName, head)).Stdout
	if !strings.Contains(show, "by        b (edit)\n") || !strings.Contains(show, "delete  file   9 B  moved/gone.txt\n1 deleted\n") {
		t.Errorf("show\n%s", show)
	}
	if out := lockstep(t, ctx, a, 0, "diff", folderName+"@v1").Stdout; !strings.Contains(out, "moved <- dir\n") ||
		!strings.Contains(out, fmt.Sprintf("%[1]s@%[2]d to %[1]s@%[3]d: 1 modified, 1 renamed, 1 deleted (3 more moved along)\n", folderName, tag.Revision, head)) {
		t.Errorf("diff\n%s", out)
	}
	if out := lockstep(t, ctx, b, 0, "diff", at(b, "notes.txt")+"@v1", "@head").Stdout; !strings.HasSuffix(out, "--- a/notes.txt\n+++ b/notes.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n") {
		t.Errorf("diff of a text\n%s", out)
	}
	if out := lockstep(t, ctx, b, 0, "cat", folderName+":dir/gone.txt@v1").Stdout; out != "was here\n" {
		t.Errorf("cat %q", out)
	}
	if r := lockstep(t, ctx, b, 1, "cat", folderName+":moved/gone.txt@head"); !strings.Contains(r.Stderr, "deleted in revision") {
		t.Errorf("%s", r.Stderr)
	}

	// The tree of then, elsewhere; by the node that did not make it.
	dest := filepath.Join(t.TempDir(), "then")
	lockstep(t, ctx, b, 0, "restore", folderName+"@v1", "--to", dest)
	got, err := harness.Snapshot(dest)
	must(t, err)
	if d := harness.Diff(then, got); len(d) > 0 {
		t.Errorf("restored: %s", harness.Summary(d))
	}
	// One file back into the folder: a change like any other.
	lockstep(t, ctx, b, 0, "restore", folderName+":dir/gone.txt@v1", "--to", at(b, "moved")+"/")
	everywhere(t, ctx, c, b)
	settled(t, ctx, c)
	if log := versions(t, ctx, a, "moved/gone.txt"); log[0].Action != "create" || log[0].Mode != "0600" || log[0].Content != hexSum([]byte("was here\n")) {
		t.Errorf("log %+v", log[0])
	}

	// A directory that is gone, by a time; the dry run is what is then done.
	dry := decode[control.RollbackResult](t, lockstep(t, ctx, a, 0, "rollback", folderName+":dir@v1", "--dry-run", "--json").Stdout)
	done := decode[control.RollbackResult](t, lockstep(t, ctx, a, 0, "rollback", folderName+":dir@v1", "--json").Stdout)
	if dry.Changes != 5 || dry.Counts["create"] != 5 || done.Changes != dry.Changes {
		t.Errorf("dry run %+v, done %+v", dry, done)
	}
	lockstep(t, ctx, a, 1, "tag", "v1", folderName+"@head")
	lockstep(t, ctx, a, 0, "tag", "--delete", "v1", folderName)
	lockstep(t, ctx, a, 1, "cat", folderName+":notes.txt@v1")
	lockstep(t, ctx, a, 1, "show", folderName+"@3 years ago")
	if out := lockstep(t, ctx, a, 0, "cat", folderName+":notes.txt@0s ago").Stdout; out != "one\n2\n" {
		t.Errorf("cat of now: %q", out)
	}
}
