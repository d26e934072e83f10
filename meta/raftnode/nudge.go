package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// nudging decides whether followers have to be told of commits by an entry of its
// own. Not safe for concurrent use.
type nudging struct {
	// wanted is the highest index applied that followers wait for; told is the
	// applied index that the newest empty entry of ours carries, or a later one.
	wanted, told uint64
}

// applied notes what was applied, and reports whether followers may have to be told.
func (n *nudging) applied(wanted uint64) bool {
	n.wanted = max(n.wanted, wanted)
	return n.wanted > n.told
}

// due reports whether an empty entry must go out now. While something is in flight it
// is not: when that is applied the question comes again. What matters is not that
// some entry follows the wanted one, for it may have been sent before the wanted one
// was committed: it is what the last entry sent could know.
func (n *nudging) due(last, applied uint64) bool {
	if n.wanted <= n.told || last != applied {
		return false
	}
	n.told = applied
	return true
}

// onApplied is called after each batch of apply. wanted is the last index in it that
// followers wait for, 0 if there is none: empty entries need no other behind them,
// so the nudge ends with itself.
func (n *Node) onApplied(wanted uint64) {
	n.mu.Lock()
	close(n.moved)
	n.moved = make(chan struct{})
	n.mu.Unlock()
	for {
		select {
		case n.nudges <- wanted:
			return
		default:
		}
		select {
		case older := <-n.nudges:
			wanted = max(wanted, older)
		default:
		}
	}
}

// nudge tells followers of commits at once. A follower hears of a commit with the
// leader's next message only; when nothing has been in flight behind a commit for
// Timings.Nudge, the leader appends an empty entry, which carries the commit index.
func (n *Node) nudge(ctx context.Context) error {
	if n.t.Nudge < 0 {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(never)
	defer timer.Stop()
	var state nudging
	for {
		select {
		case wanted := <-n.nudges:
			if state.applied(wanted) && n.IsLeader() {
				timer.Reset(n.t.Nudge)
			}
		case <-timer.C:
			if n.IsLeader() && n.hasFollowers() && state.due(n.raft.LastIndex(), n.raft.AppliedIndex()) {
				n.appendEmpty()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// appendEmpty appends an empty entry without waiting for its commit.
func (n *Node) appendEmpty() {
	if !n.enter() {
		return
	}
	future := n.raft.ApplyLog(raft.Log{}, enqueueTimeout)
	go func() {
		defer n.inflight.Done()
		// It may be refused with the leadership: then there is nothing to tell.
		_ = future.Error()
	}()
}

func (n *Node) hasFollowers() bool {
	return len(n.raft.GetConfiguration().Configuration().Servers) > 1
}
