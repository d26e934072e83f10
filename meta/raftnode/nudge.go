package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// onApplied is called after each batch of apply. If its last entry is one that
// followers wait for, the nudge is armed for it.
func (n *Node) onApplied(last uint64, wanted bool) {
	n.mu.Lock()
	close(n.moved)
	n.moved = make(chan struct{})
	n.mu.Unlock()
	if !wanted {
		return // an empty entry needs no other behind it: the nudge ends with itself
	}
	for {
		select {
		case n.nudges <- last:
			return
		default:
		}
		select {
		case <-n.nudges: // an older index
		default:
		}
	}
}

// nudge tells followers of commits at once. A follower hears of a commit with the
// leader's next message only; when a commit has been the last thing in flight for
// Timings.Nudge, the leader appends an empty entry, which carries the commit index.
func (n *Node) nudge(ctx context.Context) error {
	if n.t.Nudge < 0 {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(never)
	defer timer.Stop()
	var index uint64
	for {
		select {
		case index = <-n.nudges:
			if n.IsLeader() {
				timer.Reset(n.t.Nudge)
			}
		case <-timer.C:
			// A later entry carries the commit index too, or will be nudged itself.
			if n.IsLeader() && n.raft.LastIndex() == index && n.hasFollowers() {
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
