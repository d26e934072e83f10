package meta

import (
	"github.com/lockstep-sync/lockstep/internal/id"
)

// Sides are the versions that a conflict is about. Entry is Absent where there is
// none: no base, a side that was deleted. What lost without a copy is shown as the
// file that it is.
type Sides struct {
	// Base is the version that both were made from.
	Base Version
	// Current is what is at the record's path: at the head while the record is open,
	// before its resolution after it.
	Current Version
	// Other is what lost, with what was done to its copy since.
	Other Version
}

// Sides returns the versions of a record.
func (v *View) Sides(x Conflict) (s Sides, err error) {
	head, err := v.head(x.Folder)
	if err != nil {
		return s, err
	}
	if x.Base != 0 {
		if s.Base, err = v.line(x.Folder, x.Path, x.Base); err != nil {
			return s, err
		}
	}
	if x.State == ConflictAutomatic {
		return v.automatic(x, s)
	}
	until, changed := head, false
	if x.State == ConflictResolved {
		until, changed = min(head, x.ResolvedAt), x.Resolution == KeepLoser.String() || x.Resolution == KeepWith.String()
	}
	if s.Current, err = v.newestOf(x.Folder, x.Path, until, func(y Version) bool {
		return !changed || y.Revision < x.ResolvedAt || y.Revision <= x.Loser
	}); err != nil {
		return s, err
	}
	s.Other, err = v.newestOf(x.Folder, x.CopyPath, until, func(y Version) bool {
		return x.Hidden && y.Lost.Kind != Absent || !x.Hidden && y.held().Kind != Absent
	})
	if s.Other.Lost.Kind != Absent {
		s.Other.Entry = s.Other.Lost
	}
	return s, err
}

// automatic are the sides of a record that was decided by rule: the versions that it
// names.
func (v *View) automatic(x Conflict, s Sides) (Sides, error) {
	var err error
	if x.Winner != 0 {
		if s.Current, err = v.line(x.Folder, x.Path, x.Winner); err != nil {
			return s, err
		}
		if to := s.Current.To; to != "" { // the first of two renames
			y, _, err := v.d.at(x.Folder, to, x.Winner)
			if err != nil {
				return s, err
			}
			s.Current = y.Version
		}
	}
	if x.Kind == ConflictEditDelete { // the deletion; no version of it where it was dropped
		s.Other = Version{Path: x.Path, Revision: x.Loser}
		return s, nil
	}
	if x.Loser != 0 {
		s.Other, err = v.line(x.Folder, x.Path, x.Loser)
	}
	return s, err
}

// newestOf is the newest version of p, up to a revision, that is one of those asked for.
func (v *View) newestOf(f id.Folder, p id.Path, until id.Revision, want func(Version) bool) (out Version, err error) {
	out.Path = p
	err = v.d.versions(f, p, until, 0, func(y version) (bool, error) {
		if !want(y.Version) {
			return true, nil
		}
		out = y.Version
		return false, nil
	})
	return out, err
}

// line is what the entry that is at p now was at r: at p, where it was moved from since,
// or where it had been moved to then and a rollback has brought it back from.
func (v *View) line(f id.Folder, p id.Path, r id.Revision) (Version, error) {
	head, err := v.head(f)
	if err != nil {
		return Version{}, err
	}
	from := p
	for range maxHops {
		x, _, err := v.d.at(f, p, r)
		if err != nil || x.live() {
			return x.Version, err
		}
		came, err := v.newestOf(f, p, head, func(y Version) bool { return y.Entry.Kind != Absent && y.From != "" })
		if err != nil {
			return Version{}, err
		}
		if came.From == "" || came.Revision <= r {
			break
		}
		p, head = came.From, came.Revision-1
	}
	x, _, err := v.d.at(f, from, r)
	for i := 0; err == nil && !x.live() && x.To != "" && i < maxHops; i++ {
		x, _, err = v.d.at(f, x.To, r)
	}
	return x.Version, err
}
