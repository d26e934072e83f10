package folder

import (
	"errors"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// proposeGone decides on a path that is not on the disk. mu is held.
func (e *Engine) proposeGone(s *snap, f vfs.FS, p *proposal, path id.Path) error {
	c, err := e.decide(s, path, reconcile.Disk{})
	if err != nil {
		return err
	}
	if !c.had || c.row.Stat.Kind != vfs.Dir {
		return e.deleteOne(p, path, c)
	}
	whole, err := e.covered(s, path)
	if err != nil {
		return err
	}
	if !whole || c.Action != reconcile.Propose || p.touches(path) {
		if err := e.deleteBelow(s, p, path); err != nil {
			return err
		}
		lacked, err := e.lackedBelow(s, path, p.handled)
		if err != nil {
			return err
		}
		if lacked {
			// Something below it never was on this disk, so the user cannot have
			// meant to delete that: the directory comes back for it.
			e.dropRow(p.rows, path, c.row)
			e.st.postpone(path, postponed{why: "follow"})
			e.lookAgain()
			return nil
		}
		return e.deleteOne(p, path, c)
	}
	ch := c.Change
	ch.Base = e.seen.Base()
	p.changes.deletes = append(p.changes.deletes, ch)
	p.handled[path] = true
	err = e.o.Local.Below(e.o.ID, path, func(q id.Path, r local.Row) error {
		p.handled[q] = true
		e.dropRow(p.rows, q, r)
		return nil
	})
	e.dropRow(p.rows, path, c.row)
	return err
}

// lackedBelow also asks the head while the whole disk was not compared with any
// revision: what is still to be brought is not postponed yet. mu is held.
func (e *Engine) lackedBelow(s *snap, dir id.Path, gone map[id.Path]bool) (bool, error) {
	if e.st.lackedBelow(dir, gone) || e.seen.Revision != 0 {
		return e.st.lackedBelow(dir, gone), nil
	}
	lacked := false
	err := s.view.Tree(e.o.ID, dir, s.head.Revision, func(v meta.Version) error {
		if !v.Path.Below(dir) || gone[v.Path] || e.pendingSeq(v.Path) != 0 {
			return nil
		}
		_, had, err := e.o.Local.Get(e.o.ID, v.Path)
		if err == nil && !had {
			lacked, err = true, errStop
		}
		return err
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return lacked, err
}

// touches reports whether the proposal moves something out of dir.
func (p *proposal) touches(dir id.Path) bool {
	return slices.ContainsFunc(p.changes.moves, func(c meta.Change) bool { return c.From.Within(dir) })
}

// deleteBelow proposes the deletion of every recorded path below dir, deepest
// first. mu is held.
func (e *Engine) deleteBelow(s *snap, p *proposal, dir id.Path) error {
	var paths []id.Path
	err := e.o.Local.Below(e.o.ID, dir, func(q id.Path, _ local.Row) error {
		if !p.handled[q] {
			paths = append(paths, q)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(paths, func(a, b id.Path) int {
		if d := b.Depth() - a.Depth(); d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	for _, q := range paths {
		c, err := e.decide(s, q, reconcile.Disk{})
		if err != nil {
			return err
		}
		if err := e.deleteOne(p, q, c); err != nil {
			return err
		}
	}
	return nil
}

// deleteOne carries a decision on one absent path into the proposal.
func (e *Engine) deleteOne(p *proposal, path id.Path, c choice) error {
	switch c.Action {
	case reconcile.Propose:
		p.changes.deletes = append(p.changes.deletes, c.Change)
		p.handled[path] = true
		e.dropRow(p.rows, path, c.row)
	case reconcile.Adopt:
		p.handled[path] = true
		e.dropRow(p.rows, path, c.row)
		e.st.settle(path)
	case reconcile.Materialize:
		if c.had { // a file of another history: forget it, then bring the head
			e.dropRow(p.rows, path, c.row)
		}
		e.st.postpone(path, postponed{why: "follow"})
		e.lookAgain()
	case reconcile.Wait:
		e.st.postpone(path, postponed{why: whyOutcome})
	}
	return nil
}

func (e *Engine) dropRow(b *local.Batch, p id.Path, r local.Row) {
	if r.File != 0 {
		e.dropFile(b, r.File)
	}
	b.Delete(e.o.ID, p, r)
}
