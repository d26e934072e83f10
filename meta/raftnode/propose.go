package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// maxInFlight bounds the proposals that wait for their commit at one time; more
	// wait for a slot.
	maxInFlight = 128
	// partsInFlight bounds the parts of one proposal that wait at one time: 4 MiB.
	partsInFlight = 16
	// largeBody is the size in bytes from which bodies are checked one at a time.
	largeBody = 1 << 20
	// enqueueTimeout bounds how long raft may take to accept an entry.
	enqueueTimeout = 10 * time.Second
	// drainTimeout bounds how long a node that closes waits for its proposals.
	drainTimeout = time.Second
)

// ErrUnknown is returned by Propose when it cannot tell what became of the proposal:
// the leadership was lost meanwhile, ctx ended, or not all parts came through. Ask
// again with the same sequence: it is applied once.
var ErrUnknown = errors.New("outcome of the proposal is unknown")

// NotLeaderError is returned by what only the leader can do. Nothing was appended.
type NotLeaderError struct {
	// Leader is the leader as far as this node knows; zero if there is none.
	Leader id.Node
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if e.Leader.IsZero() {
		return "not the leader, and no leader is known"
	}
	return "not the leader: " + e.Leader.Short() + " is"
}

// Propose appends a proposal to the log and returns its outcome after this node has
// applied it. Only the leader can: others get a *NotLeaderError. An outcome of kind
// Refused is not an error; its Reason is the state machine's, as the author needs it. Concurrent calls share log writes; those of one lane are
// appended in the order in which they are accepted here, so a caller that wants
// several of a lane in flight starts them one after the other. Other errors:
// ErrUnknown, ErrStopped.
func (n *Node) Propose(ctx context.Context, env meta.Envelope, body meta.Body) (meta.Outcome, error) {
	if !n.IsLeader() {
		return meta.Outcome{}, n.notLeader()
	}
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return meta.Outcome{}, fmt.Errorf("propose: %w", context.Cause(ctx))
	case <-n.stop:
		return meta.Outcome{}, ErrStopped
	}
	entries, err := n.entries(ctx, env, body)
	if err != nil {
		return meta.Outcome{}, fmt.Errorf("propose: %w", err)
	}
	var index uint64
	for i, data := range entries {
		wait := i == len(entries)-1 || i%partsInFlight == partsInFlight-1
		if index, err = n.append(ctx, data, wait); err != nil {
			// With an earlier part appended the command is still incomplete, so it has no
			// effect; the answer is known unless it was the last part.
			return meta.Outcome{}, fmt.Errorf("propose: %w", err)
		}
	}
	return n.outcome(env, body, index)
}

// entries checks a body and cuts it into entries. Checking decodes it, which takes
// many times its size in memory, so large ones go one at a time.
func (n *Node) entries(ctx context.Context, env meta.Envelope, body meta.Body) ([][]byte, error) {
	if body.Size() > largeBody {
		select {
		case n.large <- struct{}{}:
			defer func() { <-n.large }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-n.stop:
			return nil, ErrStopped
		}
	}
	return n.m.LogEntries(env, body, time.Now())
}

// append puts one entry into the log; with wait it returns its index after its
// apply, else 0 at once.
func (n *Node) append(ctx context.Context, data []byte, wait bool) (uint64, error) {
	if !n.enter() {
		return 0, ErrStopped
	}
	timeout := enqueueTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	future := n.raft.ApplyLog(raft.Log{Data: data}, timeout)
	done := make(chan error, 1)
	go func() {
		defer n.inflight.Done()
		err := future.Error()
		if err == nil {
			if failed, ok := future.Response().(error); ok {
				err = fmt.Errorf("%w: %w", ErrUnknown, failed)
			}
		}
		done <- err
	}()
	if !wait {
		return 0, nil
	}
	select {
	case err := <-done:
		if err != nil {
			return 0, n.explain(err)
		}
		return future.Index(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	case <-n.stopped:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ErrStopped)
	}
}

// explain turns raft's errors into this package's.
func (n *Node) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return n.notLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("raft is busy: %w", err)
	case errors.Is(err, ErrUnknown):
		return err
	}
	// ErrLeadershipLost, ErrAbortedByRestore, ErrRaftShutdown, a failed log write:
	// the entry may be committed or not.
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

func (n *Node) notLeader() error { return &NotLeaderError{Leader: n.Leader()} }

// outcome reads what became of a proposal whose entries are applied, the last one
// at index. A refusal of the envelope has no place in the lane: only the machine's
// result tells it.
func (n *Node) outcome(env meta.Envelope, body meta.Body, index uint64) (meta.Outcome, error) {
	if result, ended := n.m.Result(index); ended {
		return result, nil
	}
	if env.Sequence != 0 {
		out, stored, err := n.m.Outcome(env)
		if err != nil {
			return meta.Outcome{}, fmt.Errorf("read outcome: %w", err)
		}
		if stored && out.Entry == body.Hash {
			return out, nil
		}
	}
	return meta.Outcome{}, fmt.Errorf("%w: log entry %d ended no proposal that is remembered", ErrUnknown, index)
}

// Barrier returns when everything that was committed before the call is applied
// here: a read after it is linearizable. Leader only.
func (n *Node) Barrier(ctx context.Context) error {
	if !n.IsLeader() {
		return n.notLeader()
	}
	if _, err := n.append(ctx, nil, true); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	return nil
}

// enter registers an entry in flight; false after close has begun.
func (n *Node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse {
		return false
	}
	n.inflight.Add(1)
	return true
}

// drain refuses new entries and waits a moment for those in flight: what raft has
// committed but not yet applied when it ends is never answered.
func (n *Node) drain() {
	n.mu.Lock()
	n.refuse = true
	n.mu.Unlock()
	done := make(chan struct{})
	go func() {
		n.inflight.Wait()
		close(done)
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
