package meta

import "github.com/lockstep-sync/lockstep/internal/id"

// undoing is the rollback under way: what is within under becomes what it was at target.
type undoing struct {
	under  id.Path // "" is everything
	target id.Revision
}

// undone is where the rollback under way brings the entry that is at p at the head:
// where it was at the target. It is "" where it was nowhere, or is not brought there.
func (c *commit) undone(p id.Path) (id.Path, error) {
	from, _, err := c.sameEntry(p, c.head.Revision, c.undo.target)
	if err != nil || from == p || !from.Within(c.undo.under) {
		return "", err
	}
	return from, nil
}
