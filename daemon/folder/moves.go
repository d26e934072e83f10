package folder

import (
	"errors"
	"slices"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// movedFrom returns the recorded path that the inode at p was moved from: its
// row is of the same kind, nothing is recorded at p, and the old path is gone
// from the disk. mu is held.
func (e *Engine) movedFrom(f vfs.FS, p id.Path, st vfs.Stat) (from id.Path, row local.Row, ok bool, err error) {
	if st.Ino == 0 || (st.Kind != vfs.File && st.Kind != vfs.Dir) {
		return "", row, false, nil
	}
	from, ok, err = e.o.Local.ByInode(e.o.ID, st.Ino)
	if err != nil || !ok || from == p {
		return "", row, false, err
	}
	if _, had, err := e.o.Local.Get(e.o.ID, p); err != nil || had {
		return "", row, false, err
	}
	row, ok, err = e.o.Local.Get(e.o.ID, from)
	if err != nil || !ok || row.Stat.Kind != st.Kind || row.Stat.Ino != st.Ino {
		return "", row, false, err
	}
	old, err := lstat(f, from)
	if err != nil || old.Kind != vfs.Absent {
		return "", row, false, nil
	}
	return from, row, true, nil
}

// takeDirMoves recognises directories that were renamed, before anything is
// hashed: one change moves the subtree, and files below it that are as recorded
// need no look. Each is a commit of its own, since what else changed below it
// names the moved paths.
func (e *Engine) takeDirMoves(f vfs.FS, all []*found) error {
	if e.o.Mode == ModeReceive {
		return nil
	}
	for _, fd := range all {
		if fd.disk.Stat.Kind != vfs.Dir {
			continue
		}
		moved, err := e.takeDirMove(f, fd)
		if err != nil {
			return err
		}
		e.checkMoved(f, moved)
	}
	return nil
}

// checkMoved sends back what is not at its new path as it was recorded at the old
// one: it was changed or deleted before the directory was renamed, so no event
// named the path that its record has now.
func (e *Engine) checkMoved(f vfs.FS, moved []movedRow) {
	for _, m := range moved {
		if st, err := lstat(f, m.path); err != nil || !st.Same(m.stat) {
			e.watch.Requeue(m.path)
		}
	}
}

// movedRow is a record that went along with its directory.
type movedRow struct {
	path id.Path
	stat vfs.Stat
}

func (e *Engine) takeDirMove(f vfs.FS, fd *found) (moved []movedRow, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from, row, ok, err := e.movedFrom(f, fd.path, fd.disk.Stat)
	if err != nil || !ok || fd.path.Within(from) {
		return nil, err
	}
	s, err := e.snap()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	same, err := e.sameDir(f, from, fd.path)
	if err != nil || !same {
		return nil, err
	}
	whole, err := e.covered(s, from)
	if err != nil || !whole {
		return nil, err // taken as a deletion and new files; nothing is lost
	}
	target, err := s.version(fd.path)
	if err != nil || target.Entry.Kind != meta.Absent || e.pendingSeq(fd.path) != 0 {
		return nil, err
	}
	if kept, err := e.keptAfter(from, fd.path); err != nil || !kept {
		return nil, err
	}
	tx := e.o.Lane.Begin()
	defer tx.Abort()
	p := &proposal{tx: tx, rows: e.o.Local.NewBatch()}
	if ok, err := e.newParents(s, f, p, fd.path); err != nil || !ok {
		p.rows.Discard()
		return nil, err
	}
	p.changes.moves = []meta.Change{{Op: meta.OpMove, Path: fd.path, From: from, Base: e.sure.Base()}}
	own := meta.Base{Own: tx.Sequence()}
	err = e.o.Local.Below(e.o.ID, from, func(q id.Path, r local.Row) error {
		to := q.Rebase(from, fd.path)
		e.moveRow(p.rows, q, to, r, own)
		moved = append(moved, movedRow{to, r.Stat})
		return nil
	})
	if err != nil {
		p.rows.Discard()
		return nil, err
	}
	row.Stat.Ino = fd.disk.Stat.Ino
	e.moveRow(p.rows, from, fd.path, row, own)
	return moved, e.send(p, []*found{fd})
}

// keptAfter reports whether all that is recorded below a directory is kept here at its
// new path too.
func (e *Engine) keptAfter(from, to id.Path) (bool, error) {
	err := e.o.Local.Below(e.o.ID, from, func(p id.Path, r local.Row) error {
		if q := p.Rebase(from, to); e.rowOutside(q, r) || e.isLeft(q, r.Stat.Kind == vfs.Dir) {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil, err
}

// newParents puts the new directories above path into the proposal, which moves
// something there: made by the state machine alone they would not have their modes.
// ok is false where one of them is no directory on the disk, or history still has
// something else there: what moved is then proposed path by path, after the directory
// that took that one's place. mu is held.
func (e *Engine) newParents(s *snap, f vfs.FS, p *proposal, path id.Path) (ok bool, err error) {
	for d := path.Dir(); d != ""; d = d.Dir() {
		row, had, err := e.o.Local.Get(e.o.ID, d)
		if err != nil {
			return false, err
		}
		if had && row.Stat.Kind != vfs.Dir {
			return false, nil
		}
		head, err := s.version(d)
		if err != nil {
			return false, err
		}
		under := e.pendingSeq(d) // without a row, what took d away
		if had || under == 0 && head.Entry.Kind == meta.Dir {
			break
		}
		disk := look(f, d)
		if disk.Entry.Kind != meta.Dir || under == 0 && head.Entry.Kind != meta.Absent {
			return false, nil
		}
		p.changes.dirs = append(p.changes.dirs, meta.Change{Op: meta.OpPut, Path: d, Base: meta.Base{Own: under}, Entry: disk.Entry, Mask: meta.FieldsAll})
		p.rows.Put(e.o.ID, d, local.Row{Base: meta.Base{Own: p.tx.Sequence()}, Entry: disk.Entry, Stat: disk.Stat}, nil)
	}
	slices.Reverse(p.changes.dirs)
	return true, nil
}

// sameDir tells a renamed directory from a new one that was given the inode number
// of a removed one: something recorded below it is still there as it was. An empty
// directory proves nothing and needs no proof.
func (e *Engine) sameDir(f vfs.FS, from, to id.Path) (same bool, err error) {
	any := false
	err = e.o.Local.Children(e.o.ID, from, func(name string, r local.Row) error {
		any = true
		if st, err := f.Lstat(to.Join(name)); err == nil && st.Same(r.Stat) {
			same = true
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return same || !any, err
}

// moveRow records at to what was recorded at from.
func (e *Engine) moveRow(b *local.Batch, from, to id.Path, r local.Row, base meta.Base) {
	b.Delete(e.o.ID, from, r)
	r.Base = base
	b.Put(e.o.ID, to, r, nil)
}

// proposeFileMove recognises a renamed file by its inode; its content was hashed,
// since a rename changes the ctime that would prove it unchanged. mu is held.
func (e *Engine) proposeFileMove(s *snap, f vfs.FS, p *proposal, fd *found) error {
	if fd.disk.Stat.Kind != vfs.File || !fd.disk.Hashed {
		return nil
	}
	from, row, ok, err := e.movedFrom(f, fd.path, fd.disk.Stat)
	if err != nil || !ok || row.Entry != fd.disk.Entry || p.handled[from] || e.pendingSeq(fd.path) != 0 {
		return err
	}
	now, err := lstat(f, fd.path)
	if err != nil || !now.Same(fd.disk.Stat) {
		return nil // proposeOne sends it back
	}
	target, err := s.version(fd.path)
	if err != nil || target.Entry.Kind != meta.Absent {
		return err
	}
	rec, err := s.recorded(row, true)
	if err != nil {
		return err
	}
	base := row.Base
	if seq := e.pendingSeq(from); seq != 0 {
		base = meta.Base{Own: seq}
	} else if rec.Lineage != reconcile.Held || base.IsNone() {
		return nil // without a base it would be a move of what the user never saw
	}
	ch := meta.Change{Op: meta.OpMove, Path: fd.path, From: from, Base: base}
	p.changes.moves = append(p.changes.moves, ch)
	p.count(ch)
	p.handled[from], p.handled[fd.path] = true, true
	b := p.rows
	b.Delete(e.o.ID, from, row)
	file, unpacked := row.File, row.Unpacked
	if fd.file != 0 {
		if file != 0 {
			e.dropFile(b, file)
		}
		file, unpacked, fd.used = fd.file, true, true
	}
	b.Put(e.o.ID, fd.path, local.Row{Base: meta.Base{Own: p.tx.Sequence()}, Entry: fd.disk.Entry, Stat: fd.disk.Stat, File: file, Unpacked: unpacked}, nil)
	return nil
}
