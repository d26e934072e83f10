// Package vfstest is the suite that every vfs.FS must pass, so that what a test
// on Mem shows holds on a disk too.
package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// Run runs the suite. Each subtest asks open for a fresh, empty filesystem and
// skips, loudly, what answers ErrNotSupported: exchange and leases.
func Run(t *testing.T, open func(t *testing.T) vfs.FS) {
	for name, test := range map[string]func(*testing.T, vfs.FS){
		"Absent": testAbsent, "Files": testFiles, "Handles": testHandles, "Create": testCreate,
		"Directories": testDirectories, "Symlinks": testSymlinks, "Remove": testRemove,
		"Attributes": testAttributes, "Paths": testPaths, "LongPaths": testLongPaths,
		"RenameReplace": testRenameReplace, "RenameNoReplace": testRenameNoReplace,
		"RenameExchange": testRenameExchange, "RenameDirectories": testRenameDirectories,
		"Lease": testLease, "Sync": testSync, "Concurrent": testConcurrent,
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			t.Cleanup(func() { f.Close() })
			test(t, f)
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails checks that err is want and names its path.
func fails(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
		return
	}
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		t.Errorf("error %v is no *fs.PathError", err)
	}
}

func write(t *testing.T, f vfs.FS, p id.Path, content string) {
	t.Helper()
	h, err := f.Create(p, 0o644)
	ok(t, err)
	_, err = io.WriteString(h, content)
	ok(t, err)
	ok(t, h.Close())
}

func read(t *testing.T, f vfs.FS, p id.Path) string {
	t.Helper()
	h, err := f.Open(p)
	ok(t, err)
	defer h.Close()
	b, err := io.ReadAll(h)
	ok(t, err)
	return string(b)
}

func stat(t *testing.T, f vfs.FS, p id.Path) vfs.Stat {
	t.Helper()
	s, err := f.Lstat(p)
	ok(t, err)
	return s
}

func kind(t *testing.T, f vfs.FS, p id.Path, want vfs.Kind) {
	t.Helper()
	if got := stat(t, f, p).Kind; got != want {
		t.Errorf("%s is %v, want %v", p, got, want)
	}
}

func names(t *testing.T, f vfs.FS, p id.Path, want ...string) {
	t.Helper()
	got, err := f.ReadDir(p)
	ok(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("names in %q: %q, want %q", p, got, want)
	}
}

// needSymlinks makes a symlink, or skips where the user may not.
func needSymlinks(t *testing.T, f vfs.FS, target string, p id.Path) {
	t.Helper()
	err := f.Symlink(target, p)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, vfs.ErrNotSupported) {
		t.Skip("no symlinks here:", err)
	}
	ok(t, err)
}

func testAbsent(t *testing.T, f vfs.FS) {
	write(t, f, "file", "x")
	for _, p := range []id.Path{"no", "no/no", "file/below", "file/below/more"} {
		if s := stat(t, f, p); s != (vfs.Stat{}) {
			t.Errorf("lstat %q: %+v", p, s)
		}
	}
	_, err := f.Open("no")
	fails(t, err, fs.ErrNotExist)
	_, err = f.Open("no/no")
	fails(t, err, fs.ErrNotExist)
	_, err = f.ReadDir("no")
	fails(t, err, fs.ErrNotExist)
	_, err = f.Create("no/no", 0o644)
	fails(t, err, fs.ErrNotExist)
	_, err = f.Readlink("no")
	fails(t, err, fs.ErrNotExist)
	fails(t, f.Mkdir("no/no", 0o755), fs.ErrNotExist)
	fails(t, f.Unlink("no"), fs.ErrNotExist)
	fails(t, f.Rmdir("no"), fs.ErrNotExist)
	fails(t, f.Chmod("no", 0o644), fs.ErrNotExist)
	fails(t, f.SetMTime("no", 1), fs.ErrNotExist)
	fails(t, f.SyncDir("no"), fs.ErrNotExist)
	for _, m := range []vfs.RenameMode{vfs.Replace, vfs.NoReplace} {
		fails(t, f.Rename("no", "to", m), fs.ErrNotExist)
		fails(t, f.Rename("file", "no/to", m), fs.ErrNotExist)
	}
	names(t, f, "", "file")
}

func testFiles(t *testing.T, f vfs.FS) {
	write(t, f, "b", "hello")
	write(t, f, "a", "")
	names(t, f, "", "a", "b")
	if got := read(t, f, "b"); got != "hello" {
		t.Errorf("b holds %q", got)
	}
	a, b := stat(t, f, "a"), stat(t, f, "b")
	if b.Kind != vfs.File || b.Size != 5 || b.MTime == 0 || b.Nlink != 1 || a.Size != 0 {
		t.Errorf("a is %+v, b is %+v", a, b)
	}
	if a.Ino == b.Ino && a.Ino != 0 {
		t.Errorf("a and b have inode %d", a.Ino)
	}
	root := stat(t, f, "")
	if root.Kind != vfs.Dir || root.Dev != a.Dev {
		t.Errorf("root is %+v", root)
	}
}

func testHandles(t *testing.T, f vfs.FS) {
	h, err := f.Create("f", 0o644)
	ok(t, err)
	defer h.Close()
	_, err = h.Write([]byte("abc"))
	ok(t, err)
	_, err = h.WriteAt([]byte("XYZ"), 5)
	ok(t, err)
	_, err = h.Write([]byte("d"))
	ok(t, err)
	if got := read(t, f, "f"); got != "abcd\x00XYZ" {
		t.Errorf("f holds %q", got)
	}
	ok(t, h.Truncate(3))
	ok(t, h.Truncate(5))
	r, err := f.Open("f")
	ok(t, err)
	defer r.Close()
	buf := make([]byte, 9)
	n, err := r.ReadAt(buf, 1)
	if n != 4 || err != io.EOF || string(buf[:4]) != "bc\x00\x00" {
		t.Errorf("read %d %q, %v", n, buf[:n], err)
	}
	if n, err := r.ReadAt(buf[:2], 0); n != 2 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if n, err := r.ReadAt(buf, 5); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if _, err := r.Write([]byte("x")); err == nil {
		t.Error("a handle from Open can write")
	}
	hs, err := h.Stat()
	ok(t, err)
	if ps := stat(t, f, "f"); !hs.Same(ps) || hs.Size != 5 {
		t.Errorf("handle says %+v, path %+v", hs, ps)
	}
	ok(t, h.Chmod(0o751))
	ok(t, r.SetMTime(1234567890123456700))
	if s := stat(t, f, "f"); s.Mode != 0o751 || s.MTime != 1234567890123456700 {
		t.Errorf("after chmod and setmtime: %+v", s)
	}
	ok(t, f.Unlink("f")) // an open file lives on
	if hs, err = h.Stat(); err != nil || hs.Nlink != 0 {
		t.Errorf("unlinked: %+v, %v", hs, err)
	}
	if n, err := r.Read(buf[:3]); n != 3 || err != nil || string(buf[:3]) != "abc" {
		t.Errorf("unlinked: read %q, %v", buf[:n], err)
	}
	ok(t, h.Close())
	if _, err := h.Stat(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("stat after close: %v", err)
	}
	if _, err := h.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func testCreate(t *testing.T, f vfs.FS) {
	write(t, f, "f", "old")
	ok(t, f.Mkdir("d", 0o755))
	_, err := f.Create("f", 0o644)
	fails(t, err, fs.ErrExist)
	_, err = f.Create("d", 0o644)
	fails(t, err, fs.ErrExist)
	fails(t, f.Mkdir("f", 0o755), fs.ErrExist)
	fails(t, f.Mkdir("d", 0o755), fs.ErrExist)
	if got := read(t, f, "f"); got != "old" {
		t.Errorf("f holds %q", got)
	}
	needSymlinks(t, f, "nowhere", "l")
	_, err = f.Create("l", 0o644)
	fails(t, err, fs.ErrExist)
	fails(t, f.Symlink("x", "f"), fs.ErrExist)
	names(t, f, "", "d", "f", "l")
}

func testDirectories(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	ok(t, f.Mkdir("d/e", 0o755))
	write(t, f, "d/e/f", "x")
	names(t, f, "", "d")
	names(t, f, "d", "e")
	names(t, f, "d/e", "f")
	kind(t, f, "d/e", vfs.Dir)
	_, err := f.Open("d")
	fails(t, err, vfs.ErrNotSupported)
	if _, err := f.ReadDir("d/e/f"); err == nil {
		t.Error("a file was listed")
	}
	many := make([]string, 0, 300)
	for i := range 300 {
		n := "n" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		many = append(many, n)
		ok(t, f.Mkdir(id.Path("d").Join(n), 0o755))
	}
	many = append(many, "e")
	slices.Sort(many)
	names(t, f, "d", many...)
}

func testSymlinks(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	write(t, f, "d/f", "x")
	needSymlinks(t, f, "d", "l")
	ok(t, f.Symlink("d/f", "lf"))
	ok(t, f.Symlink("no such target/ü", "d/dangling"))
	kind(t, f, "l", vfs.Symlink)
	for p, want := range map[id.Path]string{"l": "d", "lf": "d/f", "d/dangling": "no such target/ü"} {
		got, err := f.Readlink(p)
		if err != nil || got != want {
			t.Errorf("readlink %s: %q, %v", p, got, err)
		}
	}
	if _, err := f.Readlink("d/f"); err == nil {
		t.Error("a file was read as a link")
	}
	_, err := f.Lstat("l/f")
	fails(t, err, vfs.ErrEscape)
	_, err = f.Open("l/f")
	fails(t, err, vfs.ErrEscape)
	_, err = f.Open("lf")
	fails(t, err, vfs.ErrEscape)
	_, err = f.ReadDir("l")
	fails(t, err, vfs.ErrEscape)
	_, err = f.Create("l/new", 0o644)
	fails(t, err, vfs.ErrEscape)
	fails(t, f.Mkdir("l/new", 0o755), vfs.ErrEscape)
	fails(t, f.Unlink("l/f"), vfs.ErrEscape)
	fails(t, f.Rename("l/f", "new", vfs.Replace), vfs.ErrEscape)
	fails(t, f.Rename("d/f", "l/new", vfs.Replace), vfs.ErrEscape)
	fails(t, f.Chmod("lf", 0o600), vfs.ErrNotSupported)
	fails(t, f.SetMTime("lf", 1), vfs.ErrNotSupported)
	fails(t, f.SyncDir("l"), vfs.ErrEscape)
	if f.Rmdir("l") == nil {
		t.Error("rmdir removed a symlink")
	}
	names(t, f, "d", "dangling", "f")
	ok(t, f.Rename("l", "moved", vfs.NoReplace))
	kind(t, f, "moved", vfs.Symlink)
	ok(t, f.Unlink("moved"))
	ok(t, f.Unlink("lf"))
	names(t, f, "", "d")
	names(t, f, "d", "dangling", "f")
}

func testRemove(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	write(t, f, "d/f", "x")
	fails(t, f.Rmdir("d"), fs.ErrExist)
	if f.Unlink("d") == nil {
		t.Error("unlink removed a directory")
	}
	if f.Rmdir("d/f") == nil {
		t.Error("rmdir removed a file")
	}
	kind(t, f, "d/f", vfs.File)
	ok(t, f.Unlink("d/f"))
	if f.Unlink("d") == nil {
		t.Error("unlink removed an empty directory")
	}
	ok(t, f.Rmdir("d"))
	names(t, f, "")
}

func testPaths(t *testing.T, f vfs.FS) {
	for _, p := range []id.Path{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "./a", "a\x00b"} {
		_, err := f.Open(p)
		fails(t, err, fs.ErrInvalid)
		_, err = f.Create(p, 0o644)
		fails(t, err, fs.ErrInvalid)
		fails(t, f.Mkdir(p, 0o755), fs.ErrInvalid)
		fails(t, f.Unlink(p), fs.ErrInvalid)
		fails(t, f.Rmdir(p), fs.ErrInvalid)
		fails(t, f.Chmod(p, 0o755), fs.ErrInvalid)
		fails(t, f.Rename(p, "x", vfs.Replace), fs.ErrInvalid)
		fails(t, f.Rename("x", p, vfs.Replace), fs.ErrInvalid)
		if p != "" {
			_, err = f.Lstat(p)
			fails(t, err, fs.ErrInvalid)
			_, err = f.ReadDir(p)
			fails(t, err, fs.ErrInvalid)
			fails(t, f.SyncDir(p), fs.ErrInvalid)
		}
	}
	ok(t, f.Mkdir(".lockstep", 0o700)) // Lockstep's own files are in it
	write(t, f, ".lockstep/folder", "id")
	if got := read(t, f, ".lockstep/folder"); got != "id" {
		t.Errorf("marker holds %q", got)
	}
}

func testLongPaths(t *testing.T, f vfs.FS) {
	long := strings.Repeat("x", 200)
	p := id.Path(long)
	for {
		ok(t, f.Mkdir(p, 0o755))
		if len(p)+201 > id.MaxPath-40 {
			break
		}
		p = p.Join(long)
	}
	last := p.Join(long[:id.MaxPath-len(p)-1])
	if len(last) != id.MaxPath {
		t.Fatalf("made a path of %d bytes", len(last))
	}
	h, err := f.Create(last, 0o644)
	if err != nil {
		t.Skip("this system does not take the longest path:", err)
	}
	ok(t, h.Close())
	kind(t, f, last, vfs.File)
	if got := read(t, f, last); got != "" {
		t.Errorf("holds %q", got)
	}
	ok(t, f.Chmod(last, 0o600))
	ok(t, f.Rename(last, "short", vfs.NoReplace))
	ok(t, f.Rename("short", last, vfs.NoReplace))
	ok(t, f.SyncDir(p))
	ok(t, f.Unlink(last))
}
