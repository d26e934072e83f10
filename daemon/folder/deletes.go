package folder

import (
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
	c, err := e.decide(s, nil, path, reconcile.Disk{})
	if err != nil {
		return err
	}
	if !c.had || c.row.Stat.Kind != vfs.Dir || e.o.Mode == ModeReceive {
		return e.deleteOne(p, path, c)
	}
	whole, err := e.covered(s, path)
	if err != nil {
		return err
	}
	if !whole || c.Action != reconcile.Propose || p.touches(path) {
		stays, err := e.deleteBelow(s, p, path)
		if err != nil {
			return err
		}
		if stays {
			e.comesBack(p, path, c.row)
			return nil
		}
		return e.deleteOne(p, path, c)
	}
	ch := c.Change
	ch.Base = e.sure.Base()
	if err := e.proposeDelete(p, ch); err != nil {
		return err
	}
	p.handled[path] = true
	err = e.o.Local.Below(e.o.ID, path, func(q id.Path, r local.Row) error {
		p.handled[q] = true
		e.dropRow(p.rows, q, r)
		return nil
	})
	e.dropRow(p.rows, path, c.row)
	return err
}

// comesBack is for a directory that the user removed while something below it never
// was on this disk: he cannot have meant to delete that, and it comes back for it.
// mu is held.
func (e *Engine) comesBack(p *proposal, dir id.Path, row local.Row) {
	e.dropRow(p.rows, dir, row)
	e.st.postpone(dir, postponed{why: whyFollow})
	e.lookAgain()
}

// staying returns the directories, from dir down, that hold something which this disk
// lacks at the head: paths, or versions of them, that were not brought yet, or cannot
// be read. gone are paths that the proposal deletes or moves already. mu is held.
func (e *Engine) staying(s *snap, dir id.Path, gone map[id.Path]bool) (map[id.Path]bool, error) {
	stay := make(map[id.Path]bool)
	mark := func(p id.Path) {
		for d := p.Dir(); d.Within(dir) && !stay[d]; d = d.Dir() {
			stay[d] = true
		}
	}
	e.st.lackedBelow(dir, gone, mark)
	err := s.view.Tree(e.o.ID, dir, s.head.Revision, func(v meta.Version) error {
		if v.Path.Below(dir) && (e.outside(v) || e.isLeft(v.Path, v.Entry.Kind == meta.Dir)) {
			mark(v.Path) // of what is not kept here nobody here has a say
			return nil
		}
		if !v.Path.Below(dir) || gone[v.Path] || e.pendingSeq(v.Path) != 0 {
			return nil
		}
		row, had, err := e.o.Local.Get(e.o.ID, v.Path)
		if err == nil && (!had || row.Base.Own == 0 && row.Base.Revision < v.Revision) {
			mark(v.Path)
		}
		return err
	})
	return stay, err
}

// touches reports whether the proposal moves something out of dir.
func (p *proposal) touches(dir id.Path) bool {
	return slices.ContainsFunc(p.changes.moves, func(c meta.Change) bool { return c.From.Within(dir) })
}

// deleteBelow proposes the deletion of every recorded path below dir, deepest
// first, but for directories that stay. It reports whether dir itself is to stay.
// mu is held.
func (e *Engine) deleteBelow(s *snap, p *proposal, dir id.Path) (stays bool, err error) {
	stay, err := e.staying(s, dir, p.handled)
	if err != nil {
		return false, err
	}
	var paths []id.Path
	err = e.o.Local.Below(e.o.ID, dir, func(q id.Path, _ local.Row) error {
		if !p.handled[q] {
			paths = append(paths, q)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	slices.SortFunc(paths, func(a, b id.Path) int {
		if d := b.Depth() - a.Depth(); d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	for _, q := range paths {
		c, err := e.decide(s, nil, q, reconcile.Disk{})
		if err != nil {
			return false, err
		}
		if stay[q] {
			e.comesBack(p, q, c.row)
			continue
		}
		if err := e.deleteOne(p, q, c); err != nil {
			return false, err
		}
	}
	return stay[dir], nil
}

// deleteOne carries a decision on one absent path into the proposal. mu is held.
func (e *Engine) deleteOne(p *proposal, path id.Path, c choice) error {
	if e.isLeft(path, c.row.Stat.Kind == vfs.Dir) {
		e.unsaid = append(e.unsaid, path) // it may have gone because it is not wanted here
		return nil
	}
	switch c.Action {
	case reconcile.Propose:
		if e.o.Mode == ModeReceive {
			e.keepHere(path, reconcile.Disk{}, c)
			return nil
		}
		e.st.hasten(path)
		if err := e.proposeDelete(p, c.Change); err != nil {
			return err
		}
		p.handled[path] = true
		e.dropRow(p.rows, path, c.row)
	case reconcile.Adopt:
		p.handled[path] = true
		e.dropRow(p.rows, path, c.row)
		e.st.settle(path)
	case reconcile.LetGo:
		e.st.postpone(path, postponed{why: whyFollow})
		e.lookAgain()
	case reconcile.Materialize:
		if c.had { // a file of another history: forget it, then bring the head
			e.dropRow(p.rows, path, c.row)
		}
		e.st.postpone(path, postponed{why: whyFollow})
		e.lookAgain()
	case reconcile.Wait:
		e.st.postpone(path, postponed{why: whyOutcome})
	}
	return nil
}

// dropRow drops a record. mu is held.
func (e *Engine) dropRow(b *local.Batch, p id.Path, r local.Row) {
	e.brake.dropped(r)
	if r.File != 0 {
		e.dropFile(b, r.File)
	}
	b.Delete(e.o.ID, p, r)
}
