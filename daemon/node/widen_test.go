package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
)

// TestWidenedIsCompared: once a node has been told to keep more, what its user does is a
// change of the version that he sees. He would make a conflict with himself otherwise.
func TestWidenedIsCompared(t *testing.T) {
	ctx := minute(t)
	c, file := folderWithBig(t, ctx)
	if err := setOnly(ctx, c, "small"); err != nil {
		t.Fatal(err)
	}
	returned := make(chan struct{})
	var early sync.Once
	defer failpoint.Reset()
	failpoint.Set("folder/widened", func() error {
		select {
		case <-returned:
			early.Do(func() { t.Error("the command returned before all was compared") })
		case <-time.After(200 * time.Millisecond):
		}
		return nil
	})
	err := setOnly(ctx, c, "*")
	close(returned)
	if err := errors.Join(err, os.WriteFile(file, []byte("2 of the same user"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(ctx, control.WaitRequest{Folder: "docs", Timeout: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	err = c.Conflicts(ctx, control.ConflictsRequest{}, func(x control.Conflict) error {
		t.Errorf("conflict %+v", x)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNarrowedIsStored: a command that keeps less has stored what history needs of the
// rest when it returns, or says that it has not: its user may remove the rest at once.
func TestNarrowedIsStored(t *testing.T) {
	ctx := minute(t)
	c, _ := folderWithBig(t, ctx)
	defer failpoint.Reset()
	failpoint.Set("folder/leaving", func() error { return syscall.ENOSPC })
	if err := setOnly(ctx, c, "small"); err == nil || !strings.Contains(err.Error(), "not stored yet") {
		t.Errorf("a store without room: %v", err)
	}
	failpoint.Reset()
	var stored atomic.Bool
	failpoint.Set("folder/leaving", func() error {
		time.Sleep(100 * time.Millisecond)
		stored.Store(true)
		return nil
	})
	if err := errors.Join(setOnly(ctx, c, "*"), setOnly(ctx, c, "other")); err != nil {
		t.Fatal(err)
	}
	if !stored.Load() {
		t.Error("the command returned before the rest was stored")
	}
}

// folderWithBig starts a node that keeps a folder docs with one file, big/f.
func folderWithBig(t *testing.T, ctx context.Context) (c *control.Client, file string) {
	t.Helper()
	base, h := newHome(t)
	root := filepath.Join(base, "docs")
	file = filepath.Join(root, "big", "f")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("1"), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(startNode(t, ctx, h))
	c = control.NewClient(h)
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(root)}); err != nil {
		t.Fatal(err)
	}
	return c, file
}

func setOnly(ctx context.Context, c *control.Client, only string) error {
	_, err := c.FolderSet(ctx, control.FolderSetRequest{Name: "docs", Set: map[string]string{"only": only}})
	return err
}
