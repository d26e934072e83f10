package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A node that stops keeping a folder still has what history needs of the files that it
// received: here the only machine with them is lost, and the user has removed his files.
// Where its disk is not there it says what it could not take.
func TestFolderRemoveKeepsHistory(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	content := bytes.Repeat([]byte("many chunks, "), 200_000)
	writeFile(t, a, "f", content)
	writeFile(t, a, "sub/g", []byte("small"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")

	away := b.Tree + ".away"
	must(t, os.Rename(b.Tree, away))
	must(t, harness.Until(ctx, "the folder to halt", func() error {
		st, err := b.Folder(ctx, folderName)
		if err == nil && st.State != control.StateHalted {
			err = os.ErrDeadlineExceeded
		}
		return err
	}))
	res := lockstep(t, ctx, b, 0, "folder", "rm", folderName)
	if !strings.Contains(res.Stderr, "2 files") || !strings.Contains(res.Stderr, b.Tree) {
		t.Errorf("folder rm without the disk says %q", res.Stderr)
	}
	must(t, os.Rename(away, b.Tree))
	must(t, os.Remove(filepath.Join(b.Tree, ".lockstep", "folder")))
	lockstep(t, ctx, b, 0, "folder", "add", b.Tree, "--name", folderName)
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")

	res = lockstep(t, ctx, b, 0, "folder", "rm", folderName)
	if res.Stderr != "" {
		t.Errorf("folder rm says %q", res.Stderr)
	}
	must(t, a.Kill())
	must(t, os.RemoveAll(filepath.Join(b.Tree, "f")))
	must(t, os.RemoveAll(filepath.Join(b.Tree, "sub")))
	if res := lockstep(t, ctx, b, 0, "cat", folderName+":f@head"); res.Stdout != string(content) {
		t.Errorf("cat of f: %d bytes, %s", len(res.Stdout), res.Stderr)
	}
	if res := lockstep(t, ctx, b, 0, "cat", folderName+":sub/g@head"); res.Stdout != "small" {
		t.Errorf("cat of g: %q, %s", res.Stdout, res.Stderr)
	}
}
