package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// nudging decides whether followers have to be told of commits by an entry of its
// own. Not safe for concurrent use.
type nudging struct {
	// wanted is the highest index applied that followers wait for; told is the
	// applied index that our newest message carries, or a later one.
	wanted, told uint64
}

// applied notes what was applied, and reports whether followers may have to be told.
func (n *nudging) applied(wanted uint64) bool {
	n.wanted = max(n.wanted, wanted)
	return n.wanted > n.told
}

// due reports whether followers must be told now. While something is in flight it
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
// Timings.Nudge, the leader sends one.
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
				n.tell()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// tell sends each follower what raft itself sends one that has heard nothing for
// Timings.Commit: a request without entries, which carries the commit index. Where that
// does not do, an empty entry goes out, which has to be synced on every node.
func (n *Node) tell() {
	req, peers := n.telling()
	if req == nil {
		n.appendEmpty()
		return
	}
	var once sync.Once
	for _, p := range peers {
		go func() {
			defer n.told.Done()
			var resp raft.AppendEntriesResponse
			err := n.trans.AppendEntries(serverID(p), serverAddress(p), req, &resp)
			n.mu.Lock()
			delete(n.asking, p)
			n.mu.Unlock()
			if err != nil || !resp.Success {
				once.Do(n.appendEmpty)
			}
		}()
	}
}

// telling returns the request, and whom to send it, each counted in told; none where
// somebody is offline or has not answered the last one yet.
//
// Invariant: it is of a term in which this node was elected, and of an entry of that term
// which this node has applied. The entry is read first: whoever has one of a term is in
// that term or a later one, so that a leader whose term is the entry's leads in it.
func (n *Node) telling() (*raft.AppendEntriesRequest, []id.Node) {
	var entry raft.Log
	index := n.raft.AppliedIndex()
	if err := n.logs.GetLog(index, &entry); err != nil || !n.IsLeader() || n.raft.CurrentTerm() != entry.Term {
		return nil, nil
	}
	var peers []id.Node
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if p := nodeOf(string(s.ID)); p != n.self {
			if !n.o.Online(p) {
				return nil, nil
			}
			peers = append(peers, p)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse { // it ends, and waits for those that are counted
		return nil, nil
	}
	for _, p := range peers {
		if n.asking[p] {
			return nil, nil
		}
	}
	for _, p := range peers {
		n.asking[p] = true
	}
	n.told.Add(len(peers))
	h := n.header()
	return &raft.AppendEntriesRequest{
		RPCHeader: h, Term: entry.Term, PrevLogEntry: index, PrevLogTerm: entry.Term, LeaderCommitIndex: index,
	}, peers
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
