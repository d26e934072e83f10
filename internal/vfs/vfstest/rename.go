package vfstest

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

func testRenameReplace(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	write(t, f, "a", "a")
	write(t, f, "d/b", "b")
	before := stat(t, f, "a")
	ok(t, f.Rename("a", "d/b", vfs.Replace))
	kind(t, f, "a", vfs.Absent)
	if got := read(t, f, "d/b"); got != "a" {
		t.Errorf("d/b holds %q", got)
	}
	if after := stat(t, f, "d/b"); !after.SameIgnoringCTime(before) {
		t.Errorf("was %+v, is %+v", before, after)
	}
	ok(t, f.Rename("d/b", "d/b", vfs.Replace))
	kind(t, f, "d/b", vfs.File)
	if f.Rename("d/b", "d", vfs.Replace) == nil {
		t.Error("a file replaced a directory")
	}
	ok(t, f.Mkdir("e", 0o755))
	write(t, f, "g", "g")
	if f.Rename("e", "g", vfs.Replace) == nil {
		t.Error("a directory replaced a file")
	}
	fails(t, f.Rename("e", "d", vfs.Replace), fs.ErrExist) // not empty
	names(t, f, "", "d", "e", "g")
}

func testRenameNoReplace(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	ok(t, f.Mkdir("empty", 0o755))
	write(t, f, "a", "a")
	write(t, f, "b", "b")
	fails(t, f.Rename("a", "b", vfs.NoReplace), fs.ErrExist)
	fails(t, f.Rename("a", "d", vfs.NoReplace), fs.ErrExist)
	fails(t, f.Rename("d", "empty", vfs.NoReplace), fs.ErrExist)
	fails(t, f.Rename("a", "a", vfs.NoReplace), fs.ErrExist)
	if got := read(t, f, "b"); got != "b" {
		t.Errorf("b holds %q", got)
	}
	before := stat(t, f, "a")
	ok(t, f.Rename("a", "d/a", vfs.NoReplace))
	if after := stat(t, f, "d/a"); !after.SameIgnoringCTime(before) || after.Nlink != 1 {
		t.Errorf("was %+v, is %+v", before, after)
	}
	ok(t, f.Rename("d", "empty/d", vfs.NoReplace))
	names(t, f, "", "b", "empty")
	names(t, f, "empty/d", "a")
}

func testRenameExchange(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	write(t, f, "a", "a")
	write(t, f, "d/b", "b")
	a, b := stat(t, f, "a"), stat(t, f, "d/b")
	err := f.Rename("a", "d/b", vfs.Exchange)
	if errors.Is(err, vfs.ErrNotSupported) {
		if read(t, f, "a") != "a" || read(t, f, "d/b") != "b" {
			t.Error("an exchange that is not supported changed something")
		}
		t.Skip("no exchange here:", err)
	}
	ok(t, err)
	if read(t, f, "a") != "b" || read(t, f, "d/b") != "a" {
		t.Errorf("a holds %q, d/b holds %q", read(t, f, "a"), read(t, f, "d/b"))
	}
	if !stat(t, f, "a").SameIgnoringCTime(b) || !stat(t, f, "d/b").SameIgnoringCTime(a) {
		t.Error("the inodes did not change places")
	}
	fails(t, f.Rename("a", "no", vfs.Exchange), fs.ErrNotExist)
	fails(t, f.Rename("no", "a", vfs.Exchange), fs.ErrNotExist)
	if f.Rename("d", "d/b", vfs.Exchange) == nil || f.Rename("d/b", "d", vfs.Exchange) == nil {
		t.Error("a directory changed places with its own child")
	}
	ok(t, f.Mkdir("e", 0o755))
	ok(t, f.Rename("e", "a", vfs.Exchange)) // kinds may differ
	kind(t, f, "e", vfs.File)
	kind(t, f, "a", vfs.Dir)
	ok(t, f.Rename("d", "a", vfs.Exchange)) // directories with their content
	names(t, f, "a", "b")
	names(t, f, "d")
}

func testRenameDirectories(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d", 0o755))
	ok(t, f.Mkdir("d/e", 0o755))
	write(t, f, "d/e/f", "x")
	for _, m := range []vfs.RenameMode{vfs.Replace, vfs.NoReplace} {
		if f.Rename("d", "d/e/g", m) == nil {
			t.Error("a directory was moved into itself")
		}
	}
	ok(t, f.Mkdir("to", 0o755))
	ok(t, f.Rename("d", "to/d", vfs.NoReplace))
	if got := read(t, f, "to/d/e/f"); got != "x" {
		t.Errorf("holds %q", got)
	}
	kind(t, f, "d/e/f", vfs.Absent)
	ok(t, f.Mkdir("d", 0o755))
	ok(t, f.Rename("to/d", "d", vfs.Replace)) // over an empty one
	names(t, f, "d", "e")
	names(t, f, "to")
	ok(t, f.Rename("d/e", "e", vfs.Replace))
	ok(t, f.Rename("d", "e/d", vfs.Replace)) // the child becomes the parent
	names(t, f, "", "e", "to")
	names(t, f, id.Path("e"), "d", "f")
}
