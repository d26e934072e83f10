package meta

import (
	"github.com/lockstep-sync/lockstep/internal/id"
)

// ownOutcome is an earlier outcome of the author's lane, by proposed path.
type ownOutcome struct {
	outcome
	byPath map[id.Path]int // into Changes; the last one wins
}

// ownOutcome returns what became of the author's earlier proposal s, nil if it is
// not stored.
func (c *commit) ownOutcome(s id.Sequence) (*ownOutcome, error) {
	if o, ok := c.earlier[s]; ok {
		return o, nil
	}
	o, ok, err := reads{c.t}.outcome(c.node, c.folder, s)
	if err != nil {
		return nil, err
	}
	var out *ownOutcome
	if ok {
		out = &ownOutcome{outcome: o, byPath: make(map[id.Path]int, len(o.Changes))}
		for i, ch := range o.Changes {
			out.byPath[ch.Proposed] = i
		}
	}
	c.earlier[s] = out
	return out, nil
}

// find returns the change outcome of p or of its nearest ancestor.
func (o *ownOutcome) find(p id.Path) (ChangeOutcome, bool) {
	if len(o.byPath) == 0 {
		return ChangeOutcome{}, false
	}
	for q := p; q != ""; q = q.Dir() {
		if i, ok := o.byPath[q]; ok {
			return o.Changes[i], true
		}
	}
	return ChangeOutcome{}, false
}

// target is where a change goes in this history.
type target struct {
	path id.Path
	base Base
	// via is Accepted while path is what the author named, else Copied or Followed.
	via OutcomeKind
	// own: the base came from the outcome of an earlier proposal. Its revision says
	// nothing about what others did elsewhere up to there.
	own bool
	// origin is the path that base is a version of.
	origin id.Path
	// conflict is the record that sent the change elsewhere.
	conflict uint64
}

// resolve turns the path and base that the author named into those of this
// history: through the outcome of an earlier proposal, and through directories
// that this commit had to rename. A base that this history does not hold is none.
func (c *commit) resolve(p id.Path, b Base) (t target, err error) {
	t = target{path: p, base: b, via: Accepted, origin: p}
	if b.Own != 0 {
		if t, err = c.resolveOwn(p, b.Own); err != nil {
			return t, err
		}
	} else if ok, err := c.holds(b); err != nil {
		return t, err
	} else if !ok {
		t.base = Base{}
	}
	if q := c.redirected(t.path); q != t.path {
		t.path, t.via = q, Copied
	}
	return t, nil
}

// below is the base for what is below a directory that is deleted or moved as one.
func (c *commit) below(t target) Base {
	switch {
	case !c.seen.IsNone():
		return c.seen
	case t.own:
		return Base{Own: c.seq} // the author's own work alone is known
	}
	return t.base
}

// known returns b as a base to be stored: own(this proposal) is none.
func (b Base) known() Base {
	if b.Own != 0 {
		return Base{}
	}
	return b
}

// redirected follows the renames that this commit made to keep clashes apart.
func (c *commit) redirected(p id.Path) id.Path {
	for i := len(c.redirects) - 1; i >= 0; i-- {
		if r := c.redirects[i]; p.Within(r.From) {
			return p.Rebase(r.From, r.To)
		}
	}
	return p
}

// resolveOwn turns own(s) into a path and a base of this history.
func (c *commit) resolveOwn(p id.Path, s id.Sequence) (target, error) {
	t := target{path: p, via: Accepted, own: true, origin: p}
	if s == c.seq {
		return c.resolveThis(t), nil
	}
	if s > c.seq {
		return t, nil
	}
	o, err := c.ownOutcome(s)
	if err != nil || o == nil {
		return t, err
	}
	after := o.head
	if o.Revision != 0 {
		after = Base{Revision: o.Revision, Hash: o.Hash}
	}
	ch, ok := o.find(p)
	if !ok {
		t.base, err = c.afterOwn(p, after)
		return t, err
	}
	if ch.Path != "" && ch.Path != ch.Proposed {
		t.path, t.via, t.conflict = p.Rebase(ch.Proposed, ch.Path), Followed, ch.Conflict
		if ch.Kind == Copied {
			t.via = Copied
		}
	}
	t.origin = t.path
	if t.base, err = c.afterOwn(t.path, after); err != nil {
		return t, err
	}
	if ch.Proposed == p || ch.Kind == Dropped || ch.Kind == Unchanged {
		// The change itself, or below a directory whose move as one did not happen.
		t.base = ch.Base
		if ch.BasePath != "" {
			t.origin = p.Rebase(ch.Proposed, ch.BasePath)
		}
	}
	return t, nil
}

// resolveThis is for own(s) of the proposal under way: what an earlier change of it
// became. Effects of this commit are known to the author anyway.
func (c *commit) resolveThis(t target) target {
	for i := len(c.outcomes) - 1; i >= 0; i-- {
		o := c.outcomes[i]
		if o.Proposed != t.path {
			continue
		}
		if o.Path != "" && o.Path != t.path {
			t.path, t.via, t.conflict = o.Path, Followed, o.Conflict
			if o.Kind == Copied {
				t.via = Copied
			}
		}
		if t.base = o.Base; o.Base.Revision == c.rev {
			t.base = c.head // the origin stays: it tells what is this commit's
			break
		}
		if t.origin = t.path; o.BasePath != "" {
			t.origin = o.BasePath
		}
		break
	}
	return t
}

// afterOwn is the base that own(s) stands for where s made the revision after and
// says nothing special of p: after, unless p was no part of s and holds what
// somebody else made. (A new path below a directory that s moved is such a one.)
func (c *commit) afterOwn(p id.Path, after Base) (Base, error) {
	v, ok, err := c.at(p, after.Revision)
	if err != nil || !ok || !v.live() || v.Revision == after.Revision {
		return after, err
	}
	mine, err := c.own(v)
	if err != nil || mine {
		return after, err
	}
	return c.seen, nil
}

// holds reports whether b names a revision of this history.
func (c *commit) holds(b Base) (bool, error) {
	switch {
	case b.Revision == 0 || b.Revision > c.head.Revision:
		return false, nil
	case b.Revision == c.head.Revision:
		return b.Hash == c.head.Hash, nil
	}
	h, ok, err := c.header(b.Revision)
	return ok && h.Hash.Prefix() == b.Hash, err
}

// earlierCopy returns where an earlier proposal of the author, whose outcome it
// may not know yet, had to put the directory p.
func (c *commit) earlierCopy(p id.Path) (id.Path, uint64, bool, error) {
	for s := c.seq - 1; s > c.acked && s+maxLookback > c.seq; s-- {
		o, err := c.ownOutcome(s)
		if err != nil || o == nil {
			return "", 0, false, err
		}
		i, ok := o.byPath[p]
		if !ok || o.Changes[i].Kind != Copied {
			continue
		}
		to := o.Changes[i].Path
		v, ok, err := c.newest(to)
		if err != nil {
			return "", 0, false, err
		}
		if ok && v.Entry.Kind == Dir {
			return to, o.Changes[i].Conflict, true, nil
		}
	}
	return "", 0, false, nil
}

// maxLookback bounds how many outcomes are searched for an earlier copy.
const maxLookback = 1 << 12

// locate finds where an entry that the author wants at t.path can be. A path that
// is absent because it, or an ancestor, was moved meanwhile follows the move;
// where an ancestor is no directory any more the topmost component that clashes
// is renamed. It returns the newest version there.
func (c *commit) locate(t target) (target, version, error) {
	for i := 0; ; i++ {
		h, ok, err := c.newest(t.path)
		if err != nil || ok && h.live() {
			return t, h, err
		}
		follow := i < maxHops
		if ok && follow && h.To != "" && !t.base.IsNone() {
			known, err := c.knows(h, t.base, t.origin)
			if err != nil {
				return t, h, err
			}
			if !known {
				t = t.follow(h.To)
				continue
			}
		}
		next, err := c.place(t, follow)
		if err != nil || next.path == t.path {
			return t, h, err
		}
		t = next
	}
}

// follow returns t at another path.
func (t target) follow(p id.Path) target {
	t.path, t.via = p, Followed
	return t
}

// place is one step of locate for the ancestors of an absent path.
func (c *commit) place(t target, follow bool) (target, error) {
	for q := t.path.Dir(); q != ""; q = q.Dir() {
		v, ok, err := c.newest(q)
		switch {
		case err != nil:
			return t, err
		case !ok:
		case v.Entry.Kind == Dir:
			return t, nil
		case v.live():
			to, n, err := c.renameClash(q, v, t.base)
			t.path, t.via, t.conflict = t.path.Rebase(q, to), Copied, n
			return t, err
		case v.To != "" && follow:
			mine, err := c.authored(v)
			if err != nil {
				return t, err
			}
			if next := t.path.Rebase(q, v.To); !mine && len(next) <= id.MaxPath {
				return t.follow(next), nil
			}
		}
	}
	return t, nil
}

// authored reports whether the author's node made v.
func (c *commit) authored(v version) (bool, error) {
	if v.Revision == c.rev {
		return true, nil
	}
	h, ok, err := c.header(v.Revision)
	return ok && h.Node == c.node, err
}

// renameClash makes a directory beside the entry v at p, for what the author has
// below its own directory p, and redirects the rest of the commit there.
func (c *commit) renameClash(p id.Path, v version, base Base) (to id.Path, n uint64, err error) {
	to, n, ok, err := c.earlierCopy(p)
	if err != nil {
		return "", 0, err
	}
	if !ok {
		if to, err = c.copyPath(p, Dir); err != nil {
			return "", 0, err
		}
		mode := uint32(newDirMode)
		baseRev := id.Revision(0)
		if !base.IsNone() {
			was, had, err := c.at(p, base.Revision)
			if err != nil {
				return "", 0, err
			}
			if had && was.Entry.Kind == Dir {
				mode, baseRev = was.Entry.Mode, was.Revision
			}
		}
		if err := c.ensureParents(to); err != nil {
			return "", 0, err
		}
		if err := c.set(version{Version: Version{Path: to, From: p, Entry: Entry{Kind: Dir, Mode: mode}}, copied: true}); err != nil {
			return "", 0, err
		}
		n, err = c.record(Conflict{Path: p, CopyPath: to, Kind: ConflictKinds, State: ConflictOpen, Base: baseRev, Winner: v.Revision, Loser: c.rev})
		if err != nil {
			return "", 0, err
		}
		c.report(ChangeOutcome{Proposed: p, Kind: Copied, Path: to, Base: Base{Revision: c.rev}, Conflict: n})
	}
	c.redirects = append(c.redirects, redirect{p, to})
	return to, n, nil
}

// report adds a change's outcome. A base of this revision gets its hash when the
// commit is finished. What the author's later changes in this commit do to the path
// goes the same way. Paths that are too long to be are left out: nobody has them.
func (c *commit) report(o ChangeOutcome) {
	if len(o.Proposed) > id.MaxPath {
		return
	}
	if len(o.Path) > id.MaxPath {
		o.Path = ""
	}
	if len(o.BasePath) > id.MaxPath {
		o.Base = Base{}
	}
	if o.BasePath == o.Path || o.Base.IsNone() {
		o.BasePath = ""
	}
	c.outcomes = append(c.outcomes, o)
	if o.Path != "" && o.Path != o.Proposed && (o.Kind == Copied || o.Kind == Followed) {
		c.redirects = append(c.redirects, redirect{o.Proposed, o.Path})
	}
}

// record opens a conflict record and returns its number.
func (c *commit) record(x Conflict) (uint64, error) {
	c.state.Conflicts++
	if x.State == ConflictOpen {
		c.state.Open++
	}
	x.Folder, x.Number, x.Time = c.folder, c.state.Conflicts, fromNanos(c.time)
	var err error
	if x.WinnerNode, err = c.nodeOf(x.Winner); err != nil {
		return 0, err
	}
	if x.LoserNode, err = c.nodeOf(x.Loser); err != nil {
		return 0, err
	}
	c.conflicts = append(c.conflicts, x)
	return x.Number, nil
}

// nodeOf is who made a revision, zero for none.
func (c *commit) nodeOf(r id.Revision) (id.Node, error) {
	switch r {
	case c.rev:
		return c.node, nil
	case 0:
		return id.Node{}, nil
	}
	h, _, err := c.header(r)
	return h.Node, err
}
