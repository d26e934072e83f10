package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
)

// TestFolderOperations: settings, a pause and a moved root hold at once and over a
// restart, and what cannot be is refused before anything is changed.
func TestFolderOperations(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	end := startNode(t, ctx, h)
	defer func() { end() }()
	c := control.NewClient(h)
	root := mkdir(t, base, "docs")
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(root)}); err != nil {
		t.Fatal(err)
	}
	wait := func() error {
		_, err := c.Wait(ctx, control.WaitRequest{Folder: "docs", Timeout: 20 * time.Second})
		return err
	}
	status := func() control.FolderStatus {
		t.Helper()
		st, err := c.Status(ctx, control.StatusRequest{})
		if err != nil || len(st.Folders) != 1 {
			t.Fatalf("status: %+v, %v", st, err)
		}
		return st.Folders[0]
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	rev := status().AppliedRevision

	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "receive", "merge": "text"}}); control.CodeOf(err) != control.CodeUsage {
		t.Errorf("a setting that is not known: %v", err)
	}
	if st := status(); st.Mode != "both" {
		t.Errorf("a refused set left mode %s", st.Mode)
	}
	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "receive", "conflicts": "copy"}}); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil { // the engine is a new one, and has to compare the disk
		t.Fatal(err)
	}
	for _, name := range []string{"docs", "nothing"} {
		_, err := c.FolderAllow(ctx, control.FolderAllowRequest{Name: name})
		_, err2 := c.FolderRevert(ctx, control.FolderRevertRequest{Name: name})
		if err == nil || err2 == nil {
			t.Errorf("allow and revert of %s with nothing held: %v, %v", name, err, err2)
		}
	}
	if _, err := c.FolderPause(ctx, control.FolderPauseRequest{Name: "docs", Paused: true}); err != nil {
		t.Fatal(err)
	}
	for start := range 2 {
		if st := status(); st.State != control.StatePaused || st.Mode != "receive" || st.AppliedRevision != rev {
			t.Errorf("start %d: %+v", start, st)
		}
		err := wait()
		if e, ok := err.(*control.Error); !ok || e.Code != control.CodeFailed || len(e.Paths) != 1 {
			t.Errorf("wait for a paused folder: %v", err)
		}
		end()
		end = startNode(t, ctx, h)
	}
	list, err := c.Folders(ctx)
	if err != nil || len(list) != 1 || list[0].Settings["mode"] != "receive" || list[0].State != control.StatePaused {
		t.Errorf("folders: %+v, %v", list, err)
	}

	// The move of a paused folder is made right when it goes on.
	moved := filepath.Join(base, "moved")
	for name, p := range map[string]string{"nowhere": moved, "where it is": root, "unmarked": mkdir(t, base, "other"), "around the home": base, "inside": mkdir(t, root, "in")} {
		if r, err := c.FolderMove(ctx, control.FolderMoveRequest{Name: "docs", Path: control.RawPath(p)}); err == nil {
			t.Errorf("moved to %s: %+v", name, r)
		}
	}
	if err := os.Rename(root, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(moved, "f")); err != nil {
		t.Fatal(err)
	}
	r, err := c.FolderMove(ctx, control.FolderMoveRequest{Name: "docs", Path: control.RawPath(moved)})
	if err != nil || r.Path != moved || r.Previous != root || r.Left {
		t.Errorf("move: %+v, %v", r, err)
	}
	end()
	end = startNode(t, ctx, h)
	if st := status(); st.State != control.StatePaused || st.Path != moved {
		t.Errorf("after the move: %+v", st)
	}
	if _, err := c.FolderPause(ctx, control.FolderPauseRequest{Name: "docs"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "both"}}); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(moved, "f")); err != nil {
		t.Errorf("what did not come along: %v", err)
	}

	// A halted folder, whose root was moved away, goes on where it is now.
	disk := mkdir(t, base, "disk")
	again := filepath.Join(disk, "again")
	if err := os.Rename(moved, again); err != nil {
		t.Fatal(err)
	}
	for status().State != control.StateHalted {
		if ctx.Err() != nil {
			t.Fatal("the folder does not halt")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := c.FolderMove(ctx, control.FolderMoveRequest{Name: "docs", Path: control.RawPath(disk)}); err == nil || !strings.Contains(err.Error(), "directory is "+again) {
		t.Errorf("moved to the directory above: %v", err)
	}
	if _, err := c.FolderMove(ctx, control.FolderMoveRequest{Name: "docs", Path: control.RawPath(again)}); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
	// What is ended leaves no settings for the next of its name.
	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "send"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FolderRemove(ctx, control.FolderRemoveRequest{Name: "docs"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(folder.MarkerPath(again)); !os.IsNotExist(err) {
		t.Errorf("the marker after rm: %v", err)
	}
	if _, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"mode": "send"}}); err == nil || !strings.Contains(err.Error(), "not on this node") {
		t.Errorf("set of a folder that is not here: %v", err)
	}
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(again), Name: "docs"}); err != nil {
		t.Fatal(err)
	}
	if st := status(); st.Mode != "both" {
		t.Errorf("a folder that is added again has mode %s", st.Mode)
	}
	if _, err := c.FolderRemove(ctx, control.FolderRemoveRequest{Name: "docs", Everywhere: true}); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Folders(ctx); err != nil || len(list) != 0 {
		t.Errorf("after rm --everywhere: %+v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(again, "f")); err != nil {
		t.Errorf("the user's file: %v", err)
	}
}
