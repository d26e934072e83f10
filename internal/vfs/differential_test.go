package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Mem answers as the real filesystem does, over random histories: the same
// class of error for each operation, the same tree at the end.
func TestMemAgreesWithReal(t *testing.T) {
	t.Parallel()
	probe, dir := openTest(t)
	put(t, probe, "a", "", false)
	put(t, probe, "b", "", false)
	if err := probe.Rename("a", "b", Exchange); errors.Is(err, ErrNotSupported) {
		t.Skip("SKIPPED, no exchange on", dir)
	}
	rapid.Check(t, func(rt *rapid.T) {
		top, err := os.MkdirTemp(dir, "run")
		must(t, err)
		real, err := OpenReal(top)
		must(t, err)
		defer real.Close()
		mem := NewMem(MemOptions{Umask: 0o022})
		path := rapid.Custom(func(rt *rapid.T) id.Path {
			p := id.Path("")
			for range rapid.IntRange(1, 3).Draw(rt, "depth") {
				p = p.Join(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "name"))
			}
			return p
		})
		for i := range rapid.IntRange(1, 40).Draw(rt, "ops") {
			op := rapid.SampledFrom(diffOps).Draw(rt, "op")
			p, q := path.Draw(rt, "p"), path.Draw(rt, "q")
			want, got := class(op.do(real, p, q, i)), class(op.do(mem, p, q, i))
			if want != got {
				rt.Fatalf("%s %s %s: real %s, mem %s", op.name, p, q, want, got)
			}
		}
		if want, got := tree(t, real), tree(t, mem); want != got {
			rt.Fatalf("real is %q, mem is %q", want, got)
		}
		if want, got := tree(t, mem), tree(t, mem.Crash(Kill, 0)); want != got {
			rt.Fatalf("%q was copied as %q", want, got)
		}
		must(t, mem.SyncAll())
		if want, got := tree(t, mem), tree(t, mem.Crash(PowerCut, 0)); want == "" && got != "" || want != got {
			rt.Fatalf("of %q all was synced, %q is left", want, got)
		}
	})
}

type diffOp struct {
	name string
	do   func(f FS, p, q id.Path, i int) error
}

var diffOps = []diffOp{
	{"create", func(f FS, p, _ id.Path, i int) error {
		h, err := f.Create(p, 0o666)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(h, "file", i)
		return errors.Join(err, h.Close())
	}},
	{"mkdir", func(f FS, p, _ id.Path, _ int) error { return f.Mkdir(p, 0o777) }},
	{"symlink", func(f FS, p, _ id.Path, _ int) error { return f.Symlink("a/b", p) }},
	{"unlink", func(f FS, p, _ id.Path, _ int) error { return f.Unlink(p) }},
	{"rmdir", func(f FS, p, _ id.Path, _ int) error { return f.Rmdir(p) }},
	{"replace", func(f FS, p, q id.Path, _ int) error { return f.Rename(p, q, Replace) }},
	{"noreplace", func(f FS, p, q id.Path, _ int) error { return f.Rename(p, q, NoReplace) }},
	{"exchange", func(f FS, p, q id.Path, _ int) error { return f.Rename(p, q, Exchange) }},
	{"chmod", func(f FS, p, _ id.Path, _ int) error { return f.Chmod(p, 0o755) }},
	{"setmtime", func(f FS, p, _ id.Path, _ int) error { return f.SetMTime(p, 77) }},
	{"readdir", func(f FS, p, _ id.Path, _ int) error { _, err := f.ReadDir(p); return err }},
	{"open", func(f FS, p, _ id.Path, _ int) error {
		h, err := f.Open(p)
		if err != nil {
			return err
		}
		return h.Close()
	}},
	{"lstat", func(f FS, p, _ id.Path, i int) error {
		s, err := f.Lstat(p)
		if err != nil {
			return err
		}
		if s.Kind == Dir {
			s.Size = 0
		}
		return fmt.Errorf("%v %o %d", s.Kind, s.Mode, s.Size) // compared as text
	}},
}

// class is what callers can tell an error by.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrEscape):
		return "escape"
	case errors.Is(err, ErrMount):
		return "mount"
	case errors.Is(err, fs.ErrNotExist):
		return "absent"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, fs.ErrInvalid):
		return "invalid"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return "other error"
	}
	return err.Error()
}
