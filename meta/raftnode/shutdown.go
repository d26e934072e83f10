package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// pollState is how often a state of raft's is looked at that it does not announce.
const pollState = 2 * time.Millisecond

// Shutdown leaves cleanly and stops: a leader hands over to an online voter; if the
// voters left online would be no quorum, the voters first shrink to an odd number
// of online ones, one committed change at a time. What cannot be done before ctx
// ends is left undone: stopping is always safe. The error tells what was not done.
func (n *Node) Shutdown(ctx context.Context) error {
	n.leaving.Store(true)
	err := n.lastChange(ctx)
	if err == nil {
		err = n.depart(ctx)
	}
	if err != nil {
		err = fmt.Errorf("leave the cluster: %w", err)
	}
	return errors.Join(err, n.Close())
}

// lastChange waits for the membership change that is under way; the manager, which
// sees that this node is leaving, makes no other.
func (n *Node) lastChange(ctx context.Context) error {
	select {
	case n.change <- struct{}{}:
		<-n.change
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a change of the membership is under way: %w", context.Cause(ctx))
	}
}

func (n *Node) depart(ctx context.Context) error {
	select {
	case <-n.stop:
		return nil
	case <-n.fatal:
		return nil
	default:
	}
	var voters, others []id.Node
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, nodeOf(string(s.ID)))
		}
	}
	if !slices.Contains(voters, n.self) {
		return nil
	}
	for _, node := range voters {
		if node != n.self {
			others = append(others, node)
		}
	}
	answers := n.answering(ctx, others)
	d := depart(n.self, voters, func(node id.Node) bool { return answers[node] })
	switch {
	case d.Heir.IsZero():
		return nil
	case len(d.Demote) == 0:
		return n.handOver(ctx, voters)
	}
	if err := n.lead(ctx); err != nil {
		return err
	}
	for _, node := range d.Demote {
		err := n.execute(ctx, step{stepDemote, node})
		// Raft may answer the last one, which takes the leader's own vote, with the
		// loss of the leadership that it causes.
		if err != nil && !(node == n.self && errors.Is(err, raft.ErrLeadershipLost)) {
			return fmt.Errorf("take the vote of %s: %w", node.Short(), err)
		}
		n.log.Info("membership changed", "step", stepDemote.String(), "node", node)
	}
	return n.callUp(d.Heir)
}

// handOver transfers the leadership to an online voter, if this node has it.
func (n *Node) handOver(ctx context.Context, voters []id.Node) error {
	var errs []error
	for _, node := range voters {
		if !n.IsLeader() {
			return nil
		}
		if node == n.self || !n.o.Online(node) {
			continue
		}
		err := n.execute(ctx, step{stepTransfer, node})
		if err == nil || !n.IsLeader() {
			n.log.Info("leadership handed over", "node", node)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lead makes this voter the leader, for only the leader can change the membership:
// it hands itself the message with which a leader hands over. The others vote for
// it if its log is as new as theirs.
func (n *Node) lead(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*n.t.Heartbeat, errors.New("not elected in time"))
	defer cancel()
	tick := time.NewTicker(pollState)
	defer tick.Stop()
	for asked := false; !n.IsLeader(); {
		if !asked {
			if err := n.trans.inject(ctx, n.timeoutNow()); err != nil {
				return fmt.Errorf("stand for election: %w", err)
			}
			asked = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stand for election: %w", context.Cause(ctx))
		}
	}
	return nil
}

// callUp tells the voter that stays to stand now; it would only after a heartbeat
// timeout, for nobody leads any more.
func (n *Node) callUp(heir id.Node) error {
	var resp raft.TimeoutNowResponse
	err := n.trans.TimeoutNow(serverID(heir), serverAddress(heir), n.timeoutNow(), &resp)
	if err != nil {
		// It stands by itself a little later.
		n.log.Warn("call the next leader up", "node", heir, "error", err)
	}
	return nil
}

func (n *Node) timeoutNow() *raft.TimeoutNowRequest {
	return &raft.TimeoutNowRequest{RPCHeader: n.header()}
}

// header is that of the node's own requests.
func (n *Node) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(serverID(n.self)),
		Addr:            n.trans.EncodePeer(serverID(n.self), serverAddress(n.self)),
	}
}

// TransferLeadership hands the leadership to node. Leader only.
func (n *Node) TransferLeadership(ctx context.Context, node id.Node) error {
	if !n.IsLeader() {
		return n.notLeader()
	}
	if err := n.execute(ctx, step{stepTransfer, node}); err != nil {
		return fmt.Errorf("transfer leadership to %s: %w", node.Short(), err)
	}
	return nil
}
