package meta

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// commit is one revision of one folder under way: what judging reads, and the
// effects so far. Effects over maxBatch are spilled to the store as rows of the
// coming revision, which nobody sees before the commit's own row.
type commit struct {
	t      *txn
	folder id.Folder
	state  rowState
	// head is the folder's head before, rev the revision under way.
	head Base
	rev  id.Revision

	node  id.Node
	seq   id.Sequence
	acked id.Sequence
	seen  Base // all of that revision, zero if the author did not say
	time  int64
	// history: losers make no copies.
	history bool
	undo    *undoing // nil but in a rollback

	cur      map[id.Path]*effect
	curBytes int
	free     []effect
	spilled  bool

	outcomes  []ChangeOutcome
	conflicts []Conflict
	redirects []redirect
	earlier   map[id.Sequence]*ownOutcome
	authors   map[id.Revision]Commit
	name      string // of the node, for copies; empty until it is needed
}

// effect is a path's version under way.
type effect struct {
	version
	before Entry // at the head; Absent if there was none
	onDisk bool  // rows of this revision were spilled
}

// redirect says that what the author calls From is at To: a directory that lost a
// clash.
type redirect struct{ From, To id.Path }

func newCommit(t *txn, f id.Folder, env Envelope, time int64) (*commit, error) {
	s, err := reads{t}.state(f)
	if err != nil {
		return nil, err
	}
	hash, err := getFixed[id.Digest](s.Hash)
	if err != nil {
		return nil, err
	}
	return &commit{t: t, folder: f, state: s, head: Base{Revision: id.Revision(s.Revision), Hash: hash.Prefix()},
		rev: id.Revision(s.Revision) + 1, node: env.Node, seq: env.Sequence, time: time,
		cur: make(map[id.Path]*effect), earlier: make(map[id.Sequence]*ownOutcome), authors: make(map[id.Revision]Commit)}, nil
}

// newest returns the newest version of p, with the effects so far.
func (c *commit) newest(p id.Path) (version, bool, error) {
	if p == "" {
		return version{}, false, nil
	}
	if e, ok := c.cur[p]; ok {
		return e.version, true, nil
	}
	return c.t.head(c.folder, p)
}

// store makes everything so far readable through the store: complete entries and
// this commit's effects.
func (c *commit) store() (reads, error) {
	if err := c.spill(); err != nil {
		return reads{}, err
	}
	return reads{c.t.db}, nil
}

// past makes the folder up to its head readable through the store: cheaper than
// store, for this commit's effects are not written.
func (c *commit) past() (reads, error) { return reads{c.t.db}, c.t.flush() }

// at returns the newest version of p at or before r.
func (c *commit) at(p id.Path, r id.Revision) (version, bool, error) {
	get := c.past
	if r > c.head.Revision {
		get = c.store
	}
	d, err := get()
	if err != nil {
		return version{}, false, err
	}
	return d.at(c.folder, p, r)
}

// header returns the header of a committed revision.
func (c *commit) header(r id.Revision) (Commit, bool, error) {
	if h, ok := c.authors[r]; ok {
		return h, true, nil
	}
	h, ok, err := reads{c.t}.commit(c.folder, r)
	if ok {
		c.authors[r] = h
	}
	return h, ok, err
}

// set makes v what its path is. The caller keeps the parents' invariant.
func (c *commit) set(v version) error {
	old, ok, err := c.newest(v.Path)
	if err != nil {
		return err
	}
	return c.replace(v, old, ok)
}

// replace is set where the newest version of the path has been read already. Many
// of them in a row are much faster than look-ups that jump to and fro.
func (c *commit) replace(v, old version, ok bool) error {
	v.Revision = c.rev
	e := c.cur[v.Path]
	if e == nil {
		e = c.newEffect()
		switch {
		case ok && old.Revision == c.rev: // spilled
			e.onDisk = true
			before, had, err := c.at(v.Path, c.head.Revision)
			if err != nil {
				return err
			}
			if had {
				e.before = before.Entry
			}
		case ok:
			e.before = old.Entry
		}
		c.cur[v.Path] = e
		c.curBytes += 400 + 2*len(v.Path)
	}
	c.count(old.Entry, ^uint64(0))
	c.count(v.Entry, 1)
	e.version = v
	if c.curBytes >= c.t.limit {
		return c.spill()
	}
	return nil
}

// newEffect returns an empty effect. They are made some at a time, more each time: most
// commits have few.
func (c *commit) newEffect() *effect {
	if len(c.free) == 0 {
		c.free = make([]effect, min(64, 1+len(c.cur)))
	}
	e := &c.free[0]
	c.free = c.free[1:]
	return e
}

// count adds an entry to the totals n times; n is 1 or, as ^0, minus 1.
func (c *commit) count(e Entry, n uint64) {
	switch e.Kind {
	case File:
		c.state.Files += n
		c.state.Bytes += n * uint64(e.Size)
	case Dir:
		c.state.Dirs += n
	case Symlink:
		c.state.Symlinks += n
	}
}

// nothing reports whether the path is what it was before the commit.
func (e *effect) nothing() bool { return e.Entry == e.before && !e.hidden() }

// spill writes the effects so far to the store, invisible behind the head, after
// the complete entries.
func (c *commit) spill() error {
	if err := c.t.flush(); err != nil {
		return err
	}
	if len(c.cur) == 0 {
		return nil
	}
	b := c.t.db.NewBatch()
	for p, e := range c.cur {
		switch {
		case !e.nothing():
			c.t.writeVersion(b, c.folder, &e.version)
		case e.onDisk:
			eraseVersion(b, c.folder, p, c.rev)
		}
	}
	clear(c.cur)
	c.curBytes, c.spilled = 0, true
	if err := b.Commit(false); err != nil {
		return err
	}
	return c.t.dropIters()
}

// finish writes the commit, or nothing if it has no effects. It returns the
// revision that it made, the zero Base for none.
func (c *commit) finish(origin Origin, message string, target id.Revision) (Base, error) {
	if err := c.settleConflicts(); err != nil {
		return Base{}, err
	}
	sum, count, err := c.effects()
	if err != nil {
		return Base{}, err
	}
	records, err := c.writeRecords(count != 0)
	if err != nil {
		return Base{}, err
	}
	made := Base{}
	if count != 0 {
		h := Commit{Folder: c.folder, Revision: c.rev, Time: fromNanos(c.time), Node: c.node, Sequence: c.seq,
			Origin: origin, Message: message, Target: target, Changes: count, Effects: sum, Records: records}
		previous, err := getFixed[id.Digest](c.state.Hash)
		if err != nil {
			return Base{}, err
		}
		h.Hash = chainHash(previous, h)
		c.t.set(commitKey(c.folder, c.rev), packRow(h.row()))
		if err := c.t.indexTime(c.folder, c.rev); err != nil {
			return Base{}, err
		}
		c.state.Revision, c.state.Hash = uint64(c.rev), putFixed(h.Hash)
		made = h.Base()
	}
	for i := range c.outcomes {
		if b := &c.outcomes[i].Base; b.Revision == c.rev && b.Own == 0 {
			*b = made
			if made.IsNone() {
				*b = c.head
			}
		}
	}
	if count != 0 || len(c.conflicts) != 0 {
		c.t.set(folderKey(keyState, c.folder), packRow(&c.state))
	}
	return made, nil
}

// writeRecords writes the conflict records that were made or resolved and returns
// the digest of all so far. made: the revision under way will be.
func (c *commit) writeRecords(made bool) (id.Digest, error) {
	sum, err := getFixed[id.Digest](c.state.Records)
	if err != nil {
		return sum, err
	}
	for _, x := range c.conflicts {
		if !made {
			x.forget(c.rev, c.head.Revision)
		}
		sum = recordsHash(sum, x)
		if err := c.indexOpen(x); err != nil {
			return sum, err
		}
		c.t.set(conflictKey(c.folder, x.Number), packRow(x.row()))
	}
	c.state.Records = putFixed(sum)
	return sum, nil
}

// forget is for a record of a revision that was not made, for nothing changed.
func (x *Conflict) forget(rev, head id.Revision) {
	if x.Winner == rev {
		x.Winner = 0
	}
	if x.Loser == rev {
		x.Loser = 0
	}
	if x.ResolvedAt == rev {
		x.ResolvedAt = head
	}
}

// effects writes the effects and returns their digest and number.
func (c *commit) effects() (id.Digest, uint64, error) {
	sum := newEffects()
	if c.spilled {
		d, err := c.store()
		if err != nil {
			return id.Digest{}, 0, err
		}
		err = d.changes(c.folder, c.rev, func(v version) error { sum.add(&v); return nil })
		digest, count := sum.sum()
		return digest, count, err
	}
	paths := make([]id.Path, 0, len(c.cur))
	for p, e := range c.cur {
		if !e.nothing() {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		e := c.cur[p]
		sum.add(&e.version)
		c.t.writeVersion(c.t.batch, c.folder, &e.version)
		c.t.note(c.folder, &e.version)
	}
	digest, count := sum.sum()
	return digest, count, nil
}

// knows reports whether the author had seen v, the newest version of its path,
// when it made a change from base, a version of the path origin. It had if v is
// its own work, or at origin and not after the base, or came unchanged by moves
// from such a version.
func (c *commit) knows(v version, base Base, origin id.Path) (bool, error) {
	for i := range maxHops {
		if i == 0 || v.Path == origin {
			if v.Revision == c.rev && !v.unseen && (!v.copied || v.Path != origin) {
				return true, nil
			}
			if !base.IsNone() && (v.Revision > base.Revision || v.Path != origin) {
				if mine, err := c.own(v); err != nil || mine {
					return mine, err
				}
			}
		}
		if !base.IsNone() && v.Revision <= base.Revision {
			return v.Path == origin, nil
		}
		if !v.moved {
			return false, nil
		}
		var ok bool
		var err error
		if v, ok, err = c.at(v.From, v.Revision-1); err != nil || !ok || !v.live() {
			return false, err
		}
	}
	return false, nil
}

// own reports whether v is the author's own work where its user did it, and not
// what was merged into it, put beside it, or brought by a rollback.
func (c *commit) own(v version) (bool, error) {
	if v.unseen || v.copied {
		return false, nil
	}
	if v.Revision == c.rev {
		return true, nil
	}
	h, ok, err := c.header(v.Revision)
	return ok && h.Node == c.node && (h.Origin == OriginEdit || h.Origin == OriginMerge || h.Origin == OriginImport || h.Origin == OriginForget), err
}

// maxHops bounds every walk along moves.
const maxHops = 64

// ensureParents makes every ancestor of p a live directory. A live ancestor that
// is none must have been dealt with before.
func (c *commit) ensureParents(p id.Path) error {
	var missing []id.Path
	for q := p.Dir(); q != ""; q = q.Dir() {
		v, ok, err := c.newest(q)
		if err != nil {
			return err
		}
		if ok && v.Entry.Kind == Dir {
			break
		}
		if ok && v.live() {
			return fmt.Errorf("%w: parent %q of %q is a %s", errInvariant, string(q), string(p), v.Entry.Kind)
		}
		missing = append(missing, q)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		mode, err := c.lastDirMode(missing[i])
		if err != nil {
			return err
		}
		if err := c.set(version{Version: Version{Path: missing[i], Entry: Entry{Kind: Dir, Mode: mode}}}); err != nil {
			return err
		}
	}
	return nil
}

// errInvariant is a bug of this package: the machine stops.
var errInvariant = errors.New("broken invariant")

// newDirMode is the mode of a directory that the history never knew.
const newDirMode = 0o755

// lastDirMode is the mode that the directory p had when it was last live.
func (c *commit) lastDirMode(p id.Path) (uint32, error) {
	v, ok, err := c.newest(p)
	if err != nil || !ok {
		return newDirMode, err
	}
	if v, ok, err = c.at(p, v.Revision-1); err != nil || !ok || v.Entry.Kind != Dir {
		return newDirMode, err
	}
	return v.Entry.Mode, nil
}
