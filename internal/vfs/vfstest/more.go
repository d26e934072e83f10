package vfstest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

func testAttributes(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	write(t, f, "d/f", "x")
	write(t, f, "f", "x")
	for _, p := range []id.Path{"f", "d/f", "d"} {
		for _, ns := range []int64{0, 1, 1e18 + 123456789, 1767225600999999999} {
			want := ns
			if runtime.GOOS != "linux" {
				want -= ns % 1000 // microseconds are what other systems can be asked for
				ns = want
			}
			ok(t, f.SetMTime(p, ns))
			if got := stat(t, f, p).MTime; got != want {
				t.Errorf("mtime of %s: %d, want %d", p, got, want)
			}
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	for _, p := range []id.Path{"f", "d/f", "d"} {
		before := stat(t, f, p)
		for _, mode := range []uint32{0o400, 0o777, 0o644, 0o000, 0o1755} {
			if p != "d" && mode == 0o1755 {
				continue // some systems keep the sticky bit of files for root
			}
			ok(t, f.Chmod(p, mode))
			if got := stat(t, f, p).Mode; got != mode {
				t.Errorf("mode of %s: %o, want %o", p, got, mode)
			}
		}
		ok(t, f.Chmod(p, before.Mode))
		after := stat(t, f, p)
		if after.MTime != before.MTime || after.Ino != before.Ino || after.Size != before.Size {
			t.Errorf("chmod changed more than the mode: %+v, %+v", before, after)
		}
	}
	// A rename keeps all but ctime, which grows.
	before := stat(t, f, "f")
	ok(t, f.Rename("f", "g", vfs.NoReplace))
	if after := stat(t, f, "g"); !after.SameIgnoringCTime(before) || after.CTime < before.CTime {
		t.Errorf("rename changed %+v into %+v", before, after)
	}
}

func testLease(t *testing.T, f vfs.FS) {
	write(t, f, "f", "x")
	h, err := f.Open("f")
	ok(t, err)
	defer h.Close()
	l, err := h.Lease()
	if errors.Is(err, vfs.ErrNotSupported) {
		t.Skip("no leases here:", err)
	}
	ok(t, err)
	if !l.Held() {
		t.Error("a fresh lease is not held")
	}
	if got := read(t, f, "f"); got != "x" || !l.Held() {
		t.Errorf("a reader broke the lease or read %q", got)
	}
	ok(t, f.Rename("f", "g", vfs.NoReplace))
	if !l.Held() {
		t.Error("a rename broke the lease")
	}
	l.Release()
	if l.Held() {
		t.Error("a released lease is held")
	}
	l.Release() // again is allowed

	w, err := f.Create("w", 0o644)
	ok(t, err)
	r, err := f.Open("w")
	ok(t, err)
	defer r.Close()
	_, err = r.Lease()
	fails(t, err, vfs.ErrBusy)
	ok(t, w.Close())
	l, err = r.Lease()
	ok(t, err)
	ok(t, r.Close()) // closing releases
	if l.Held() {
		t.Error("the lease of a closed handle is held")
	}
	l.Release()
}

func testSync(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	h, err := f.Create("d/f", 0o644)
	ok(t, err)
	defer h.Close()
	_, err = h.Write([]byte("x"))
	ok(t, err)
	ok(t, h.Sync())
	r, err := f.Open("d/f")
	ok(t, err)
	defer r.Close()
	ok(t, r.Sync()) // also a handle for reading
	ok(t, f.SyncDir("d"))
	ok(t, f.SyncDir(""))
	if err := f.SyncAll(); err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		t.Error(err)
	}
	if n, err := f.FreeBytes(); err == nil && n == 0 || err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		t.Errorf("free bytes: %d, %v", n, err)
	}
	if f.SyncDir("d/f") == nil {
		t.Error("a file was synced as a directory")
	}
}

// testConcurrent moves one file about from several goroutines: it must always be
// in exactly one place in the end, and every move must have one winner.
func testConcurrent(t *testing.T, f vfs.FS) {
	const places, rounds = 4, 50
	for i := range places {
		ok(t, f.Mkdir(id.Path(fmt.Sprint("d", i)), 0o755))
	}
	write(t, f, "d0/f", "x")
	var wg sync.WaitGroup
	for g := range places {
		wg.Go(func() {
			for i := range rounds {
				from := id.Path(fmt.Sprintf("d%d/f", (g+i)%places))
				to := id.Path(fmt.Sprintf("d%d/f", (g+i+1)%places))
				_ = f.Rename(from, to, vfs.NoReplace)
				_, _ = f.Lstat(to)
				_, _ = f.ReadDir(to.Dir())
			}
		})
	}
	wg.Wait()
	found := 0
	for i := range places {
		if stat(t, f, id.Path(fmt.Sprintf("d%d/f", i))).Kind == vfs.File {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the file is in %d places", found)
	}
}
