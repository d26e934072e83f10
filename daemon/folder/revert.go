package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// asideName is the directory, in the folder's own, where revert puts what this disk
// had instead of the head: the user's bytes, which no history may hold. Nothing in it
// is ever removed but by the user.
const asideName = id.ReservedName + "/reverted"

// Reverted is what Revert did, or would do.
type Reverted struct {
	Restored int // paths that come back from history, or are put right
	SetAside int // files, and directories with all in them, that were moved
	Where    string
}

// Revert puts the head back in place of what this node did not propose: held deletions,
// or on a receiving node everything that was changed. Bytes are moved, not removed.
func (e *Engine) Revert(ctx context.Context, dry bool) (Reverted, error) {
	if err := e.running(ctx); err != nil {
		return Reverted{}, err
	}
	if e.o.Mode == ModeReceive {
		if err := e.watch.Flush(ctx); err != nil { // what is not known cannot be put aside
			return Reverted{}, err
		}
		return e.revertKept(dry)
	}
	return e.revertHeld(dry)
}

// revertHeld forgets the records of what is missing: then it is not there because it
// has not been brought.
func (e *Engine) revertHeld(dry bool) (out Reverted, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.over(); err != nil {
		return out, err
	}
	if !e.brake.on {
		return out, ErrNothingHeld
	}
	m, err := e.countMissing()
	if err != nil {
		return out, err
	}
	out.Restored = m.files
	if dry {
		return out, nil
	}
	b := e.o.Local.NewBatch()
	again := make([]id.Path, 0, len(m.tops))
	for _, p := range m.tops {
		if err := e.forgetTree(b, p); err != nil {
			b.Discard()
			return out, err
		}
		e.st.settle(p)
		again = append(again, p.Dir()) // where something else took a directory's place
	}
	e.log.Info("held deletions are reverted", "deletes", m.files)
	return out, e.release(b, again)
}

// forgetTree drops the records of a path and of all below it. mu is held.
func (e *Engine) forgetTree(b *local.Batch, p id.Path) error {
	row, had, err := e.o.Local.Get(e.o.ID, p)
	if err != nil {
		return err
	}
	if had {
		e.dropRow(b, p, row)
	}
	return e.o.Local.Below(e.o.ID, p, func(q id.Path, r local.Row) error {
		e.dropRow(b, q, r)
		return nil
	})
}

// revertKept puts the head in place of every change that is kept here. The records go
// first: whatever is cut short then, what is still there counts as made here, and a
// further revert goes on.
func (e *Engine) revertKept(dry bool) (out Reverted, err error) {
	f, err := e.openFS()
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.over(); err != nil {
		return out, err
	}
	b := e.o.Local.NewBatch()
	var aside, all []id.Path
	for p, k := range e.st.keptList() {
		all = append(all, p)
		move, err := e.revertOne(b, f, p, k)
		if err != nil {
			b.Discard()
			return out, err
		}
		if move {
			aside = append(aside, p)
		}
	}
	if len(all) == 0 {
		b.Discard()
		return out, ErrNothingHeld
	}
	out.Restored, out.SetAside = len(all)-len(aside), len(aside)
	if dry {
		b.Discard()
		return out, nil
	}
	if err := b.Commit(true); err != nil {
		return out, err
	}
	if err := failpoint.Hit("folder/reverting"); err != nil {
		return out, err
	}
	for _, p := range all {
		e.st.settle(p)
	}
	e.st.takeUp()
	e.watch.Requeue(all...)
	e.compareAll = true
	e.lookAgain()
	e.log.Info("changes on this receiving node are reverted", "paths", len(all), "set aside", len(aside))
	out.Where, err = e.putAside(f, aside)
	return out, err
}

// revertOne makes the records of one kept change right, and reports whether what is on
// the disk has to be moved away. mu is held.
func (e *Engine) revertOne(b *local.Batch, f vfs.FS, p id.Path, k keptHere) (move bool, err error) {
	st, err := lstat(f, p)
	if err != nil {
		return false, err
	}
	row, had, err := e.o.Local.Get(e.o.ID, p)
	if err != nil {
		return false, err
	}
	if had && st.Kind == row.Stat.Kind && st.Same(k.disk.Stat) && k.disk.Entry.SameContent(row.Entry) {
		// Other attributes only: history holds these bytes.
		old := row
		row.Entry, row.Stat = k.disk.Entry, st
		e.putRow(b, p, row, &old)
		return false, nil
	}
	return st.Kind != vfs.Absent, e.forgetTree(b, p)
}

// putAside moves paths out of the way, in order, so that a directory goes with all
// that is in it. mu is held.
func (e *Engine) putAside(f vfs.FS, paths []id.Path) (where string, err error) {
	if len(paths) == 0 {
		return "", nil
	}
	dir, err := e.newAside(f)
	if err != nil {
		return "", err
	}
	for _, p := range paths {
		st, err := lstat(f, p)
		if err != nil {
			return string(dir), err
		}
		if st.Kind == vfs.Absent {
			continue // with its directory
		}
		to := dir + "/" + p
		if err := mkdirs(f, to.Dir()); err != nil {
			return string(dir), fmt.Errorf("move %q aside: %w", string(p), err)
		}
		if err := f.Rename(p, to, vfs.NoReplace); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return string(dir), fmt.Errorf("move %q aside: %w", string(p), err)
		}
	}
	return string(dir), f.SyncAll()
}

// newAside makes a directory that is not there yet.
func (e *Engine) newAside(f vfs.FS) (id.Path, error) {
	stamp := time.Now().UTC().Format("2006-01-02T15.04.05")
	for n := 1; ; n++ {
		dir := id.Path(asideName + "/" + stamp)
		if n > 1 {
			dir += id.Path(fmt.Sprintf("-%d", n))
		}
		if err := mkdirs(f, dir.Dir()); err != nil {
			return "", err
		}
		if err := f.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
}

func mkdirs(f vfs.FS, p id.Path) error {
	if p == "" {
		return nil
	}
	if st, err := f.Lstat(p); err != nil || st.Kind == vfs.Dir {
		return err
	}
	if err := mkdirs(f, p.Dir()); err != nil {
		return err
	}
	if err := f.Mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// returnAside keeps the user's bytes of a displaced file on a node that proposes
// nothing: a copy, durable when it returns nil.
func (e *Engine) returnAside(kept materialize.Kept, h vfs.Handle) (err error) {
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dir, err := e.newAside(f)
	if err != nil {
		return err
	}
	to := dir + "/" + kept.Path
	if err := mkdirs(f, to.Dir()); err != nil {
		return err
	}
	if h == nil {
		if err := f.Symlink(kept.Target, to); err != nil {
			return err
		}
		return f.SyncAll()
	}
	w, err := f.Create(to, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.Copy(w, io.NewSectionReader(h, 0, 1<<62)); err != nil {
		return err
	}
	e.log.Warn("a change that raced with the sync was set aside", "path", kept.Path, "at", string(to))
	return f.SyncAll()
}
