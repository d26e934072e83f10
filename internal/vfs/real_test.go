package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func openTest(t *testing.T) (FS, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := OpenReal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func TestClosedFails(t *testing.T) {
	t.Parallel()
	f, _ := openTest(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lstat(""); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Lstat after Close: %v", err)
	}
	if err := f.Mkdir("a", 0o755); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Mkdir after Close: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A link that points outside must neither be read nor written through, whichever
// place it has in the path.
func TestNothingOutside(t *testing.T) {
	t.Parallel()
	f, dir := openTest(t)
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"abs": out, "rel": "../" + filepath.Base(out), "file": filepath.Join(out, "secret")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skip("no symlinks here:", err)
		}
	}
	before, err := os.Stat(filepath.Join(out, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrEscape) && !errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for _, p := range []string{"abs/", "rel/"} {
		_, err := f.Open(idPath(p + "secret"))
		check("open", err)
		_, err = f.Lstat(idPath(p + "secret"))
		check("lstat", err)
		_, err = f.Create(idPath(p+"new"), 0o600)
		check("create", err)
		check("mkdir", f.Mkdir(idPath(p+"new"), 0o700))
		check("unlink", f.Unlink(idPath(p+"secret")))
		check("chmod", f.Chmod(idPath(p+"secret"), 0o777))
		check("setmtime", f.SetMTime(idPath(p+"secret"), 5))
		check("rename out", f.Rename("file", idPath(p+"new"), Replace))
		check("rename in", f.Rename(idPath(p+"secret"), "new", Replace))
		_, err = f.ReadDir(idPath(p[:3]))
		check("readdir", err)
		check("syncdir", f.SyncDir(idPath(p[:3])))
	}
	_, err = f.Open("file")
	check("open link", err)
	check("chmod link", f.Chmod("file", 0o777))
	after, err := os.Stat(filepath.Join(out, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file outside was changed: %v %v", after.Mode(), after.ModTime())
	}
	if names, _ := os.ReadDir(out); len(names) != 1 {
		t.Errorf("outside there is now %v", names)
	}
	for _, p := range []string{"../x", "/etc/passwd", "a/../../x", "", "a//b", "."} {
		if _, err := f.Open(idPath(p)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("open %q: %v", p, err)
		}
	}
}
