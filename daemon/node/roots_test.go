package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// newHome makes a node in a temporary directory.
func newHome(t *testing.T) (base, h string) {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h = filepath.Join(base, "home")
	if err := Init(InitOptions{Home: h, Name: "a", Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	return base, h
}

func minute(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestParallelAdds: of adds of one directory, or of one inside another, that run at
// once, one is carried out, and the others change nothing.
func TestParallelAdds(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	end := startNode(t, ctx, h)
	defer end()
	c := control.NewClient(h)
	for round := range 5 {
		out := mkdir(t, base, fmt.Sprintf("g%d", round))
		in := mkdir(t, out, fmt.Sprintf("sub%d", round))
		var wg sync.WaitGroup
		var mu sync.Mutex
		var added []string
		for _, p := range []string{out, out, in, out, in} {
			wg.Go(func() {
				r, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(p)})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					added = append(added, r.Path)
				} else if control.CodeOf(err) != control.CodeFailed {
					t.Errorf("add %s: %v", p, err)
				}
			})
		}
		wg.Wait()
		if len(added) != 1 {
			t.Errorf("round %d: added %v, want one", round, added)
		}
		for _, p := range []string{out, in} {
			_, err := os.Lstat(folder.MarkerPath(p))
			if marked := err == nil; len(added) == 1 && marked != (added[0] == p) {
				t.Errorf("round %d: added %s; %s is marked: %v", round, added[0], p, marked)
			}
		}
	}
	list, err := c.Folders(ctx)
	if err != nil || len(list) != 5 {
		t.Errorf("%d folders in the cluster, want 5: %+v, %v", len(list), list, err)
	}
}

// TestNestedRoots: a folder inside another is refused whatever node keeps that
// one, and however the path is spelled.
func TestNestedRoots(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	end := startNode(t, ctx, h)
	defer end()
	c := control.NewClient(h)
	docs := mkdir(t, base, "docs")
	mkdir(t, docs, "sub")
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(docs)}); err != nil {
		t.Fatal(err)
	}
	// Another node's folder, marked and unknown here.
	foreign := mkdir(t, base, "other", "deep", "foreign")
	if err := mark(foreign, id.NewFolder()); err != nil {
		t.Fatal(err)
	}
	inside := mkdir(t, foreign, "a", "b")
	link := filepath.Join(base, "link")
	if err := os.Symlink(docs, link); err != nil {
		t.Skipf("SKIPPED: no symlinks on this system: %v", err)
	}
	marked := mkdir(t, base, "marked")
	if err := mark(marked, id.NewFolder()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ path, says string }{
		"above a marked one":  {filepath.Join(base, "other"), foreign},
		"inside a marked one": {inside, foreign},
		"marked itself":       {marked, "marked as another folder"},
		"through a symlink":   {link, docs},
		"inside, by symlink":  {filepath.Join(link, "sub"), docs},
		"spelled otherwise":   {docs + "/sub/.." + "//", docs},
	} {
		_, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(tc.path), Name: "x"})
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want one that names %s", name, err, tc.says)
		}
	}
	if list, err := c.Folders(ctx); err != nil || len(list) != 1 {
		t.Errorf("refused adds left folders: %+v, %v", list, err)
	}
	// Once it is unmarked, the same path is taken.
	if err := os.Remove(folder.MarkerPath(foreign)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(filepath.Join(base, "other"))}); err != nil {
		t.Errorf("after the marker is gone: %v", err)
	}
}

// TestMarkedBelowIsBounded: the walk ends at its limit.
func TestMarkedBelowIsBounded(t *testing.T) {
	root := t.TempDir()
	deep := mkdir(t, root, "a", "b", "c", "d")
	if err := mark(deep, id.NewFolder()); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]string{maxWalk: deep, 5: deep, 4: "", 0: ""} {
		if got, err := markedBelow(t.Context(), root, limit); err != nil || got != want {
			t.Errorf("limit %d: %q, %v, want %q", limit, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := markedBelow(ctx, root, maxWalk); err == nil {
		t.Error("a cancelled walk has no error")
	}
}

// TestReadyKnowsEveryFolder: whoever asks once the node is ready sees every folder
// that it keeps.
func TestReadyKnowsEveryFolder(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	c := control.NewClient(h)
	const folders = 12
	end := startNode(t, ctx, h)
	for i := range folders {
		if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(mkdir(t, base, fmt.Sprintf("f%d", i)))}); err != nil {
			t.Fatal(err)
		}
	}
	end()
	for range 3 {
		rctx, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		asked := make(chan struct{})
		go func() {
			done <- Run(rctx, RunOptions{Home: h, Ready: func(string) {
				defer close(asked)
				if list, err := c.Folders(ctx); err != nil || len(list) != folders || !list[folders-1].Subscribed {
					t.Errorf("%d folders listed, %v", len(list), err)
				}
				st, err := c.Status(ctx, control.StatusRequest{})
				if err != nil || len(st.Folders) != folders {
					t.Errorf("%d folders in status, %v", len(st.Folders), err)
				}
				for _, f := range st.Folders {
					if !strings.HasPrefix(f.Name, "f") {
						t.Errorf("a folder without its name: %+v", f)
					}
				}
				if r, err := c.Wait(ctx, control.WaitRequest{Timeout: time.Minute}); err != nil || len(r.Folders) != folders {
					t.Errorf("waited for %d folders, %v", len(r.Folders), err)
				}
			}})
		}()
		select {
		case <-asked:
		case err := <-done:
			t.Fatalf("run: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}
