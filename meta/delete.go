package meta

import "github.com/lockstep-sync/lockstep/internal/id"

// delete judges and applies one delete, of a whole subtree for a directory. What
// the author had not seen stays, and the directories above it.
func (c *commit) delete(ch Change) error {
	t, err := c.resolve(ch.Path, ch.Base)
	if err != nil {
		return err
	}
	head, ok, err := c.newest(t.path)
	if err != nil {
		return err
	}
	o := ChangeOutcome{Proposed: ch.Path, Path: t.path, Kind: Unchanged, Base: Base{Revision: c.rev}, Conflict: t.conflict}
	if !ok || !head.live() {
		known, err := c.knowsPath(head, t)
		if err != nil {
			return err
		}
		if t.via == Copied {
			o.Kind = Copied // as before: what is built on it stays beside
		}
		if head.To != "" && !known {
			// Somebody moved it: a move is an edit of its place, and the edit wins.
			o.Kind, o.Path, o.Base, o.BasePath = Dropped, head.To, t.base, t.origin
		}
		c.report(o)
		return nil
	}
	kept, err := c.survivors(t, head)
	if err != nil {
		return err
	}
	for _, v := range kept.paths {
		if err := c.surviving(ch, t, v); err != nil {
			return err
		}
	}
	if err := c.removeTree(head, kept); err != nil {
		return err
	}
	switch {
	case len(kept.paths) != 0 && head.Entry.Kind == Dir:
		o.Kind, o.Base, o.BasePath = Dropped, t.base, t.origin
		c.report(o)
	case len(kept.paths) == 0 && t.path != ch.Path:
		o.Kind = t.via
		c.report(o)
	}
	return nil
}

// surviving reports one path that a delete leaves, and records it if the author
// deleted an entry that was edited meanwhile.
func (c *commit) surviving(ch Change, t target, v version) error {
	base, origin := t.base, t.origin
	if v.Path != t.path {
		base, origin = c.below(t).known(), v.Path
	}
	o := ChangeOutcome{Proposed: v.Path.Rebase(t.path, ch.Path), Kind: Dropped, Path: v.Path, Base: base, BasePath: origin}
	if !base.IsNone() {
		was, err := c.baseWithin(t, base, v)
		if err != nil {
			return err
		}
		if was.live() {
			o.BasePath = was.Path
			if o.Conflict, err = c.record(Conflict{Path: v.Path, Kind: ConflictEditDelete, State: ConflictAutomatic, Base: was.Revision, Winner: v.Revision, Loser: c.rev}); err != nil {
				return err
			}
		}
	}
	c.report(o)
	return nil
}

// keepers are what a delete of a subtree leaves.
type keepers struct {
	paths []version            // what the author had not seen, in path order
	all   map[id.Path]struct{} // those and the directories above them
}

// survivors finds what the author had not seen in the subtree of head.
func (c *commit) survivors(t target, head version) (keepers, error) {
	k := keepers{all: make(map[id.Path]struct{})}
	base, origin := t.base, t.origin
	judge := func(v version) error {
		if !v.live() {
			return nil
		}
		if v.Path != head.Path {
			origin = v.Path
		}
		known, err := c.knows(v, base, origin)
		if err != nil || known {
			return err
		}
		if v.Entry.Kind == Dir && !base.known().IsNone() {
			// Other attributes on a directory do not keep it.
			was, err := c.baseWithin(t, base, v)
			if err != nil || was.Entry.Kind == Dir {
				return err
			}
		}
		k.paths = append(k.paths, v)
		for q := v.Path; q != "" && q.Within(head.Path); q = q.Dir() {
			if _, ok := k.all[q]; ok {
				break
			}
			k.all[q] = struct{}{}
		}
		return nil
	}
	if err := judge(head); err != nil || head.Entry.Kind != Dir {
		return k, err
	}
	d, err := c.store()
	if err != nil {
		return k, err
	}
	base = c.below(t)
	return k, d.below(c.folder, head.Path, c.rev, judge)
}

// removeTree writes tombstones for head and all below it, but for the keepers.
func (c *commit) removeTree(head version, kept keepers) error {
	remove := func(v version) error {
		if _, ok := kept.all[v.Path]; ok || !v.live() {
			return nil
		}
		return c.replace(version{Version: Version{Path: v.Path}}, v, true)
	}
	if head.Entry.Kind == Dir {
		d, err := c.store()
		if err != nil {
			return err
		}
		if err := d.below(c.folder, head.Path, c.rev, remove); err != nil {
			return err
		}
	}
	return remove(head)
}

// clear removes all below the directory at t.path for an entry of another kind,
// unless the author had not seen some of it: then nothing, and it reports true.
func (c *commit) clear(t target) (blocked bool, err error) {
	head, _, err := c.newest(t.path)
	if err != nil {
		return false, err
	}
	kept, err := c.survivors(t, head)
	if err != nil || len(kept.paths) != 0 {
		return true, err
	}
	return false, c.removeTree(head, kept)
}
