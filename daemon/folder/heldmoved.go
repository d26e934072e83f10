package folder

import (
	"errors"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// maxMoves bounds the walk along the renames that others made of what is held.
const maxMoves = 64

// heldMoved has what is held follow others' renames: a record that is missing from the
// disk, and whose entry was moved as it was, is missing at its new path from now on.
// Without it the file would come back there, though its user deleted it.
func (e *Engine) heldMoved(s *snap, paths []id.Path) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.brake.on {
		return nil
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := e.o.Local.NewBatch()
	taken := make(map[id.Path]bool) // two records never meet at one path
	for _, p := range paths {
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err == nil && had && row.Base.Own == 0 && e.pendingSeq(p) == 0 {
			err = e.heldMove(s, f, b, p, row, taken)
		}
		if err != nil {
			b.Discard()
			return err
		}
	}
	return b.Commit(false)
}

func (e *Engine) heldMove(s *snap, f vfs.FS, b *local.Batch, p id.Path, row local.Row, taken map[id.Path]bool) error {
	if st, err := lstat(f, p); err != nil || st.Kind != vfs.Absent {
		return nil // what cannot be looked at is not held
	}
	to, base, err := s.movedAsItWas(p, row)
	if err != nil || to == "" || taken[to] || e.pendingSeq(to) != 0 {
		return err
	}
	if st, err := lstat(f, to); err != nil || st.Kind != vfs.Absent {
		return nil
	}
	if _, had, err := e.o.Local.Get(e.o.ID, to); err != nil || had {
		return err
	}
	taken[to] = true
	if row.File != 0 { // its bytes are gone
		e.dropFile(b, row.File)
		row.File, row.Unpacked = 0, false
	}
	e.moveRow(b, p, to, row, base)
	e.st.settle(p)
	e.leave(to, whyHeld)
	return nil
}

// movedAsItWas follows a recorded path along others' renames to where its entry is, or
// was before somebody changed it there; "" if it was not moved, or not as it was.
func (s *snap) movedAsItWas(p id.Path, row local.Row) (to id.Path, base meta.Base, err error) {
	v, err := s.version(p)
	for range maxMoves {
		if err != nil || v.Entry.Kind != meta.Absent || v.To == "" || v.Revision <= row.Base.Revision {
			return to, base, err
		}
		at, ok, err := s.view.At(s.e.o.ID, v.To, v.Revision)
		if err != nil || !ok || at.Entry != row.Entry {
			return to, base, err
		}
		c, ok, err := s.view.Commit(s.e.o.ID, v.Revision)
		if err != nil || !ok {
			return to, base, err
		}
		to, base, row.Base = v.To, c.Base(), c.Base()
		if v, err = s.version(to); err != nil {
			return "", base, err
		}
	}
	return to, base, nil
}
