package peers

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// A member whose requests fail is not pulled from for firstBackoff, doubling to
	// maxBackoff; a wrong object counts as wrongBackoff at once.
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
	wrongBackoff = 30 * time.Second
	// maxCandidates is what the bits of one pull's tried sets can name.
	maxCandidates = 64
)

// link is what this node knows of one other member. Peers.mu guards the fields
// that are not said to be otherwise; the membership is not asked under it.
type link struct {
	node    id.Node
	streams *semaphore.Weighted // requests for objects; its own lock
	flying  atomic.Int32        // those in progress or waiting for a stream
	rate    atomic.Int64        // bytes a second of one request, of late; 0: not known
	tardy   atomic.Int64        // until then (Unix ns) no want is left to it
	in      inflow              // how fast all its objects come; its own lock

	seen    time.Time // the last sign of life
	asked   time.Time // the last heartbeat that it sent of itself
	last    Heartbeat
	leaving bool
	online  bool  // as last announced to the watchers
	err     error // why the last heartbeat failed, nil if it did not
	clock   Clock

	fails   int
	until   time.Time // not pulled from before this
	retry   *time.Timer
	healthy atomic.Bool // no backoff: spares the lock
}

func newLink(node id.Node) *link {
	l := &link{node: node, streams: semaphore.NewWeighted(streamsPerMember)}
	l.healthy.Store(true)
	return l
}

// alive is whether a sign of life is recent.
func (p *Peers) alive(l *link, now time.Time) bool {
	return !l.leaving && !l.seen.IsZero() && now.Sub(l.seen) < time.Duration(missedBeats*float64(p.every))
}

// Online reports whether node gave a sign of life within the last three and a
// half heartbeat intervals and has not said that it leaves. This node itself is
// always online.
func (p *Peers) Online(node id.Node) bool {
	if node == p.transport.Self() {
		return true
	}
	if !p.transport.IsMember(node) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[node]
	return l != nil && p.alive(l, time.Now())
}

// LastSeen returns when node last gave a sign of life, zero if it never did since
// the start.
func (p *Peers) LastSeen(node id.Node) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[node]; l != nil {
		return l.seen
	}
	return time.Time{}
}

// Last returns node's last heartbeat; false if there was none since the start.
func (p *Peers) Last(node id.Node) (Heartbeat, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[node]
	if l == nil || l.last.Node.IsZero() {
		return Heartbeat{}, false
	}
	return l.last, true
}

// LastError returns why the last heartbeat to node failed, nil if it did not. One
// that matches transport.ErrRefused from every member means that this node was
// removed.
func (p *Peers) LastError(node id.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[node]; l != nil {
		return l.err
	}
	return nil
}

// Watch returns a channel that gets a token after any member came online or went
// offline, changed the state of a folder, or may be pulled from again after
// failing. Tokens do not pile up. cancel releases the channel; it is not closed.
func (p *Peers) Watch() (ch <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	p.mu.Lock()
	p.watchers[c] = struct{}{}
	p.mu.Unlock()
	return c, func() {
		p.mu.Lock()
		delete(p.watchers, c)
		p.mu.Unlock()
	}
}

// notify tells the watchers. The caller holds p.mu.
func (p *Peers) notify() {
	for c := range p.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// heard takes in a heartbeat from node, whose own is true if it came by itself
// and not as an answer.
func (p *Peers) heard(node id.Node, h Heartbeat, own bool) {
	h.Node = node
	if !p.transport.IsMember(node) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[node]
	if l == nil {
		l = newLink(node)
		p.links[node] = l
	}
	now := time.Now()
	changed := !slices.Equal(l.last.Folders, h.Folders)
	l.last, l.seen, l.leaving = h, now, h.Leaving
	if own {
		l.asked = now
	}
	if alive := p.alive(l, now); alive != l.online {
		l.online, changed = alive, true
	}
	if changed {
		p.notify()
	}
}

// sync makes the links those of the membership, and announces who went silent.
// It returns all links.
func (p *Peers) sync() []*link {
	nodes := p.list.Nodes()
	self := p.transport.Self()
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	member := make(map[id.Node]bool, len(nodes))
	for _, n := range nodes {
		if n == self {
			continue
		}
		member[n] = true
		if p.links[n] == nil {
			p.links[n] = newLink(n)
		}
	}
	all := make([]*link, 0, len(p.links))
	changed := false
	for n, l := range p.links {
		if !member[n] {
			if l.retry != nil {
				l.retry.Stop()
			}
			delete(p.links, n)
			changed = true
			continue
		}
		if alive := p.alive(l, now); alive != l.online {
			l.online, changed = alive, true
		}
		all = append(all, l)
	}
	if changed {
		p.notify()
	}
	return all
}

// candidates returns whom a pull for a folder may ask: members that are online and
// not backed off. Those come first that prefer names or that have said that the head
// is on their disk.
func (p *Peers) candidates(folder id.Folder, prefer []id.Node) []candidate {
	now := time.Now()
	head := p.backend.Head(folder)
	var out []candidate
	p.mu.Lock()
	for n, l := range p.links {
		if !p.alive(l, now) || now.Before(l.until) {
			continue
		}
		c := candidate{link: l, rank: 1}
		at, syncs := l.last.folder(folder)
		c.behind = syncs && at.Applied < head && (len(prefer) == 0 || n != prefer[0])
		c.rests = c.behind && (at.Paused || at.Halted || at.Lacking > 0)
		if slices.Contains(prefer, n) || syncs && head > 0 && at.Applied >= head {
			c.rank = 0
		}
		out = append(out, c)
	}
	p.mu.Unlock()
	out = slices.DeleteFunc(out, func(c candidate) bool { return !p.transport.IsMember(c.link.node) })
	slices.SortStableFunc(out, func(a, b candidate) int { return a.rank - b.rank })
	return out[:min(len(out), maxCandidates)]
}

// folder is the state of one folder.
func (h Heartbeat) folder(f id.Folder) (FolderState, bool) {
	i := slices.IndexFunc(h.Folders, func(s FolderState) bool { return s.Folder == f })
	if i < 0 {
		return FolderState{}, false
	}
	return h.Folders[i], true
}

// lied backs a member off that has sent wrong bytes.
func (p *Peers) lied(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backOff(l, wrongBackoff)
}

// failed backs a member off. The watchers are told when that is over.
func (p *Peers) failed(l *link, err error) {
	if errors.Is(err, errOvertaken) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := min(firstBackoff<<min(l.fails, 10), maxBackoff)
	l.fails++
	p.backOff(l, wait)
}

// backOff leaves a member alone for a time. mu is held.
func (p *Peers) backOff(l *link, wait time.Duration) {
	l.until = time.Now().Add(wait)
	l.healthy.Store(false)
	if l.retry != nil {
		l.retry.Stop()
	}
	l.retry = time.AfterFunc(wait, func() {
		p.mu.Lock()
		p.notify()
		p.mu.Unlock()
	})
}

// succeeded ends a member's backoff.
func (p *Peers) succeeded(l *link) {
	if l.healthy.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.fails, l.until = 0, time.Time{}
	l.healthy.Store(true)
}

func (p *Peers) stopTimers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.retry != nil {
			l.retry.Stop()
		}
	}
}
