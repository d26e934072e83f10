package materialize

import (
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Source is where an item's content comes from.
type Source struct {
	// Ino is the inode that will be at the item's path; 0 where there will be none,
	// or nothing could be staged.
	Ino uint64
	// From is the path at which that inode is now, empty for a stage and for what
	// stays where it is.
	From id.Path
}

// Sources returns the source of each item, in the order of the items.
func (s *Staged) Sources() []Source {
	p := s.plan
	out := make([]Source, len(p.items))
	for i := range p.items {
		it, r := &p.items[i], &p.roles[i]
		switch {
		case it.Want.Kind == meta.Absent:
		case r.stage != meta.Absent:
			out[i].Ino = s.at[i].stat.Ino
		case p.takesFrom(i):
			out[i] = Source{it.ExpectFrom.Ino, it.MoveFrom}
		case r.carried:
			out[i] = p.carriedFrom(i)
		default:
			out[i].Ino = it.Expect.Ino
		}
	}
	return out
}

// takesFrom reports that item i's MoveFrom is taken by it, itself and not with a
// directory above.
func (p *plan) takesFrom(i int) bool {
	return p.takes(i) && !p.roles[i].carried
}

// takes reports that item i's MoveFrom is taken by it.
func (p *plan) takes(i int) bool {
	c, ok := p.claim[p.items[i].MoveFrom]
	return ok && c == i
}

// carriedFrom is the source of what a directory above brings along.
func (p *plan) carriedFrom(i int) Source {
	l := &p.items[p.roles[i].leader]
	from := p.items[i].Path.Rebase(l.Path, l.MoveFrom)
	return Source{p.items[p.byPath[from]].Expect.Ino, from}
}
