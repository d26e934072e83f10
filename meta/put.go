package meta

import (
	"github.com/lockstep-sync/lockstep/internal/id"
)

// put judges and applies one put.
func (c *commit) put(ch Change) error { return c.putUnless(ch, true) }

// putBack is put for an entry that the author took along when it moved what others
// deleted. That the path had it once is chance, and says nothing.
func (c *commit) putBack(p id.Path, e Entry) error {
	return c.putUnless(Change{Op: OpPut, Path: p, Entry: e, Mask: FieldsAll}, false)
}

// putUnless judges and applies a put; had: it is nothing where the path had it since
// its base.
func (c *commit) putUnless(ch Change, had bool) error {
	t, err := c.resolve(ch.Path, ch.Base)
	if err != nil {
		return err
	}
	head, lost, err := c.lost(ch, t)
	if err != nil {
		return err
	}
	if !lost {
		if t, head, err = c.locate(t); err != nil {
			return err
		}
	}
	if t.path.Check() != nil {
		// The name of a copy that it is below made it longer than a path can be.
		if t.path, err = c.copyPath(t.path, ch.Entry.Kind); err != nil {
			return err
		}
		t.via, head = Copied, version{}
	}
	s := situation{Head: head.Entry, NoBase: t.base.IsNone(), Entry: ch.Entry, Mask: ch.Mask}
	if s.Known, err = c.knowsPath(head, t); err != nil {
		return err
	}
	var base version
	if !s.Known && !s.NoBase {
		if base, err = c.baseVersion(t.base, t.origin, head); err != nil {
			return err
		}
		s.Base = base.held()
	}
	if !s.Known {
		s.Had = c.hadSince(t, lost, had)
	}
	j, err := judgePut(s)
	if err != nil {
		return err
	}
	if (j.Act == actWrite || j.Act == actMerge) && head.Entry.Kind == Dir && j.Entry.Kind != Dir {
		// A directory gives way with all that is below it, as in a delete.
		if blocked, err := c.clear(t); err != nil {
			return err
		} else if blocked {
			j = judgement{Act: actCopy, Entry: ch.Entry, Conflict: ConflictKinds}
		}
	}
	return c.act(ch, t, head, base, j)
}

// reopen makes a new record where v goes on with what lost without a copy and somebody
// has resolved its record meanwhile: v is on no disk, so nobody would hear of it. It
// returns the record's number.
func (c *commit) reopen(t target, v version) (uint64, error) {
	x, ok, err := reads{c.t}.conflict(c.folder, t.conflict)
	if err != nil || !ok || x.State == ConflictOpen {
		return t.conflict, err
	}
	path, _, err := c.newest(x.Path)
	if err != nil || path.live() && path.Entry.SameContent(v.Lost) {
		return t.conflict, err
	}
	return c.record(Conflict{Path: x.Path, CopyPath: t.path, Hidden: true, Kind: x.Kind, State: ConflictOpen, Base: x.Base, Winner: path.Revision, Loser: c.rev})
}

// lost is for a change built on one that lost and has no copy: it stays out of the
// disks likewise. It returns the newest version of what lost, with its content as
// Entry. Others who make a file of that name do not build on it.
func (c *commit) lost(ch Change, t target) (version, bool, error) {
	if t.path == ch.Path {
		return version{}, false, nil
	}
	v, ok, err := c.newest(t.path)
	if err != nil || !ok || !v.hidden() {
		return version{}, false, err
	}
	v.Entry = v.Lost
	return v, true, nil
}

// act carries out a judgement.
func (c *commit) act(ch Change, t target, head, base version, j judgement) (err error) {
	o := ChangeOutcome{Proposed: ch.Path, Kind: t.via, Path: t.path, Base: Base{Revision: c.rev}, Conflict: t.conflict}
	switch j.Act {
	case actNothing:
		if o.Kind == Accepted {
			o.Kind = Unchanged
		}
		switch {
		case j.At != 0:
			h, _, err := c.header(j.At)
			if err != nil {
				return err
			}
			o.Base = h.Base()
		case !ch.Entry.SameContent(head.Entry):
			o.Base, o.BasePath = t.base, t.origin // attributes that another kind has no use for
		}
		c.report(o)
		return nil
	case actCopy:
		return c.copyBeside(ch, t, head, base, j)
	case actRevive:
		n, err := c.record(Conflict{Path: t.path, Kind: j.Conflict, State: ConflictAutomatic, Base: base.Revision, Winner: c.rev, Loser: head.Revision})
		if err != nil {
			return err
		}
		o.Conflict = n
	case actMerge:
		if o.Kind == Accepted {
			o.Kind = Merged
		}
	}
	v := version{Version: Version{Path: t.path, Entry: j.Entry}, unseen: j.Unseen, copied: t.via == Copied}
	if head.hidden() && head.live() {
		if v = v.hide(); v.hidden() {
			if o.Conflict, err = c.reopen(t, v); err != nil {
				return err
			}
		}
	}
	if v.live() {
		if err := c.ensureParents(t.path); err != nil {
			return err
		}
	}
	if err := c.set(v); err != nil {
		return err
	}
	if j.Unseen {
		o.Base, o.BasePath = t.base, t.origin // what the author holds is still its base's
	}
	if o.Kind != Accepted || o.Conflict != 0 || o.Path != o.Proposed {
		c.report(o)
	}
	return nil
}

// copyBeside commits the loser beside the head and opens a record.
func (c *commit) copyBeside(ch Change, t target, head, base version, j judgement) error {
	to, err := c.copyPath(t.path, j.Entry.Kind)
	if err != nil {
		return err
	}
	if err := c.ensureParents(to); err != nil {
		return err
	}
	v := version{Version: Version{Path: to, From: t.path, Entry: j.Entry}, copied: true}
	if c.history {
		v = v.hide()
	}
	if err := c.set(v); err != nil {
		return err
	}
	x := Conflict{Path: t.path, CopyPath: to, Hidden: v.hidden(), Kind: j.Conflict, State: ConflictOpen, Winner: head.Revision, Loser: c.rev}
	if base.live() {
		x.Base = base.Revision
	}
	n, err := c.record(x)
	if err != nil {
		return err
	}
	c.redirects = append(c.redirects, redirect{t.path, to})
	c.report(ChangeOutcome{Proposed: ch.Path, Kind: Copied, Path: to, Base: Base{Revision: c.rev}, Conflict: n})
	return nil
}

// knowsPath is knows for a path's newest version, which may be none at all.
func (c *commit) knowsPath(head version, t target) (bool, error) {
	if head.Revision == 0 {
		return true, nil
	}
	return c.knows(head, t.base, t.origin)
}

// baseVersion is the version that the author made its change from: at origin, or
// where the entry was before the author's own moves brought it to head's path. What
// others moved there is not what the author had.
func (c *commit) baseVersion(b Base, origin id.Path, head version) (version, error) {
	base, _, err := c.at(origin, b.Revision)
	if err != nil || base.live() {
		return base, err
	}
	for range maxHops {
		came, ok, err := c.arrived(head, b.Revision)
		if err != nil {
			return base, err
		}
		if !ok {
			break
		}
		origin = came.From
		if head, ok, err = c.at(origin, came.Revision-1); err != nil || !ok {
			return base, err
		}
	}
	was, _, err := c.at(origin, b.Revision)
	if was.live() {
		base = was
	}
	return base, err
}

// baseWithin is baseVersion for v, which is what t names or below it. Where t
// followed others, who moved the whole, the author had v below its own name for it.
func (c *commit) baseWithin(t target, b Base, v version) (version, error) {
	if v.Path == t.path {
		return c.baseVersion(b, t.origin, v)
	}
	base, err := c.baseVersion(b, v.Path, v)
	if err != nil || base.live() || t.origin == t.path {
		return base, err
	}
	was, _, err := c.at(v.Path.Rebase(t.path, t.origin), b.Revision)
	if was.live() {
		base = was
	}
	return base, err
}

// arrived returns the version after r by which the author itself moved the entry of
// v to its path, whatever was done to it there since.
func (c *commit) arrived(v version, r id.Revision) (came version, found bool, err error) {
	if v.Revision == c.rev && v.moved {
		return v, true, nil
	}
	if v.Revision <= r || !v.live() {
		return v, false, nil
	}
	d, err := c.past()
	if err != nil {
		return v, false, err
	}
	n := 0
	err = d.versions(c.folder, v.Path, min(v.Revision, c.head.Revision), r+1, func(x version) (more bool, err error) {
		n++
		if !x.live() || n > maxScan {
			return false, nil
		}
		if x.moved {
			came = x
			found, err = c.authored(x)
		}
		return !x.moved, err
	})
	return came, found, err
}

// maxScan bounds how many versions of one path are compared with a change.
const maxScan = 4096

// hadSince is had for judging a put; a value of its own, so that a put whose author has
// seen the head allocates none.
func (c *commit) hadSince(t target, lost, had bool) func(Entry, Fields) (id.Revision, error) {
	return func(e Entry, attributes Fields) (id.Revision, error) {
		if !had {
			return 0, nil
		}
		return c.had(t, e, attributes, lost)
	}
}

// had returns the newest revision after t's base, up to the head, at which the
// path had e's content and the named attributes of it, 0 if there is none. Without
// a base every version counts; what lost there only for what is built on it.
func (c *commit) had(t target, e Entry, attributes Fields, lost bool) (found id.Revision, err error) {
	d, err := c.past()
	if err != nil {
		return 0, err
	}
	oldest := id.Revision(1)
	if !t.base.IsNone() {
		oldest = t.base.Revision + 1
	}
	n := 0
	err = d.versions(c.folder, t.path, c.head.Revision, oldest, func(v version) (bool, error) {
		was := v.Entry
		if lost {
			was = v.held()
		}
		if n++; e.SameContent(was) && overlay(was, e, attributes) == was {
			found = v.Revision
			return false, nil
		}
		// What was here before an entry came by a move is another file's.
		return n < maxScan && (!v.moved || t.path == t.origin), nil
	})
	return found, err
}
