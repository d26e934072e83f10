package folder

import (
	"errors"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// movedBatch bounds how many records are changed as one.
const movedBatch = 10000

// leftBehindPlacements drops what a killed daemon was bringing, where the root is on
// another disk now: placements are told by inodes, which mean nothing there. On the same
// disk Recover settles them, before settleMoved looks: a file that was exchanged is no
// copy, and what it displaced may be history's last.
func (e *Engine) leftBehindPlacements() (err error) {
	m, ok, err := e.o.Local.Folder(e.o.ID)
	if err != nil || !ok || !m.Moved {
		return err
	}
	list, err := e.o.Local.Placements(e.o.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	was := uint64(0)
	err = e.o.Local.Below(e.o.ID, "", func(_ id.Path, r local.Row) error {
		if was = r.Stat.Dev; was != 0 {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err := f.Lstat(id.ReservedName); err != nil || st.Dev == was {
		return err
	}
	b := e.o.Local.NewBatch()
	for _, p := range list {
		b.DropPlacement(e.o.ID, p.Path)
	}
	return b.Commit(true)
}

// settleMoved makes the records right for a root that the user says was moved, before
// anything is compared with it. What is not there was left behind by whoever moved it,
// and deleted by nobody: it comes back from history. What was copied, to another disk
// say, has another inode and perhaps other times: it is read again, and only other bytes
// count as a change. What was renamed with its directory is as it was.
func (e *Engine) settleMoved() (err error) {
	m, ok, err := e.o.Local.Folder(e.o.ID)
	if err != nil || !ok || !m.Moved {
		return err
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &moving{e: e, f: f, b: e.o.Local.NewBatch()}
	if err := e.o.Local.Below(e.o.ID, "", s.one); err != nil {
		s.b.Discard()
		return err
	}
	m.Moved = false
	s.b.SetFolder(m)
	e.log.Info("the folder's root has moved", "root", e.o.Root, "copied", s.copied, "missing", s.missing)
	return s.b.Commit(true)
}

// moving is a pass over all records after a move.
type moving struct {
	e       *Engine
	f       vfs.FS
	b       *local.Batch
	n       int
	copied  bool
	missing int
}

func (s *moving) one(p id.Path, r local.Row) error {
	st, err := lstat(s.f, p)
	if err != nil || st.Same(r.Stat) {
		return nil // the scan lists what cannot be looked at
	}
	switch {
	case st.Kind == vfs.Absent:
		s.missing++
		s.e.dropRow(s.b, p, r)
	case st.Ino == r.Stat.Ino && st.Dev == r.Stat.Dev:
		return nil // changed, on the same disk: the scan finds it
	default:
		s.copied = true
		old := r
		if st.Kind == r.Stat.Kind {
			// A copy's attributes are not what the user did.
			switch st.Kind {
			case vfs.File:
				r.Entry.Mode, r.Entry.MTime = st.Mode, st.MTime
			case vfs.Dir:
				r.Entry.Mode = st.Mode
			}
		}
		r.Stat = vfs.Stat{Kind: r.Stat.Kind} // copied, of a file
		s.e.putRow(s.b, p, r, &old)
	}
	if s.n++; s.n%movedBatch != 0 {
		return nil
	}
	b := s.b
	s.b = s.e.o.Local.NewBatch()
	return b.Commit(false)
}

// copied is what settleMoved leaves of a file's stat.
var copied = vfs.Stat{Kind: vfs.File}

// stale makes a copied file that holds an older version of its path, for the copy was
// made before the newest came, that version and no change back to it. mu is held.
func (s *snap) stale(p id.Path, c *choice) error {
	if c.Action != reconcile.Propose || !c.had || c.row.Stat != copied || c.disk.Entry.Kind != meta.File {
		return nil
	}
	var old meta.Version
	err := s.view.History(s.e.o.ID, p, func(v meta.Version) error {
		if v.Revision < c.row.Base.Revision && v.Entry.SameContent(c.disk.Entry) {
			old = v
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) || old.Revision == 0 {
		return err
	}
	made, ok, err := s.view.Commit(s.e.o.ID, old.Revision)
	if err != nil || !ok {
		return err
	}
	c.Decision = reconcile.Decision{Action: reconcile.Adopt, Base: made.Base(), Entry: c.disk.Entry}
	return nil
}
