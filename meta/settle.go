package meta

import (
	"fmt"
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// settleConflicts closes the open records that this commit decides by what it does to
// their paths and copies, whatever command it is: users resolve conflicts with rm and
// mv. It is called when all effects are known, and reads only what will stay of them.
func (c *commit) settleConflicts() error {
	if c.state.Open == 0 {
		return nil
	}
	made := make(map[uint64]int) // where c.conflicts has a record
	for i, x := range c.conflicts {
		made[x.Number] = i
	}
	numbers, err := c.touched()
	if err != nil {
		return err
	}
	for n := range made {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		if i, ok := made[n]; ok {
			if c.conflicts[i].State == ConflictOpen {
				if _, err := c.settle(&c.conflicts[i]); err != nil {
					return err
				}
			}
			continue
		}
		x, ok, err := reads{c.t}.conflict(c.folder, n)
		if err != nil {
			return err
		}
		if !ok || x.State != ConflictOpen {
			return fmt.Errorf("%w: the index names conflict %d, which is not open", ErrDamaged, n)
		}
		if changed, err := c.settle(&x); err != nil {
			return err
		} else if changed {
			c.conflicts = append(c.conflicts, x)
		}
	}
	return nil
}

// touched returns the open records of whose path or copy this commit has a version.
// A large commit goes through the index, a small one asks it for each effect.
func (c *commit) touched() (out []uint64, err error) {
	if !c.spilled {
		for p, e := range c.cur {
			if e.nothing() {
				continue
			}
			o, err := c.openAt(p)
			if err != nil {
				return nil, err
			}
			out = append(out, o.Numbers...)
		}
		return out, nil
	}
	d, err := c.store()
	if err != nil {
		return nil, err
	}
	prefix := folderKey(keyOpen, c.folder)
	err = d.each(prefix, kv.PrefixEnd(prefix), func(k, b []byte) error {
		v, ok, err := d.at(c.folder, id.Path(k[len(prefix):]), c.rev)
		if err != nil || !ok || v.Revision != c.rev {
			return err
		}
		var o rowOpen
		err = unpackRow(b, &o)
		out = append(out, o.Numbers...)
		return err
	})
	return out, err
}

// final is newest, but that an effect which changes nothing, and is not written, is
// none: whether effects were spilled must make no difference.
func (c *commit) final(p id.Path) (version, error) {
	if e, ok := c.cur[p]; ok && e.nothing() {
		v, _, err := c.at(p, c.head.Revision)
		return v, err
	}
	v, _, err := c.newest(p)
	return v, err
}

// wentTo is where this commit moved what was at v's path; "" if it moved nothing. A
// rollback moves what it brings back to where it was.
func (c *commit) wentTo(v version) (id.Path, error) {
	if c.undo != nil && !v.live() && v.Revision == c.rev {
		return c.undone(v.Path)
	}
	for i := 0; !v.live() && v.Revision == c.rev && v.To != "" && i < maxHops; i++ {
		next, err := c.final(v.To)
		if err != nil {
			return "", err
		}
		if next.live() {
			return next.Path, nil
		}
		v = next
	}
	return "", nil
}

// settle closes or moves one open record, and reports whether it changed it.
func (c *commit) settle(x *Conflict) (changed bool, err error) {
	path, err := c.final(x.Path)
	if err != nil {
		return false, err
	}
	other, err := c.final(x.CopyPath)
	if err == nil && !other.copied {
		other, err = c.loser(*x, other)
	}
	if err != nil {
		return false, err
	}
	to, err := c.wentTo(path)
	if err != nil {
		return false, err
	}
	switch {
	case x.Hidden && other.live() && other.copied:
		x.Hidden, changed = false, true // its author made a directory of it
	case x.Hidden:
		if to != "" {
			x.Path, changed = to, true
			if path, err = c.final(to); err != nil {
				return false, err
			}
		}
		if path.live() && path.Revision == c.rev && path.Entry.SameContent(other.Lost) {
			c.resolved(x, KeepLoser.String())
			return true, nil
		}
	case to == x.CopyPath && to != "":
		c.resolved(x, KeepWinner.String()) // the copy was written over
		return true, nil
	case !other.live():
		return c.settleGone(x, path, other, to)
	}
	if to != "" && !x.Hidden {
		x.Path, changed = to, true
	}
	return changed, nil
}

// loser is the losing side of a record, v being the newest version of its copy's path.
// Where history alone keeps it, somebody may have made another file of that name.
func (c *commit) loser(x Conflict, v version) (version, error) {
	if !x.Hidden || v.hidden() {
		return v, nil
	}
	d, err := c.past()
	if err != nil {
		return v, err
	}
	lost := version{Version: Version{Path: x.CopyPath}}
	err = d.versions(c.folder, x.CopyPath, c.head.Revision, x.Loser, func(o version) (bool, error) {
		if o.hidden() {
			lost = o
		}
		return !o.hidden(), nil
	})
	return lost, err
}

// settleGone is settle for a copy that is not at its path any more. to is where the
// record's path was moved, "" if it was not.
func (c *commit) settleGone(x *Conflict, path, other version, to id.Path) (bool, error) {
	at, err := c.wentTo(other)
	if err != nil {
		return false, err
	}
	along, err := c.carried(x.CopyPath, at)
	if err != nil {
		return false, err
	}
	switch {
	case at == "":
		was, _, err := c.at(x.CopyPath, c.head.Revision)
		if err != nil {
			return false, err
		}
		if to != "" {
			if path, err = c.final(to); err != nil {
				return false, err
			}
		}
		if was.live() && path.live() && path.Entry.SameContent(was.Entry) {
			c.resolved(x, KeepLoser.String())
		} else {
			c.resolved(x, KeepWinner.String())
		}
	case at == x.Path:
		c.resolved(x, KeepLoser.String())
	case along || to != "" && together(x, to, at):
		x.CopyPath = at
		if to != "" {
			x.Path = to
		}
	default:
		c.resolved(x, KeepBoth.String())
	}
	return true, nil
}

// carried reports whether p came to at because a directory above it was moved.
func (c *commit) carried(p, at id.Path) (bool, error) {
	for q := p.Dir(); q != "" && at != ""; q = q.Dir() {
		v, err := c.final(q)
		if err != nil {
			return false, err
		}
		to, err := c.wentTo(v)
		if err != nil {
			return false, err
		}
		if to != "" && p.Rebase(q, to) == at {
			return true, nil
		}
	}
	return false, nil
}

// together reports whether path and copy went to to and at side by side, under their
// names, one by one.
func together(x *Conflict, to, at id.Path) bool {
	from, into := x.Path, to
	for from != "" && into != "" && from.Base() == into.Base() {
		from, into = from.Dir(), into.Dir()
	}
	return from != x.Path && x.CopyPath.Within(from) && at == x.CopyPath.Rebase(from, into)
}

// openAt are the open records of a path.
func (c *commit) openAt(p id.Path) (o rowOpen, err error) {
	_, err = reads{c.t}.row(openKey(c.folder, p), &o)
	return o, err
}

// indexOpen brings the index up to date with a record that is about to be written.
func (c *commit) indexOpen(x Conflict) error {
	old, _, err := reads{c.t}.conflict(c.folder, x.Number)
	if err != nil {
		return err
	}
	for _, y := range []Conflict{old, x} {
		if y.State != ConflictOpen {
			continue
		}
		for _, p := range []id.Path{y.Path, y.CopyPath} {
			if err := c.setOpen(p, x.Number, y == x); err != nil {
				return err
			}
		}
	}
	return nil
}

// setOpen adds or removes one number at one path.
func (c *commit) setOpen(p id.Path, n uint64, open bool) error {
	o, err := c.openAt(p)
	if err != nil {
		return err
	}
	i, found := slices.BinarySearch(o.Numbers, n)
	switch {
	case found == open:
		return nil
	case open:
		o.Numbers = slices.Insert(o.Numbers, i, n)
	default:
		o.Numbers = slices.Delete(o.Numbers, i, i+1)
	}
	if len(o.Numbers) == 0 {
		c.t.delete(openKey(c.folder, p))
	} else {
		c.t.set(openKey(c.folder, p), packRow(&o))
	}
	return nil
}
