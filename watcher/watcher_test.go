package watcher

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// agreed waits, by events alone, until the index holds n paths, then compares.
func (x *fixture) agreed(n int) {
	x.t.Helper()
	x.until(fmt.Sprintf("%d paths", n), func([]Batch) bool { return len(x.index.paths()) == n })
	x.agrees()
}

func TestNewFileComesOutFast(t *testing.T) {
	x := prepare(t).start()
	var best time.Duration = time.Hour
	for i := range 10 {
		name := fmt.Sprintf("f%d", i)
		x.write(name, string(make([]byte, 4096)))
		closed := time.Now()
		d := x.reported(id.Path(name), vfs.File)
		best = min(best, time.Since(closed))
		if d.Seen.After(d.Settled) || d.Stat.Size != 4096 {
			t.Errorf("reported %+v", d)
		}
	}
	t.Logf("best time from close to report: %v", best)
	if best > 50*time.Millisecond {
		t.Errorf("best time from close to report: %v", best)
	}
}

func TestNewTreesMissNothing(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	const dirs, files = 100, 10
	var g sync.WaitGroup
	for d := range dirs {
		g.Go(func() {
			dir := fmt.Sprintf("top%d/a/b%d", d%7, d)
			x.mkdir(dir)
			for f := range files {
				x.write(fmt.Sprintf("%s/f%d", dir, f), "content")
			}
		})
	}
	g.Wait()
	x.agreed(7 + 7 + dirs + dirs*files)
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make(map[id.Path]bool)
	for _, b := range x.batches {
		for _, d := range b.Paths {
			if dir := d.Path.Dir(); dir != "" && !seen[dir] {
				t.Fatalf("%q before its directory", d.Path)
			}
			seen[d.Path] = true
		}
	}
}

func TestRenameOfDirectory(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.mkdir("a/b/c")
	x.write("a/b/c/f", "1")
	x.start()
	x.forget()
	x.must(os.Rename(x.path("a"), x.path("z")))
	x.reported("a", vfs.Absent)
	x.reported("z/b/c/f", vfs.File)
	x.agreed(4)
	x.mu.Lock()
	first := x.batches[0]
	x.mu.Unlock()
	if len(first.Paths) != 5 {
		t.Errorf("the rename came in pieces: %v", x.reports())
	}
	// The new place is watched under its new name.
	x.forget()
	x.write("z/b/c/g", "2")
	x.reported("z/b/c/g", vfs.File)
	x.mkdir("a/b") // and the old name is free again
	x.write("a/b/h", "3")
	x.reported("a/b/h", vfs.File)
	x.agreed(8)
}

func TestDeletedTreeIsReportedOnce(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	for i := range 20 {
		x.mkdir(fmt.Sprintf("t/d%d/e", i))
		x.write(fmt.Sprintf("t/d%d/e/f", i), "1")
	}
	x.start()
	x.forget()
	x.must(os.Rename(x.path("t"), t.TempDir()+"/t")) // gone at once
	x.agreed(0)
	x.flush()
	if got := x.reports(); !slices.Equal(got, []string{"t: absent"}) {
		t.Errorf("reported %v", got)
	}
}

func TestDeletingATreeReportsNothingTwice(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	for i := range 200 {
		x.mkdir(fmt.Sprintf("t/d%d/e", i))
		x.write(fmt.Sprintf("t/d%d/e/f", i), "1")
	}
	x.start()
	x.forget()
	x.must(os.RemoveAll(x.path("t")))
	x.agreed(0)
	x.flush()
	got := x.reports()
	slices.Sort(got)
	if n := len(got); len(slices.Compact(got)) != n {
		t.Errorf("reported %v", got)
	}
}

func TestOfflineChangesAreFoundByTheFirstScan(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.mkdir("d/e")
	x.write("d/e/f", "1")
	x.write("g", "1")
	x.start()
	x.must(x.stop())
	x.forget()
	x.must(os.RemoveAll(x.path("d")))
	x.write("g", "22")
	x.write("h", "3")
	x.start()
	want := []string{"d: absent", "g: file", "h: file"}
	if got := x.reports(); !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
	x.agrees()
}

func TestSymlinkIsNotFollowed(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	out := t.TempDir()
	x.must(os.WriteFile(out+"/secret", []byte("s"), 0o600))
	x.mkdir("d")
	x.start()
	x.must(os.Symlink(out, x.path("link")))
	x.reported("link", vfs.Symlink)
	x.must(os.WriteFile(out+"/secret2", []byte("s"), 0o600))
	x.must(os.Remove(x.path("d"))) // a symlink in a directory's place
	x.must(os.Symlink(out, x.path("d")))
	x.reported("d", vfs.Symlink)
	x.must(os.WriteFile(out+"/secret3", []byte("s"), 0o600))
	x.flush()
	x.agrees()
	for _, r := range x.reports() {
		if !slices.Contains([]string{"link: symlink", "d: directory", "d: absent", "d: symlink"}, r) {
			t.Errorf("reported %q", r)
		}
	}
	if n := x.w.Status().Watches; n != 1 {
		t.Errorf("%d watches, want the root's", n)
	}
}

func TestReservedDirectoryIsIgnored(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	x.write(".lockstep/tmp", "1")
	x.write(".LockStep", "1")
	x.write("x", "1")
	x.reported("x", vfs.File)
	x.flush()
	got := x.w.Blocked()
	if len(got) != 1 || got[0].Path != ".LockStep" {
		t.Errorf("blocked %v", got)
	}
	for _, p := range slices.Collect(func(yield func(id.Path) bool) {
		for p := range x.index.paths() {
			yield(p)
		}
	}) {
		if p != "x" {
			t.Errorf("reported %q", p)
		}
	}
}

func TestRecordedPathsAreDropped(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.mkdir("d")
	x.start()
	x.forget()
	f, err := vfs.OpenReal(x.root)
	x.must(err)
	defer f.Close()
	// Somebody else's write is recorded before it is reported: the index is asked
	// again at the look and at the hand-over.
	x.index.mu.Lock()
	x.write("d/mine", "1")
	st, err := f.Lstat("d/mine")
	x.must(err)
	x.index.dirs["d"] = map[string]vfs.Stat{"mine": st}
	x.index.mu.Unlock()
	x.write("d/other", "1")
	x.reported("d/other", vfs.File)
	x.flush()
	if got := x.reports(); !slices.Equal(got, []string{"d/other: file"}) {
		t.Errorf("reported %v", got)
	}
}

// B13, B23: any bytes but a slash and NUL are a name.
func TestStrangeNames(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	dir := "d\n\\"
	if err := os.Mkdir(x.path(dir), 0o755); err != nil {
		t.Skipf("SKIPPED: this filesystem cannot hold the name: %v", err)
	}
	names := []string{dir + "/new\nline", dir + "/ lead and trail ", "-rf", "*", ".hidden", "é", "e\u0301", "COM1", "..."}
	if runtime.GOOS == "linux" {
		names = append(names, "\xff\xfe", strings.Repeat("n", 255))
	}
	for _, n := range names {
		x.write(n, "1")
	}
	for _, n := range names {
		x.reported(id.Path(n), vfs.File)
	}
	x.agreed(len(names) + 1)
}
