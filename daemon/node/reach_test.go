package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// TestRollbackWhereNothingIsBrought: a node that only sends does not say that a
// rollback is on its disk.
func TestRollbackWhereNothingIsBrought(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	defer startNode(t, ctx, h)()
	c := control.NewClient(h)
	root := mkdir(t, base, "docs")
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(root)}); err != nil {
		t.Fatal(err)
	}
	write := func(text string) uint64 {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "f"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		res, err := c.Wait(ctx, control.WaitRequest{Folder: "docs", Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return res.Folders[0].Revision
	}
	first := write("0")
	write("1")
	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "send"}}); err != nil {
		t.Fatal(err)
	}
	write("2")
	res, err := c.Rollback(ctx, control.RollbackRequest{Target: control.Target{Folder: "docs"}, Rev: control.Rev{Kind: control.RevNumber, Number: first}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "f"))
	if err != nil || string(text) != "2" || res.OnDisk {
		t.Errorf("the file holds %q, %v; told that revision %d is on the disk: %v", text, err, res.Revision, res.OnDisk)
	}
}
