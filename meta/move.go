package meta

import "github.com/lockstep-sync/lockstep/internal/id"

// move judges and applies one move, of a whole subtree for a directory: all that
// is there at the head moves, what others changed or added meanwhile too.
func (c *commit) move(ch Change) error {
	src, err := c.resolve(ch.From, ch.Base)
	if err != nil {
		return err
	}
	head, ok, err := c.newest(src.path)
	if err != nil {
		return err
	}
	gone, err := c.gone(src, head, ok)
	if err != nil {
		return err
	}
	if gone != nil {
		c.stays(ch)
		return c.moveGone(ch, src, *gone)
	}
	dst, over, err := c.locate(target{path: c.redirected(ch.Path), via: Accepted})
	if err != nil {
		return err
	}
	if dst.path != ch.Path && dst.via == Accepted {
		dst.via = Copied
	}
	o := ChangeOutcome{Proposed: ch.Path, Kind: Dropped, Path: src.path, Base: src.base, BasePath: src.origin}
	if dst.path == src.path {
		c.stays(ch)
		o.Kind = Unchanged
		c.report(o)
		return nil
	}
	if fits, err := c.fits(head, dst.path, over.live()); err != nil {
		return err
	} else if !fits || dst.path.Below(src.path) || src.path.Below(dst.path) {
		c.stays(ch)
		c.report(o)
		return nil
	}
	if src.path != ch.From {
		c.stays(ch)
	}
	return c.moveTo(ch, src, dst, head, over)
}

// stays reports that the author, for whom its old path is free now, does not know
// what is there: what it makes there next is new, and no edit of what it moved away.
func (c *commit) stays(ch Change) {
	c.report(ChangeOutcome{Proposed: ch.From, Kind: Dropped})
}

// gone returns the tombstone that ended the entry which the author moved, nil
// while the entry is still there: the path is absent, or holds another entry that
// came after.
func (c *commit) gone(src target, head version, ok bool) (*version, error) {
	if ok && head.live() {
		known, err := c.knows(head, src.base, src.origin)
		if err != nil || known || src.base.IsNone() {
			return nil, err
		}
	} else if src.base.IsNone() {
		return &head, nil
	}
	end, found, err := c.ended(src.path, src.base.Revision)
	switch {
	case err != nil:
		return nil, err
	case !found && head.live():
		return nil, nil
	case !found:
		return &head, nil
	}
	if at, _, err := c.whereNow(end, src); err != nil || at == src.path {
		return nil, err // it has come back, by a rollback perhaps
	}
	return &end, nil
}

// moveGone is for a move of an entry that somebody else moved or deleted first.
func (c *commit) moveGone(ch Change, src target, tomb version) error {
	o := ChangeOutcome{Proposed: ch.Path, Kind: Dropped, Base: src.base, BasePath: src.origin}
	if tomb.hidden() && src.path != ch.From {
		// The author gave what lost without a copy a name of its own.
		was := tomb
		was.Entry = was.Lost
		return c.restoreAt(ch, src, was, src.conflict)
	}
	var was version
	if !src.base.IsNone() {
		var err error
		if was, _, err = c.at(src.origin, src.base.Revision); err != nil {
			return err
		}
	}
	if !was.live() {
		// The author moved what history does not know: it is not there now either.
		o.Kind = Refused
		c.report(o)
		return nil
	}
	x := Conflict{Path: src.path, Kind: ConflictEditDelete, State: ConflictAutomatic, Base: was.Revision, Winner: c.rev, Loser: tomb.Revision}
	if at, v, err := c.whereNow(tomb, src); err != nil {
		return err
	} else if at != "" {
		if at == ch.Path {
			o.Kind, o.Path = Unchanged, at
			c.report(o)
			return nil
		}
		x.Kind, x.Winner, x.Loser = ConflictRenameRename, tomb.Revision, c.rev
		if v.Entry.Kind == Dir || v.Entry.SameContent(was.Entry) {
			if o.Conflict, err = c.record(x); err != nil {
				return err
			}
			o.Path = at
			c.report(o)
			return nil
		}
	}
	n, err := c.record(x)
	if err != nil {
		return err
	}
	return c.restoreAt(ch, src, was, n)
}

// restoreAt puts what the author moved at the new path: was, as its base had it,
// and what its disk held below.
func (c *commit) restoreAt(ch Change, src target, was version, conflict uint64) error {
	err := c.putBack(ch.Path, was.Entry)
	if err != nil {
		return err
	}
	if was.Entry.Kind == Dir {
		if err := c.restoreBelow(ch, src); err != nil {
			return err
		}
	}
	t := c.redirected(ch.Path)
	o := ChangeOutcome{Proposed: ch.Path, Kind: Merged, Path: t, Base: Base{Revision: c.rev}, Conflict: conflict}
	if t != ch.Path {
		o.Kind = Copied
	}
	c.report(o)
	return nil
}

// restoreBelow is restoreAt for what was below a directory: the state at Seen, the
// base's without it, and the author's own work up to the base.
func (c *commit) restoreBelow(ch Change, src target) error {
	d, err := c.past()
	if err != nil {
		return err
	}
	seen := c.seen
	if seen.IsNone() && !src.own {
		seen = src.base // an own outcome's says nothing of what others made below
	}
	return d.below(c.folder, src.origin, max(seen.Revision, src.base.Revision), func(v version) error {
		p := v.Path.Rebase(src.origin, ch.Path)
		if v.Revision > seen.Revision {
			mine, err := c.own(v)
			if err != nil {
				return err
			}
			if !mine {
				if v, _, err = c.at(v.Path, seen.Revision); err != nil {
					return err
				}
			}
		}
		if !v.live() || p.Check() != nil {
			return nil // what cannot be named there stays in history at its old path
		}
		if elsewhere, err := c.elsewhere(v); err != nil || elsewhere {
			return err
		}
		return c.putBack(p, v.Entry)
	})
}

// elsewhere reports whether v, a file that its author took along with a directory, is
// where somebody else has moved it, with the same content: the first move stays.
func (c *commit) elsewhere(v version) (bool, error) {
	if v.Entry.Kind == Dir {
		return false, nil
	}
	end, found, err := c.ended(v.Path, v.Revision)
	if err != nil || !found {
		return false, err
	}
	_, now, err := c.whereNow(end, target{origin: v.Path, base: Base{Revision: v.Revision}})
	return now.live() && now.Entry.SameContent(v.Entry), err
}

// moveTo carries out a move to a path that may be taken.
func (c *commit) moveTo(ch Change, src, dst target, head, over version) error {
	o := ChangeOutcome{Proposed: ch.Path, Kind: dst.via, Path: dst.path, Base: Base{Revision: c.rev}, Conflict: dst.conflict}
	into := false // merging a directory into one that is there
	if over.live() {
		mine, err := c.own(over)
		if err != nil {
			return err
		}
		switch {
		case over.Entry.Kind == Dir && head.Entry.Kind == Dir:
			into = true
		case mine && over.Entry.Kind != Dir && dst.path == ch.Path:
			// The author's own file, that it moved another one over: not one that it has
			// elsewhere, to where others have moved the directory that it named.
		case over.Entry.SameContent(head.Entry):
			// The same file is there already: only the old name goes.
			known, err := c.knows(head, src.base, src.origin)
			if err != nil {
				return err
			}
			if o.Kind = Unchanged; !known {
				o.Base, o.BasePath = src.base, src.origin
			}
			c.report(o)
			return c.set(version{Version: Version{Path: src.path, To: dst.path}})
		default:
			if o, err = c.moveBeside(ch, head, over); err != nil {
				return err
			}
		}
	}
	if err := c.ensureParents(o.Path); err != nil {
		return err
	}
	known, err := c.moveTree(subtree{head: head, name: ch.Path, src: src, dst: o.Path, into: into, copied: o.Kind == Copied})
	if err != nil {
		return err
	}
	if !known {
		o.Base, o.BasePath = src.base, src.origin
		if o.Kind == Accepted {
			o.Kind = Merged
		}
	}
	if o.Kind != Accepted {
		c.report(o)
	}
	return nil
}

// moveBeside finds another place for a move whose target is taken.
func (c *commit) moveBeside(ch Change, head, over version) (ChangeOutcome, error) {
	to, err := c.copyPath(over.Path, head.Entry.Kind)
	if err != nil {
		return ChangeOutcome{}, err
	}
	x := Conflict{Path: over.Path, CopyPath: to, Kind: ConflictCreateCreate, State: ConflictOpen, Winner: over.Revision, Loser: c.rev}
	if head.Entry.Kind != over.Entry.Kind {
		x.Kind = ConflictKinds
	}
	n, err := c.record(x)
	return ChangeOutcome{Proposed: ch.Path, Kind: Copied, Path: to, Base: Base{Revision: c.rev}, Conflict: n}, err
}

// fits reports whether every path of the subtree can be named below dst, or below a
// copy of it where dst is taken.
func (c *commit) fits(head version, dst id.Path, taken bool) (bool, error) {
	if dst.Check() != nil {
		return false, nil
	}
	grow := len(dst) - len(head.Path)
	if taken {
		grow += id.MaxComponent // by one component, of dst or of a directory below it
	}
	if head.Entry.Kind != Dir || grow <= 0 {
		return true, nil
	}
	d, err := c.store()
	if err != nil {
		return false, err
	}
	ok := true
	err = d.below(c.folder, head.Path, c.rev, func(v version) error {
		ok = ok && (!v.live() || len(v.Path)+grow <= id.MaxPath)
		return nil
	})
	return ok, err
}

// subtree is one move under way.
type subtree struct {
	head version
	name id.Path // what the author calls the new place
	src  target
	dst  id.Path
	// into: dst is a directory already, and what is taken below it is kept apart one
	// by one.
	into bool
	// copied: dst is not where the author wanted it.
	copied bool
	// fresh: nothing was at dst, so nothing is below it either.
	fresh bool
	taken redirects // directories below dst that had to be renamed
}

// moveTree moves a subtree. It reports what became of the paths below its head, and
// returns whether the author had seen what it wrote for the head.
func (c *commit) moveTree(m subtree) (known bool, err error) {
	over, _, err := c.newest(m.dst)
	if err != nil {
		return false, err
	}
	m.fresh = !m.into && !over.live() && over.Revision != c.rev
	d, err := c.store()
	if err != nil {
		return false, err
	}
	if m.into {
		known, err = true, c.set(version{Version: Version{Path: m.head.Path, To: m.dst}})
	} else if known, err = c.knows(m.head, m.src.base, m.src.origin); err == nil {
		err = c.moveOne(m.head, m.dst, m.fresh, !known, m.copied)
	}
	if err != nil || m.head.Entry.Kind != Dir {
		return known, err
	}
	return known, d.below(c.folder, m.head.Path, c.rev, func(v version) error {
		if !v.live() {
			return nil
		}
		return c.moveBelow(&m, v)
	})
}

// moveBelow moves one path below the head of m.
func (c *commit) moveBelow(m *subtree, v version) error {
	base := c.below(m.src)
	known, err := c.knows(v, base, v.Path)
	if err != nil {
		return err
	}
	straight := v.Path.Rebase(m.head.Path, m.dst)
	o := ChangeOutcome{Proposed: v.Path.Rebase(m.head.Path, m.name), Kind: Accepted, Path: m.taken.apply(straight), Base: Base{Revision: c.rev}}
	there := false
	if m.into {
		if there, err = c.makeRoom(m, v, &o); err != nil {
			return err
		}
	}
	if there && v.Entry.Kind == Dir {
		return c.set(version{Version: Version{Path: v.Path, To: o.Path}})
	}
	if !known {
		if o.Kind == Accepted {
			o.Kind = Merged
		}
		o.Base = base.known()
		if o.BasePath, err = c.hadAt(m.src, o.Base, v); err != nil {
			return err
		}
	}
	if o.Kind != Accepted {
		c.report(o)
	}
	if there {
		return c.set(version{Version: Version{Path: v.Path, To: o.Path}})
	}
	return c.moveOne(v, o.Path, m.fresh, !known, m.copied || o.Path != straight)
}

// makeRoom finds where v can be when a directory is moved into another, where o
// says or beside it. there: the same is at that place already.
func (c *commit) makeRoom(m *subtree, v version, o *ChangeOutcome) (there bool, err error) {
	over, ok, err := c.newest(o.Path)
	if err != nil || !ok || !over.live() {
		return false, err
	}
	if over.Entry.SameContent(v.Entry) {
		o.Kind = Unchanged
		return true, nil
	}
	beside, err := c.moveBeside(Change{Path: o.Proposed}, v, over)
	if err != nil {
		return false, err
	}
	m.taken = append(m.taken, redirect{o.Path, beside.Path})
	*o = beside
	return false, nil
}

// hadAt is the path at which the author of a move had v, which moves along unseen.
func (c *commit) hadAt(src target, base Base, v version) (id.Path, error) {
	if base.IsNone() {
		return v.Path, nil
	}
	was, err := c.baseWithin(src, base, v)
	if err != nil || !was.live() {
		return v.Path, err
	}
	return was.Path, nil
}

type redirects []redirect

func (r redirects) apply(p id.Path) id.Path {
	for i := len(r) - 1; i >= 0; i-- {
		if p.Within(r[i].From) {
			return p.Rebase(r[i].From, r[i].To)
		}
	}
	return p
}

// moveOne writes the two versions of one moved path. An entry that this commit
// moves on keeps the place where the head has it as its origin.
func (c *commit) moveOne(v version, to id.Path, fresh, unseen, copied bool) error {
	n := version{Version: Version{Path: to, Entry: v.Entry, From: v.Path}, moved: true, unseen: unseen, copied: copied}
	if v.Revision == c.rev {
		if v.moved {
			n.From = v.From
			if old, ok, err := c.newest(v.From); err != nil {
				return err
			} else if ok && !old.live() && old.Path != to {
				if err := c.set(version{Version: Version{Path: v.From, To: to}}); err != nil {
					return err
				}
			}
		} else {
			// Written by this commit: it is not the one that the head has there.
			n.moved = false
			was, _, err := c.at(v.Path, c.head.Revision)
			if err != nil {
				return err
			}
			if !was.live() {
				n.From = ""
			}
		}
	}
	set := c.set
	if fresh {
		set = func(n version) error { return c.replace(n, version{}, false) }
	}
	if err := set(n); err != nil {
		return err
	}
	return c.replace(version{Version: Version{Path: v.Path, To: to}}, v, true)
}
