package materialize

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// do does one step and decides its item: State Done with the stat found after
// it, or anything else, and then the item's later steps are left out.
func (c *commit) do(s *step, in *intent) {
	if err := failpoint.Hit("materialize/before-step"); err != nil {
		c.set(s.item, Failed, err)
		return
	}
	var err error
	switch s.op {
	case opRemove:
		err = c.remove(s, in)
	case opRmdir:
		err = c.rmdir(s)
	case opLift:
		err = c.lift(s, in)
	case opMove:
		err = c.move(s)
	case opPut:
		err = c.put(s, in)
	case opAttr:
		err = c.attr(s)
	case opDirMode:
		err = c.dirMode(s)
	}
	r := &c.res[s.item]
	if err != nil {
		r.State, r.Err, r.Stat = classify(err), fmt.Errorf("%v %q: %w", s.op, s.path, err), vfs.Stat{}
	}
}

// String names the operation as messages do.
func (o op) String() string {
	switch o {
	case opRemove:
		return "remove"
	case opRmdir:
		return "remove directory"
	case opLift, opMove:
		return "move to"
	case opPut:
		return "put"
	case opAttr, opDirMode:
		return "set attributes of"
	}
	return "unknown step at"
}

// classify says what an error of a step means for its item.
func classify(err error) State {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, vfs.ErrBusy):
		return Busy
	case errors.Is(err, ErrChanged), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, vfs.ErrEscape), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return Raced
	}
	return Failed
}

// done notes that item i is at its path with stat st.
func (c *commit) done(i int, st vfs.Stat) {
	c.res[i].State, c.res[i].Stat = Done, st
	c.here[i] = st
}

// rename renames and notes the directories whose names changed.
func (c *commit) rename(from, to id.Path, m vfs.RenameMode) error {
	err := c.writableFor([]id.Path{from.Dir(), to.Dir(), from, to}, to, func() error { return c.fs.Rename(from, to, m) })
	if err == nil {
		if len(c.opened) > 0 {
			c.renamed(from, to, m)
		}
		c.touch(from.Dir())
		c.touch(to.Dir())
	}
	return err
}

// touch notes that names in dir have to be made durable. Those of stages need
// not: a rename is atomic, and what it left in .lockstep/tmp does not matter.
func (c *commit) touch(dir id.Path) {
	if !dir.Within(tmpDir) {
		c.touched[dir] = true
	}
}

// remove takes a file or symlink to kept.
func (c *commit) remove(s *step, in *intent) error {
	if s.expect.Kind != vfs.Absent && s.expect.Kind != vfs.File && s.expect.Kind != vfs.Symlink {
		return fmt.Errorf("a %v is not removed: %w", s.expect.Kind, ErrChanged)
	}
	g, err := c.guard(s.path, s.expect)
	if errors.Is(err, errGone) {
		c.done(s.item, vfs.Stat{})
		return nil
	}
	if err != nil {
		return err
	}
	defer g.release()
	if err := failpoint.Hit("materialize/before-remove"); err != nil {
		return err
	}
	if err := c.rename(s.path, in.kept, vfs.NoReplace); err != nil {
		return err
	}
	if err := c.displaced(g, in, in.kept); err != nil {
		return c.putBack(in, in.kept, s.path, err)
	}
	c.res[s.item].Kept = in.kept
	c.done(s.item, vfs.Stat{})
	return nil
}

// displaced checks that what is at p now is what in expected at its path, not
// touched in between, and registers it as kept if p is its place there.
func (c *commit) displaced(g *guard, in *intent, p id.Path) error {
	st, err := c.fs.Lstat(p)
	if err != nil {
		return err
	}
	if !c.closed(p, st).SameIgnoringCTime(in.expect) {
		return ErrChanged
	}
	if st.Kind == vfs.Symlink && in.was.Kind == meta.Symlink {
		if target, err := c.fs.Readlink(p); err != nil || target != in.was.Target {
			return errors.Join(ErrChanged, err)
		}
	}
	if !g.held() {
		return vfs.ErrBusy // somebody waits to write to it
	}
	if p == in.kept {
		c.keep(in, p, in.path, st, g.leased() || st.Kind == vfs.Symlink)
	}
	return nil
}

// putBack returns what was taken from path wrongly and now is at p. cause is why.
func (c *commit) putBack(in *intent, p, path id.Path, cause error) error {
	switch err := c.rename(p, path, vfs.NoReplace); {
	case err == nil:
	case classify(err) == Raced && (!in.lifted || classify(cause) != Failed):
		c.giveBack(in, p, path)
	default:
		// Nothing may be left absent that the user did not remove: it would be taken
		// for his delete. Recover tries again, and finds the rest of the batch.
		c.fatal = fmt.Errorf("put %q back to %q: %w", p, path, errors.Join(cause, err))
	}
	return cause
}

// lift takes an item's source out of the way until it is put in place.
func (c *commit) lift(s *step, in *intent) error {
	g, err := c.guard(s.from, s.expect)
	if err != nil {
		return err
	}
	defer g.release()
	if err := c.rename(s.from, in.stage, vfs.NoReplace); err != nil {
		return err
	}
	if err := c.displaced(g, in, in.stage); err != nil {
		return c.putBack(in, in.stage, s.from, err)
	}
	return nil
}

// move is a rename to a path where nothing is.
func (c *commit) move(s *step) error {
	g, err := c.guard(s.from, s.expect)
	if err != nil {
		return err
	}
	defer g.release()
	if err := failpoint.Hit("materialize/before-move"); err != nil {
		return err
	}
	if err := c.rename(s.from, s.path, vfs.NoReplace); err != nil {
		return err
	}
	st, err := c.fs.Lstat(s.path)
	if err == nil && !c.closed(s.path, st).SameIgnoringCTime(s.expect) {
		err = ErrChanged
	} else if err == nil && !g.held() {
		err = vfs.ErrBusy
	}
	if err != nil {
		// Where the old path is taken again the file stays at the new one, as the
		// user's: nothing is lost, and the scan finds it.
		return errors.Join(err, ignore(c.rename(s.path, s.from, vfs.NoReplace)))
	}
	c.done(s.item, c.closed(s.path, st))
	return nil
}

// ignore is for an error that the state reported anyway covers.
func ignore(error) error { return nil }

// put puts a stage, or what was lifted, in place.
func (c *commit) put(s *step, in *intent) error {
	var err error
	switch s.expect.Kind {
	case vfs.Absent:
		if err = failpoint.Hit("materialize/before-create"); err == nil {
			err = c.rename(in.stage, s.path, vfs.NoReplace)
		}
	case vfs.File, vfs.Symlink:
		err = c.replace(s, in)
	case vfs.Dir:
		err = c.replaceDir(s, in)
	default:
		err = fmt.Errorf("a %v is not replaced: %w", s.expect.Kind, ErrChanged)
	}
	if err != nil {
		if s.lifted {
			it := &c.s.plan.items[s.item]
			back := *in
			back.was, back.wasVer, back.kept = it.Want, it.Version, ""
			return c.putBack(&back, in.stage, s.from, err)
		}
		return err
	}
	return c.placed(s, in)
}

// placed looks at what was just put in place.
func (c *commit) placed(s *step, in *intent) error {
	st, err := c.fs.Lstat(s.path)
	if err != nil {
		return err
	}
	if st.Kind != in.new.Kind || st.Ino != in.new.Ino {
		// The user replaced it at once: what he has there was not made from this
		// version, so this version is not recorded.
		return ErrChanged
	}
	if st = c.closed(s.path, st); !st.SameIgnoringCTime(in.new) {
		c.done(s.item, in.new) // he wrote into it: a change of this version
		c.res[s.item].Dirty = true
		return nil
	}
	c.done(s.item, st)
	return nil
}

// replace exchanges the stage with the file or symlink that is expected, and
// keeps that.
func (c *commit) replace(s *step, in *intent) error {
	g, err := c.guard(s.path, s.expect)
	if err != nil {
		return err
	}
	defer g.release()
	if err := failpoint.Hit("materialize/before-exchange"); err != nil {
		return err
	}
	err = c.rename(in.stage, s.path, vfs.Exchange)
	if errors.Is(err, vfs.ErrNotSupported) {
		return c.moveAside(g, s, in)
	}
	if err != nil {
		return err
	}
	if err := failpoint.Hit("materialize/exchanged"); err != nil {
		return errors.Join(err, c.undoExchange(s, in))
	}
	if err := c.displaced(g, in, in.stage); err != nil {
		return errors.Join(err, c.undoExchange(s, in))
	}
	if err := c.rename(in.stage, in.kept, vfs.NoReplace); err != nil {
		return errors.Join(err, c.undoExchange(s, in))
	}
	if st, err := c.fs.Lstat(in.kept); err == nil {
		c.keep(in, in.kept, s.path, st, g.held() && (g.leased() || st.Kind == vfs.Symlink))
	} else {
		c.keep(in, in.kept, s.path, s.expect, false)
	}
	c.res[s.item].Kept = in.kept
	return nil
}

// undoExchange puts back what an exchange displaced wrongly. The newest thing
// that the user made at path stays there; an older one that was overwritten by
// it is given back as a change.
func (c *commit) undoExchange(s *step, in *intent) error {
	for range 2 {
		if err := c.rename(in.stage, s.path, vfs.Exchange); err != nil {
			if errors.Is(err, fs.ErrNotExist) && c.rename(in.stage, s.path, vfs.NoReplace) == nil {
				return nil // ours was removed or moved by the user: his is back
			}
			break
		}
		st, err := c.fs.Lstat(in.stage)
		if err != nil || st.SameIgnoringCTime(in.new) {
			return err // the stage is ours again
		}
		// In between he replaced ours: that is the newest, and goes back to path.
	}
	st, err := c.fs.Lstat(in.stage)
	if err != nil {
		// It may be his: Recover looks again, and until then nothing is removed.
		c.fatal = fmt.Errorf("look at what was displaced from %q, now at %q: %w", s.path, in.stage, err)
		return err
	}
	if st.Kind == vfs.Absent || st.SameIgnoringCTime(in.new) {
		return nil
	}
	c.giveBack(in, in.stage, s.path)
	return nil
}

// moveAside is replace where the system has no exchange: the path is absent for
// a moment.
func (c *commit) moveAside(g *guard, s *step, in *intent) error {
	if err := c.rename(s.path, in.kept, vfs.NoReplace); err != nil {
		return err
	}
	if err := c.displaced(g, in, in.kept); err != nil {
		return c.putBack(in, in.kept, s.path, err)
	}
	if err := failpoint.Hit("materialize/moved-aside"); err != nil {
		return err
	}
	if err := c.rename(in.stage, s.path, vfs.NoReplace); err != nil {
		c.unkeep(in.kept)
		return c.putBack(in, in.kept, s.path, err)
	}
	c.res[s.item].Kept = in.kept
	return nil
}

// replaceDir puts the stage where an empty directory is.
func (c *commit) replaceDir(s *step, in *intent) error {
	if err := c.emptyDir(s.path, s.expect); err != nil {
		return err
	}
	err := c.rename(in.stage, s.path, vfs.Exchange)
	if errors.Is(err, vfs.ErrNotSupported) {
		if err := c.rmdirAt(s.path); err != nil {
			return err
		}
		return c.rename(in.stage, s.path, vfs.NoReplace)
	}
	if err != nil {
		return err
	}
	st, err := c.fs.Lstat(in.stage)
	if err == nil && (st.Kind != vfs.Dir || st.Ino != s.expect.Ino) {
		err = ErrChanged
	}
	if err == nil {
		err = c.rmdirAt(in.stage)
	}
	if err != nil {
		return errors.Join(err, c.undoExchange(s, in))
	}
	return nil
}

func (c *commit) emptyDir(p id.Path, expect vfs.Stat) error {
	st, err := c.fs.Lstat(p)
	if err != nil {
		return err
	}
	if !c.closed(p, st).Same(expect) {
		return ErrChanged
	}
	names, err := c.fs.ReadDir(p)
	if err == nil && len(names) > 0 {
		return errNotEmpty
	}
	return err
}

var errNotEmpty = fmt.Errorf("directory is not empty: %w", vfs.ErrBusy)

// rmdirAt removes the directory p; errNotEmpty if something is in it.
func (c *commit) rmdirAt(p id.Path) error {
	err := c.writableFor([]id.Path{p.Dir()}, "", func() error { return c.fs.Rmdir(p) })
	if errors.Is(err, fs.ErrExist) {
		return errNotEmpty
	}
	if err == nil {
		delete(c.opened, p)
		c.touch(p.Dir())
	}
	return err
}

// rmdir removes a directory if nothing is in it.
func (c *commit) rmdir(s *step) error {
	st, err := c.fs.Lstat(s.path)
	if err != nil {
		return err
	}
	if st.Kind != vfs.Absent {
		if !c.closed(s.path, st).Same(s.expect) {
			return ErrChanged
		}
		if err := c.rmdirAt(s.path); err != nil {
			return err
		}
	}
	c.done(s.item, vfs.Stat{})
	return nil
}
