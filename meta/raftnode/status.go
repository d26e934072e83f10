package raftnode

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Server is one member of the Raft group.
type Server struct {
	Node   id.Node
	Voter  bool // else a learner
	Online bool // as far as this node knows
}

// Status is what a node knows of its Raft group.
type Status struct {
	State         string // "leader", "follower", "candidate", "stopped"
	Term          uint64
	Leader        id.Node // zero: none known
	LastIndex     uint64  // of the log
	CommitIndex   uint64
	AppliedIndex  uint64
	SnapshotIndex uint64 // of the newest snapshot, 0: none
	Servers       []Server
	// HasQuorum: there is a leader, so commits go on.
	HasQuorum bool
	// Missing lists the offline voters while there is no quorum: commits need them.
	Missing []id.Node
}

// Leader returns the leader, zero if none is known.
func (n *Node) Leader() id.Node {
	_, server := n.raft.LeaderWithID()
	return nodeOf(string(server))
}

// IsLeader reports whether this node leads, as far as it knows: a leader that was
// cut off finds out after a heartbeat timeout. What it appends meanwhile is not
// committed.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Status returns a snapshot of the group's state.
func (n *Node) Status() Status {
	s := Status{
		State:         map[raft.RaftState]string{raft.Leader: "leader", raft.Candidate: "candidate", raft.Shutdown: "stopped"}[n.raft.State()],
		Term:          n.raft.CurrentTerm(),
		Leader:        n.Leader(),
		LastIndex:     n.raft.LastIndex(),
		CommitIndex:   n.raft.CommitIndex(),
		AppliedIndex:  n.m.AppliedIndex(),
		SnapshotIndex: n.snaps.newest(),
	}
	if s.State == "" {
		s.State = "follower"
	}
	s.HasQuorum = !s.Leader.IsZero()
	for _, x := range n.raft.GetConfiguration().Configuration().Servers {
		node := nodeOf(string(x.ID))
		one := Server{Node: node, Voter: x.Suffrage == raft.Voter, Online: node == n.self || n.o.Online(node)}
		s.Servers = append(s.Servers, one)
		if !s.HasQuorum && one.Voter && !one.Online {
			s.Missing = append(s.Missing, node)
		}
	}
	return s
}

// AppliedIndex returns the last log index that the state machine has applied here.
func (n *Node) AppliedIndex() uint64 { return n.m.AppliedIndex() }

// AppliedReached returns when the state machine has applied index, which must be
// one that a state machine reported as applied.
func (n *Node) AppliedReached(ctx context.Context, index uint64) error {
	for {
		n.mu.Lock()
		moved := n.moved
		n.mu.Unlock()
		if n.m.AppliedIndex() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for applied index %d (at %d): %w", index, n.m.AppliedIndex(), context.Cause(ctx))
		case <-n.stop:
			return ErrStopped
		case <-n.fatal:
			return n.failure
		}
	}
}
