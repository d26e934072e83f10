package peers

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// givers remembers when each member last gave an object of one folder. It holds at most
// one time a member.
type givers struct {
	mu   sync.Mutex
	last map[id.Node]time.Time
}

// gave notes that an object came from a member, and was what it should be.
func (g *givers) gave(n id.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last == nil {
		g.last = make(map[id.Node]time.Time)
	}
	g.last[n] = time.Now()
}

// Sources lists the members that gave objects of the folder in the time before now, sorted
// by their IDs.
func (p *Peers) Sources(f id.Folder, within time.Duration) (out []id.Node) {
	p.mu.Lock()
	c := p.traffic[f]
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	c.givers.mu.Lock()
	defer c.givers.mu.Unlock()
	for n, at := range c.givers.last {
		if time.Since(at) < within {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b id.Node) int { return bytes.Compare(a[:], b[:]) })
	return out
}
