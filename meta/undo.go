package meta

import "github.com/lockstep-sync/lockstep/internal/id"

// undoing is the rollback under way: what is within under becomes what it was at target.
type undoing struct {
	under  id.Path // "" is everything
	target id.Revision
}

// undone is where the rollback under way brings the entry that is at p at the head:
// where it was at the target. It is "" where it was nowhere, or is not brought there.
//
// A rollback writes no moves, so the entry is followed through history: back along the
// moves that brought it, and for what an earlier rollback wrote on at that one's target,
// until the target; from there on along the moves up to the target.
func (c *commit) undone(p id.Path) (id.Path, error) {
	d, err := c.past()
	if err != nil {
		return "", err
	}
	from, err := c.traced(d, p)
	if err != nil || from == "" {
		return "", err
	}
	for range maxHops {
		v, _, err := d.at(c.folder, from, c.undo.target)
		if err != nil {
			return "", err
		}
		if !v.live() && v.To != "" {
			from = v.To
			continue
		}
		if !v.live() || from == p || !from.Within(c.undo.under) {
			return "", nil
		}
		return from, nil
	}
	return "", nil
}

// traced is the path that the entry at p had at the target, or before it where an
// earlier rollback made the entry of that time again; "" if there was none.
func (c *commit) traced(d reads, p id.Path) (id.Path, error) {
	r := c.head.Revision
	for range maxHops {
		found, next := false, id.Path("")
		err := d.versions(c.folder, p, r, 0, func(v version) (bool, error) {
			if !v.live() {
				return false, nil
			}
			if found = v.Revision <= c.undo.target; found {
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
			return true, nil
		})
		switch {
		case err != nil || found:
			return p, err
		case next == "":
			return "", nil
		}
		p = next
	}
	return "", nil
}
