package node

import (
	"context"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// quietPoll is the longest that a status request waits for a change: what it shows of
	// ages ("last seen 2 min ago") grows old meanwhile. Shorter than a request's timeout.
	quietPoll = 20 * time.Second
	// busyPoll is that while a folder is at work: bytes that come and files that are
	// found are no changes that anybody is told of.
	busyPoll = time.Second
)

// changes numbers the changes of a node's state, for who waits for the next one.
type changes struct {
	mu  sync.Mutex // guards the rest
	n   uint64
	now chan struct{} // closed and replaced at each change
	// leaderless is since when no leader is known, after there was one.
	leaderless time.Time

	kick chan struct{} // asks the observer to look; capacity 1
}

func newChanges() *changes {
	return &changes{n: 1, now: make(chan struct{}), kick: make(chan struct{}, 1)}
}

// look says that something may have changed. It never waits.
func (c *changes) look() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *changes) bump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	close(c.now)
	c.now = make(chan struct{})
}

// lost notes that the leader was lost.
func (c *changes) lost(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaderless = now
}

func (c *changes) lostAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaderless
}

// newest returns the newest change's number, and what is closed at the next.
func (c *changes) newest() (uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, c.now
}

// wait returns when the newest change is another than n, but after d at the latest.
func (c *changes) wait(ctx context.Context, n uint64, d time.Duration) error {
	now, next := c.newest()
	if now != n {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-next:
	case <-t.C:
	}
	return nil
}

// awaitChange holds back a status request until there is something new to tell.
func (s service) awaitChange(ctx context.Context, after uint64) error {
	if after == 0 {
		return nil
	}
	busy, err := s.busy()
	if err != nil {
		return err
	}
	if busy {
		return s.n.changes.wait(ctx, after, busyPoll)
	}
	return s.n.changes.wait(ctx, after, quietPoll)
}

// busy reports whether a folder is at work.
func (s service) busy() (bool, error) {
	for _, e := range s.n.folders.all() {
		in, err := e.Info()
		if err != nil {
			return false, err
		}
		if st := state(in, true); st == control.StateScanning || st == control.StateSyncing {
			return true, nil
		}
	}
	return false, nil
}

// lags remembers since when a member's disk is behind without coming on.
type lags struct {
	mu   sync.Mutex // guards at
	at   map[lagOf]lag
	time func() time.Time
}

type lagOf struct {
	folder id.Folder
	node   string
}

type lag struct {
	applied uint64
	since   time.Time
}

func newLags() *lags { return &lags{at: make(map[lagOf]lag), time: time.Now} }

// note takes in how far the members are with a folder whose newest revision is head.
// One that is offline or paused has its reason, and one that comes on is at work.
func (l *lags) note(f id.Folder, head uint64, nodes []control.FolderNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range nodes {
		k := lagOf{f, n.Name}
		old, behind := l.at[k]
		switch {
		case n.AppliedRevision >= head || !n.Online || n.Paused:
			delete(l.at, k)
		case !behind || old.applied != n.AppliedRevision:
			l.at[k] = lag{n.AppliedRevision, l.time()}
		}
	}
}

// tell fills in since when each member is behind.
func (l *lags) tell(f id.Folder, nodes []control.FolderNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range nodes {
		if x, behind := l.at[lagOf{f, n.Name}]; behind && x.applied == n.AppliedRevision && n.Online && !n.Paused {
			nodes[i].BehindSince = &x.since
		}
	}
}
