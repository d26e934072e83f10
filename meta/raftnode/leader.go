package raftnode

import "github.com/hashicorp/raft"

// WatchLeader returns a channel that yields after the leader has changed, or got lost;
// changes that come close together may yield once. cancel ends it.
func (n *Node) WatchLeader() (ch <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	// The filter runs in raft's own goroutines and must not block; nothing is ever sent to
	// the observer's channel, for it always says no.
	o := raft.NewObserver(nil, false, func(x *raft.Observation) bool {
		if _, is := x.Data.(raft.LeaderObservation); is {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		return false
	})
	n.raft.RegisterObserver(o)
	return c, func() { n.raft.DeregisterObserver(o) }
}
