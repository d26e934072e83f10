package watcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSourceTree copies the Go distribution's own source below a watched root.
func TestSourceTree(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: needs LOCKSTEP_LONG=1, for it copies 100 MB")
	}
	x := prepare(t).start()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	x.must(err)
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	start := time.Now()
	x.must(os.CopyFS(x.path("src"), os.DirFS(src)))
	copied := time.Since(start)
	x.until("src", func([]Batch) bool {
		x.index.mu.Lock()
		some := len(x.index.dirs) > 500
		x.index.mu.Unlock()
		return some && x.consistent()
	})
	x.mu.Lock()
	batches := len(x.batches)
	x.mu.Unlock()
	t.Logf("%d paths: copied in %v, all reported %v after the copy's start, in %d batches; status %+v",
		len(x.index.paths()), copied, time.Since(start), batches, x.w.Status())
	start = time.Now()
	x.forget()
	x.must(os.Rename(x.path("src"), x.path("moved")))
	x.until("moved", func([]Batch) bool { return x.consistent() })
	x.mu.Lock()
	batches = len(x.batches)
	x.mu.Unlock()
	t.Logf("rename of the tree reported after %v in %d batches", time.Since(start), batches)
}
