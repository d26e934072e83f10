package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// stepTimeout bounds one change of the membership.
	stepTimeout = 10 * time.Second
	// caughtUp is how many entries a node may lack to be given a vote: commits wait
	// for a voter.
	caughtUp = 1000
	// answerTime bounds the question whether members that seem to be online are.
	answerTime = 2 * time.Second
)

// manage keeps the raft membership in line with the metadata while this node leads.
func (n *Node) manage(ctx context.Context) error {
	changed, cancel := n.m.Watch()
	defer cancel()
	tick := time.NewTicker(n.t.Manage)
	defer tick.Stop()
	var c census
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		case <-n.raft.LeaderCh():
		}
		if !n.IsLeader() {
			c = census{}
			continue
		}
		if !c.caughtUp {
			// Entries of earlier terms may name members that this state machine has not
			// seen: not before they are applied can anybody be called removed.
			if err := n.Barrier(ctx); err != nil {
				continue
			}
			c = census{caughtUp: true, since: map[id.Node]time.Time{}}
		}
		for n.manageOnce(ctx, &c) {
		}
	}
}

// census is what the leader remembers between two looks.
type census struct {
	caughtUp bool
	// since tells since when each member has been online without a break.
	since map[id.Node]time.Time
}

// manageOnce makes the next change of the plan. It reports whether there may be
// more to do at once.
func (n *Node) manageOnce(ctx context.Context, c *census) bool {
	select {
	case n.change <- struct{}{}:
		defer func() { <-n.change }()
	case <-ctx.Done():
		return false
	}
	if n.leaving.Load() || ctx.Err() != nil || !n.IsLeader() {
		return false
	}
	s, err := n.situation(c)
	if err != nil {
		n.log.Error("look at the membership", "error", err)
		return false
	}
	next := plan(s)
	if s.changesVotes(next) {
		n.ask(ctx, c, &s)
		next = plan(s)
	}
	if next.Kind == stepNone {
		return false
	}
	if err := n.execute(ctx, next); err != nil {
		if ctx.Err() == nil && n.IsLeader() {
			n.log.Warn("change the membership", "step", next.Kind.String(), "node", next.Node, "error", err)
		}
		return false
	}
	n.log.Info("membership changed", "step", next.Kind.String(), "node", next.Node)
	return next.Kind != stepTransfer
}

// situation gathers what plan needs.
func (n *Node) situation(c *census) (situation, error) {
	members, err := n.m.Members()
	if err != nil {
		return situation{}, err
	}
	s := situation{
		Self:    n.self,
		Members: members,
		Servers: map[id.Node]bool{},
		Stable:  map[id.Node]bool{},
		Online:  map[id.Node]bool{},
	}
	for _, x := range n.raft.GetConfiguration().Configuration().Servers {
		s.Servers[nodeOf(string(x.ID))] = x.Suffrage == raft.Voter
	}
	now := time.Now()
	for node := range s.Servers {
		if node != n.self && !n.o.Online(node) {
			delete(c.since, node)
			continue
		}
		s.Online[node] = true
		if _, ok := c.since[node]; !ok {
			c.since[node] = now
		}
		s.Stable[node] = node == n.self || now.Sub(c.since[node]) >= n.t.Stable && n.caughtUp(node)
	}
	return s, nil
}

// ask drops from s those who do not answer, whatever was heard of them before: a step
// that gives or takes a vote is committed by the voters that there are after it, so
// one that counts on somebody who was killed a second ago would never be, and nothing
// after it.
func (n *Node) ask(ctx context.Context, c *census, s *situation) {
	var others []id.Node
	for node := range s.Online {
		if node != n.self {
			others = append(others, node)
		}
	}
	answers := n.answering(ctx, others)
	for _, node := range others {
		if !answers[node] {
			delete(s.Online, node)
			delete(s.Stable, node)
			delete(c.since, node)
		}
	}
}

// answering returns those of the nodes that answer now, all asked at once.
func (n *Node) answering(ctx context.Context, nodes []id.Node) map[id.Node]bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answers := make([]bool, len(nodes))
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() { answers[i] = n.o.Online(node) && (n.o.Answers == nil || n.o.Answers(ctx, node)) })
	}
	wg.Wait()
	out := make(map[id.Node]bool)
	for i, node := range nodes {
		out[node] = answers[i]
	}
	return out
}

func (n *Node) caughtUp(node id.Node) bool {
	return n.o.Applied == nil || n.o.Applied(node)+caughtUp >= n.m.AppliedIndex()
}

// execute makes one change and waits until it is committed.
func (n *Node) execute(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, errors.New("not committed in time"))
	defer cancel()
	sid, addr := serverID(s.Node), serverAddress(s.Node)
	var f raft.Future
	switch s.Kind {
	case stepAdd:
		f = n.raft.AddNonvoter(sid, addr, 0, stepTimeout)
	case stepRemove:
		f = n.raft.RemoveServer(sid, 0, stepTimeout)
	case stepPromote:
		f = n.raft.AddVoter(sid, addr, 0, stepTimeout)
	case stepDemote:
		f = n.raft.DemoteVoter(sid, 0, stepTimeout)
	case stepTransfer:
		f = n.raft.LeadershipTransferToServer(sid, addr)
	default:
		return fmt.Errorf("unknown step %d", s.Kind)
	}
	return n.await(ctx, f)
}
