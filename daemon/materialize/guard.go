package materialize

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// errGone is guard's error where nothing is at the path.
var errGone = fmt.Errorf("is gone: %w", ErrChanged)

// guard watches a file from its check to its move: a read lease where the system
// grants one. It is held for microseconds, for it delays the user's own open.
type guard struct {
	h vfs.Handle
	l vfs.Lease
}

// guard checks that path is as expected, with its ctime, under a lease for a file.
// The errors are errGone, ErrChanged, vfs.ErrBusy and the filesystem's.
func (c *commit) guard(path id.Path, expect vfs.Stat) (*guard, error) {
	g := &guard{}
	if expect.Kind == vfs.File {
		if err := g.take(c.fs, path); err != nil {
			return nil, err
		}
	}
	st, err := c.fs.Lstat(path)
	switch {
	case err != nil:
	case st.Kind == vfs.Absent:
		err = errGone
	case !c.closed(path, st).Same(expect):
		err = ErrChanged
	case g.h != nil:
		var hs vfs.Stat
		if hs, err = g.h.Stat(); err == nil && hs.Ino != st.Ino {
			err = ErrChanged
		}
	}
	if err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

// take opens path and takes a lease on it. That neither can be had is no error.
func (g *guard) take(fsys vfs.FS, path id.Path) error {
	h, err := fsys.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errGone
	case errors.Is(err, vfs.ErrBusy):
		return err
	case errors.Is(err, fs.ErrPermission), errors.Is(err, vfs.ErrNotSupported):
		return nil // the stat decides alone
	case err != nil:
		return err
	}
	g.h = h
	l, err := h.Lease()
	if err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		g.release()
		return err
	}
	g.l = l
	return nil
}

// free is vfs.ErrBusy while somebody has the file open for writing: what it holds now
// is not what it will hold when it is given back.
func (g *guard) free() error {
	if g.h == nil {
		return nil
	}
	l, err := g.h.Lease()
	if errors.Is(err, vfs.ErrBusy) {
		return err
	}
	if err == nil {
		l.Release()
	}
	return nil
}

func (g *guard) leased() bool { return g.l != nil }

// held reports that nobody has asked to write since the lease was taken, as far
// as can be known.
func (g *guard) held() bool { return g.l == nil || g.l.Held() }

func (g *guard) release() {
	if g.l != nil {
		g.l.Release()
		g.l = nil
	}
	if g.h != nil {
		_ = g.h.Close() // opened for reading
		g.h = nil
	}
}

// attr sets a file's mode and mtime in place: under a lease, so that no write of
// the user's can hide behind the mtime; without one the result is Dirty.
func (c *commit) attr(s *step) error {
	it := &c.s.plan.items[s.item]
	expect, moved := s.expect, c.here[s.item]
	if moved.Kind != vfs.Absent {
		expect = moved // after a move, with the ctime that the move left
	}
	g, err := c.guard(s.path, expect)
	if err != nil {
		return err
	}
	defer g.release()
	if expect.Kind == vfs.Symlink || attrsAre(expect, it.Want) {
		c.done(s.item, expect)
		return nil
	}
	if g.h == nil {
		if err := c.fs.Chmod(s.path, it.Want.Mode|0o400); err != nil { // unreadable for us: it is our own
			return err
		}
		if g.h, err = c.fs.Open(s.path); err != nil {
			return err
		}
	}
	if err := failpoint.Hit("materialize/before-attr"); err != nil {
		return err
	}
	if err := g.h.Chmod(it.Want.Mode); err != nil {
		return err
	}
	if err := g.h.SetMTime(it.Want.MTime); err != nil {
		return err
	}
	st, err := g.h.Stat()
	if err != nil {
		return err
	}
	if st.Ino != expect.Ino || st.Size != expect.Size {
		return ErrChanged
	}
	if c.attrs++; c.attrs < groupSync {
		if err := g.h.Sync(); err != nil {
			return err
		}
	}
	c.done(s.item, st)
	if !g.leased() {
		c.here[s.item].CTime, c.res[s.item].Stat.CTime = 0, 0
		c.res[s.item].Dirty = true
	}
	return nil
}

// dirMode sets a directory's mode, once all in it is done.
func (c *commit) dirMode(s *step) error {
	it := &c.s.plan.items[s.item]
	expect := s.expect
	if st := c.here[s.item]; st.Kind == vfs.Dir {
		expect = st // as its move left it
	} else if c.s.plan.roles[s.item].stage == meta.Dir {
		expect = c.s.at[s.item].stat // it came in a subtree staged whole
	}
	st, err := c.fs.Lstat(s.path)
	if err != nil {
		return err
	}
	if !c.closed(s.path, st).Same(expect) {
		return ErrChanged
	}
	if st.Mode != it.Want.Mode {
		if err := c.fs.Chmod(s.path, it.Want.Mode); err != nil {
			return err
		}
		c.touch(s.path)
		if st, err = c.fs.Lstat(s.path); err != nil {
			return err
		}
		if st.Kind != vfs.Dir || st.Ino != expect.Ino {
			return ErrChanged
		}
	}
	delete(c.opened, s.path)
	c.done(s.item, st)
	return nil
}
