package meta

import (
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// rollback makes p ("" is everything) what it was at target.
func (c *commit) rollback(p id.Path, target id.Revision) (reason string, err error) {
	if p != "" {
		if reason, err := c.rollbackParents(p, target); err != nil || reason != "" {
			return reason, err
		}
	}
	c.undo = &undoing{under: p, target: target}
	d, err := c.past()
	if err != nil {
		return "", err
	}
	return "", d.compare(c.folder, p, c.head.Revision, target, func(now, then version) error {
		if now.Entry == then.Entry {
			return nil
		}
		return c.replace(version{Version: Version{Path: now.Path, Entry: then.Entry}}, now, true)
	})
}

// rollbackParents makes the directories above p if there was something at p.
func (c *commit) rollbackParents(p id.Path, target id.Revision) (reason string, err error) {
	then, _, err := c.at(p, target)
	if err != nil || !then.live() {
		return "", err
	}
	for q := p.Dir(); q != ""; q = q.Dir() {
		v, _, err := c.newest(q)
		if err != nil {
			return "", err
		}
		if v.live() && v.Entry.Kind != Dir {
			return fmt.Sprintf("%q is a %s now: roll back %q instead", string(q), v.Entry.Kind, string(q)), nil
		}
	}
	return "", c.ensureParents(p)
}

// compare calls fn with the versions of each path within under at two revisions,
// then being the older one, in byte order. A path without a version then is
// Absent then. now is at most the head: rows of a newer revision are left out.
func (d reads) compare(f id.Folder, under id.Path, now, then id.Revision, fn func(now, then version) error) (err error) {
	each := func(lo, hi []byte) (err error) {
		it, err := d.r.Iter(lo, hi)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, it.Close()) }()
		for it.Next() {
			p, r, ok := parseVersionKey(it.Key())
			if !ok {
				return fmt.Errorf("%w: version key %x", ErrDamaged, it.Key())
			}
			if r > now {
				it.Seek(versionKey(f, p, now))
				continue
			}
			a, err := decodeVersionAt(it)
			if err != nil {
				return err
			}
			b := version{Version: Version{Path: p}}
			if r <= then {
				b = a
			} else {
				it.Seek(versionKey(f, p, then))
				if it.Next() {
					if q, _, ok := parseVersionKey(it.Key()); ok && q == p {
						if b, err = decodeVersionAt(it); err != nil {
							return err
						}
					}
				} else if err := it.Err(); err != nil {
					return err
				}
			}
			if err := fn(a, b); err != nil {
				return err
			}
			it.Seek(kv.PrefixEnd(versionPrefix(f, p)))
		}
		return nil
	}
	if under != "" {
		p := versionPrefix(f, under)
		if err := each(p, kv.PrefixEnd(p)); err != nil {
			return err
		}
	}
	p := versionBelow(f, under)
	return each(p, kv.PrefixEnd(p))
}
