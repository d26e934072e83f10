package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A folder that is deleted on one node is held there, through kills and restarts, and
// then goes back or away as its user says; a pause, a mode and a move hold over
// restarts as well.
func TestFolderDeletedPausedMoved(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	for i := range 300 {
		writeFile(t, a, fmt.Sprintf("d%d/f%d", i%9, i), []byte(fmt.Sprint("file ", i)))
	}
	everywhere(t, ctx, c, a)
	whole := snapshot(t, a)

	held := func(files int) {
		t.Helper()
		r := lockstep(t, ctx, b, 1, "wait", folderName, "--timeout", "20s")
		if !strings.Contains(r.Stderr, "lockstep folder allow docs") {
			t.Errorf("wait says %s", r.Stderr)
		}
		f, err := b.Folder(ctx, folderName)
		must(t, err)
		if len(f.Held) != 1 || f.Held[0].Deletes != files {
			t.Fatalf("held: %+v, want %d deletions", f.Held, files)
		}
	}
	away := b.Tree + "-away"
	for i := range 9 {
		must(t, os.MkdirAll(away, 0o755))
		must(t, os.Rename(at(b, fmt.Sprintf("d%d", i)), fmt.Sprintf("%s/d%d", away, i)))
	}
	must(t, b.Kill()) // before or after it has seen any of it
	must(t, b.Start(ctx))
	held(300)
	must(t, b.Kill())
	must(t, b.Start(ctx))
	held(300)
	if d := harness.Diff(whole, snapshot(t, a)); len(d) > 0 {
		t.Errorf("deletions that are held have reached another node:\n%s", harness.Summary(d))
	}
	lockstep(t, ctx, b, 0, "folder", "revert", folderName)
	must(t, harness.WaitTree(ctx, whole, b))
	must(t, os.RemoveAll(away))

	lockstep(t, ctx, b, 0, "folder", "pause", folderName)
	writeFile(t, a, "while", []byte("a"))
	writeFile(t, b, "mine", []byte("b"))
	lockstep(t, ctx, a, 0, "wait", folderName)
	must(t, b.Kill())
	must(t, b.Start(ctx))
	lockstep(t, ctx, b, 1, "wait", folderName, "--timeout", "20s")
	pausedOn(t, ctx, a, b.Name)
	f, err := b.Folder(ctx, folderName)
	must(t, err)
	if _, err := os.Stat(at(b, "while")); f.State != control.StatePaused || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a paused folder is %s, and what came meanwhile: %v", f.State, err)
	}
	moved := b.Tree + "-moved"
	must(t, os.Rename(b.Tree, moved))
	lockstep(t, ctx, b, 0, "folder", "move", folderName, moved)
	b.Tree = moved
	lockstep(t, ctx, b, 0, "folder", "resume", folderName)
	settled(t, ctx, c)
	everywhere(t, ctx, c, a)
	if got := snapshot(t, a); len(got) != len(whole)+2 {
		t.Errorf("%d paths, want %d and two more", len(got), len(whole))
	}

	for i := range 9 {
		must(t, os.RemoveAll(at(b, fmt.Sprintf("d%d", i))))
	}
	lockstep(t, ctx, b, 1, "wait", folderName, "--timeout", "20s")
	lockstep(t, ctx, b, 0, "folder", "allow", folderName)
	must(t, harness.Until(ctx, "the deletion everywhere", func() error {
		if n := len(snapshot(t, a)); n != 2 {
			return fmt.Errorf("%d paths are left", n)
		}
		return nil
	}))
	if got := conflicts(t, ctx, a, "--all"); len(got) != 0 {
		t.Errorf("conflicts: %+v", got)
	}
}

// pausedOn waits until a node says that the folder is paused on another: who waits for all
// is told so.
func pausedOn(t *testing.T, ctx context.Context, n *harness.Node, other string) {
	t.Helper()
	must(t, harness.Until(ctx, "the news of the pause", func() error {
		f, err := n.Folder(ctx, folderName)
		if err == nil && !strings.Contains(f.Summary, "(paused on "+other+")") {
			err = fmt.Errorf("%s says %q", n.Name, f.Summary)
		}
		return err
	}))
	if r := lockstep(t, ctx, n, 1, "wait", folderName, "--all"); !strings.Contains(r.Stderr, "paused on node "+other) {
		t.Errorf("wait for all: %s", r.Stderr)
	}
}
