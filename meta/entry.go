package meta

import (
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// whereNow is where the entry is now that the author had, from the tombstone that ended it:
// where it was moved, or a rollback, which writes no moves, has brought it back; the path
// is "" if it is nowhere.
func (c *commit) whereNow(tomb version, had target) (id.Path, version, error) {
	at, v, err := c.movedTo(tomb)
	if err != nil || had.base.IsNone() || v.Revision > c.head.Revision {
		return at, v, err
	}
	p, was, err := c.sameEntry(had.origin, had.base.Revision, c.head.Revision)
	if err != nil || p == "" || p == at {
		return at, v, err
	}
	now, _, err := c.newest(p)
	if err != nil || now.Revision != was.Revision {
		return at, v, err // this commit does something to it
	}
	return p, now, nil
}

// movedTo follows a tombstone to where the entry is now, not to what took a place that
// it had meanwhile; the path is "" if it is nowhere.
func (c *commit) movedTo(v version) (id.Path, version, error) {
	for i := 0; v.To != "" && i < maxHops; i++ {
		end, found, err := c.ended(v.To, v.Revision)
		if err != nil {
			return "", version{}, err
		}
		if !found {
			next, ok, err := c.newest(v.To)
			if err != nil || !ok {
				return "", version{}, err
			}
			if next.live() {
				return next.Path, next, nil
			}
			end = next
		}
		v = end
	}
	return "", version{}, nil
}

// ended is the first tombstone of p after r: what ended the entry that was there then,
// whatever was made and moved there since.
func (c *commit) ended(p id.Path, r id.Revision) (end version, found bool, err error) {
	d, err := c.past()
	if err != nil {
		return end, false, err
	}
	err = d.versions(c.folder, p, c.head.Revision, r+1, func(v version) (bool, error) {
		if !v.live() && !v.hidden() {
			end, found = v, true
		}
		return true, nil
	})
	return end, found, err
}

// birth is where and when an entry was made: what tells it from others that had its
// paths. Zero is none, or one that is too old to be followed.
type birth struct {
	path id.Path
	rev  id.Revision
}

// birthOf follows the entry that is at p at revision r back to where it was made: along the
// moves that brought it, and for what a rollback wrote, which writes no moves, on at that
// one's target.
func (c *commit) birthOf(p id.Path, r id.Revision) (b birth, err error) {
	d, err := c.past()
	if err != nil {
		return b, err
	}
	seen := 0
	for range maxHops {
		b = birth{}
		next := id.Path("")
		err := d.versions(c.folder, p, r, 0, func(v version) (bool, error) {
			if seen++; !v.live() || seen > maxScan {
				return false, nil
			}
			if v.moved {
				next, r = v.From, v.Revision-1
				return false, nil
			}
			h, ok, err := c.header(v.Revision)
			if err != nil {
				return false, err
			}
			if ok && h.Origin == OriginRollback {
				next, r = p, h.Target
				return false, nil
			}
			b = birth{p, v.Revision}
			return true, nil
		})
		if err != nil || seen > maxScan {
			return birth{}, err
		}
		if next == "" {
			return b, nil
		}
		p = next
	}
	return birth{}, nil
}

// sameEntry is where the entry that was at p at revision r was, or is, at another
// revision: at p, or else at the first of its names in byte order. The path is "" if it was
// nowhere then.
func (c *commit) sameEntry(p id.Path, r, when id.Revision) (id.Path, version, error) {
	want, err := c.birthOf(p, r)
	if err != nil || want == (birth{}) {
		return "", version{}, err
	}
	names, err := c.names(p)
	if err != nil {
		return "", version{}, err
	}
	for _, q := range names {
		v, ok, err := c.at(q, when)
		if err != nil {
			return "", v, err
		}
		if !ok || !v.live() {
			continue
		}
		if b, err := c.birthOf(q, when); err != nil || b == want {
			return q, v, err
		}
	}
	return "", version{}, nil
}

// names are p and then, in byte order, paths that moves ever joined to it: the nearest
// maxHops of them.
func (c *commit) names(p id.Path) ([]id.Path, error) {
	d, err := c.past()
	if err != nil {
		return nil, err
	}
	out := []id.Path{p}
	for i := 0; i < len(out); i++ {
		seen := 0
		err := d.versions(c.folder, out[i], c.head.Revision, 0, func(v version) (bool, error) {
			for _, q := range []id.Path{v.To, v.From} {
				if q != "" && len(out) < maxHops && !slices.Contains(out, q) {
					out = append(out, q)
				}
			}
			seen++
			return seen < maxScan, nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out[1:])
	return out, nil
}
