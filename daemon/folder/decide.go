package folder

import (
	"errors"
	"io/fs"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// snap is one consistent view of the history to decide from. It is one goroutine's.
type snap struct {
	e    *Engine
	view *meta.View
	// paths reads versions; nil before the first.
	paths *meta.Paths
	// versions are those that were read, pagePaths of them at most: a pass asks for each
	// several times.
	versions map[id.Path]meta.Version
	// commit is the last that forgotten read.
	commit meta.Commit
	head   meta.Commit
	// index is that of the newest log entry that the view shows.
	index uint64
	held  map[meta.Base]bool
	// whole are directories of which untouched has said yes, in the page that is planned.
	whole map[id.Path]bool
	// shutting: what is planned are modes that were left for the end (see keepOpen).
	shutting bool
}

// snap returns a view; the caller closes it.
func (e *Engine) snap() (*snap, error) {
	v := e.o.Machine.View()
	head, err := v.Head(e.o.ID)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	index, err := v.AppliedIndex()
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return &snap{e: e, view: v, head: head, index: index, held: make(map[meta.Base]bool), versions: make(map[id.Path]meta.Version), whole: make(map[id.Path]bool)}, nil
}

// remember keeps the newest version of a path for anyVersion.
func (s *snap) remember(v meta.Version) {
	if len(s.versions) < pagePaths {
		s.versions[v.Path] = v
	}
}

// Close ends the view.
func (s *snap) Close() {
	if s.paths != nil {
		_ = s.paths.Close()
	}
	_ = s.view.Close()
}

// holds reports whether the base is of this history, remembering the answer.
func (s *snap) holds(b meta.Base) (bool, error) {
	if ok, known := s.held[b]; known {
		return ok, nil
	}
	ok, err := s.view.Holds(s.e.o.ID, b)
	if err == nil {
		s.held[b] = ok
	}
	return ok, err
}

// recorded puts a row into the reconciler's words.
func (s *snap) recorded(row local.Row, had bool) (reconcile.Recorded, error) {
	if !had {
		return reconcile.Recorded{}, nil
	}
	r := reconcile.Recorded{Lineage: reconcile.Held, Base: row.Base, Entry: row.Entry, Stat: row.Stat}
	switch {
	case row.Base.Own != 0:
		if _, under := s.e.flight[row.Base.Own]; under {
			break
		}
		out, ok, err := s.view.Outcome(s.e.o.Self, s.e.o.ID, row.Base.Own)
		if err != nil {
			return r, err
		}
		if !ok || out.Kind == meta.Refused {
			r.Lineage = reconcile.Foreign
		}
	case row.Base.IsNone():
		// Known bytes, but of no version of the path: see Survey.PreferCluster.
	case row.Base.Revision > s.head.Revision:
		r.Lineage = reconcile.Ahead
	default:
		ok, err := s.holds(row.Base)
		if err != nil {
			return r, err
		}
		if !ok {
			r.Lineage = reconcile.Foreign
		}
	}
	return r, nil
}

// choice is a decision with what it was made from.
type choice struct {
	reconcile.Decision
	row  local.Row
	had  bool
	disk reconcile.Disk
	head meta.Version
	// forgotten: what is recorded is to be let go.
	forgotten bool
}

// decide asks the reconciler about one path; f is nil for one that is gone. mu is held.
func (e *Engine) decide(s *snap, f vfs.FS, p id.Path, d reconcile.Disk) (c choice, err error) {
	c.disk = d
	if c.row, c.had, err = e.o.Local.Get(e.o.ID, p); err != nil {
		return c, err
	}
	if c.head, err = s.version(p); err != nil {
		return c, err
	}
	r, err := s.recorded(c.row, c.had)
	if err != nil {
		return c, err
	}
	r.Outside = c.had && e.rowOutside(p, c.row)
	e.leftOut(f, p, &c)
	h := reconcile.Head{Revision: s.head.Revision, Hash: s.head.Hash.Prefix(), Entry: c.head.Entry}
	if c.had {
		if h.Forgotten, err = s.letsGo(p, c.head, c.row); err != nil {
			return c, err
		}
	}
	c.forgotten = h.Forgotten
	pending := e.pendingSeq(p)
	c.Decision = reconcile.Decide(p, h, reconcile.Queue{Sequence: pending}, r, c.disk)
	if e.o.Mode == ModeReceive && pending == 0 {
		c.known(s.head.Base())
	}
	return c, s.stale(p, &c)
}

// look stats a path for the follower: directories and symlinks are known by
// looking, files only by hashing, which is the local loop's work.
func look(f vfs.FS, p id.Path) reconcile.Disk { return lookNear(f, f, p) }

// lookNear is look by way of n.
func lookNear(f vfs.FS, n lstater, p id.Path) reconcile.Disk {
	st, err := lstat(n, p)
	if err != nil {
		return reconcile.Disk{Blocked: !errors.Is(err, fs.ErrNotExist)}
	}
	d := reconcile.Disk{Stat: st}
	switch st.Kind {
	case vfs.Dir:
		d.Entry, d.Hashed = meta.Entry{Kind: meta.Dir, Mode: st.Mode}, true
	case vfs.Symlink:
		target, err := f.Readlink(p)
		if err != nil {
			d.Blocked = true
			break
		}
		d.Entry, d.Hashed = meta.Entry{Kind: meta.Symlink, Target: target}, true
	}
	return d
}

// lstater is a vfs.FS or a vfs.Near.
type lstater interface {
	Lstat(p id.Path) (vfs.Stat, error)
}

// lstat is FS.Lstat, but that nothing of the folder is at a path whose parent is a
// symlink: the user, or history, put it where a directory was.
func lstat(f lstater, p id.Path) (vfs.Stat, error) {
	st, err := f.Lstat(p)
	if errors.Is(err, vfs.ErrEscape) {
		return vfs.Stat{}, nil
	}
	return st, err
}

// covered reports whether the newest revision that the whole disk was equal with
// names what the user saw of every path within dir: then one change can stand for the
// whole subtree. What came after it, and is not here, the state machine takes for
// unseen. mu is held.
func (e *Engine) covered(s *snap, dir id.Path) (bool, error) {
	if e.sure.Revision == 0 || e.st.blockedWithin(dir) {
		return false, nil
	}
	if whole, err := e.wholly(s, dir); err != nil || !whole {
		return false, err
	}
	if other, err := e.otherAttributesWithin(s, dir); err != nil || other {
		return false, err
	}
	for p := range e.pending {
		if p.Within(dir) {
			return false, nil
		}
	}
	if e.pendingSeq(dir) != 0 {
		return false, nil
	}
	if ok, err := s.holds(e.sure.Base()); err != nil || !ok {
		return false, err
	}
	ok := true
	err := e.o.Local.Below(e.o.ID, dir, func(p id.Path, r local.Row) error {
		held, err := s.holds(r.Base)
		if err != nil {
			return err
		}
		if r.Base.Own != 0 || !held || r.Base.Revision > e.sure.Revision {
			ok = false
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return false, err
	}
	return ok, nil
}

// otherAttributesWithin reports whether a path within dir is recorded with the head's
// content and other attributes: those are still to be brought, and a record that moved
// along would look like the head's for good. mu is held.
func (e *Engine) otherAttributesWithin(s *snap, dir id.Path) (bool, error) {
	for _, p := range e.st.postponedWithin(dir) {
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err != nil {
			return false, err
		}
		head, err := s.version(p)
		if err != nil {
			return false, err
		}
		if had && row.Entry != head.Entry && row.Entry.SameContent(head.Entry) {
			return true, nil
		}
	}
	return false, nil
}

// errStop ends an iteration early.
var errStop = errors.New("stop")
