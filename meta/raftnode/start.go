package raftnode

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/meta"
)

var (
	// ErrStateBehind is returned by Open when the store has applied more than both
	// the log and the newest snapshot hold: raft's state is lost, old or damaged. The
	// node must not vote with it; it re-joins under a new identity, with its files
	// and its queue.
	ErrStateBehind = errors.New("raft state is older than the metadata store")
	// ErrLogGap is returned by Open when entries between the store and the log are
	// missing and no usable snapshot covers them. The answer is the same.
	ErrLogGap = errors.New("raft log does not reach back to the metadata store")
)

var keyCurrentTerm = []byte("CurrentTerm")

// bootstrap writes the first configuration, with this node as the only voter, if
// there is nothing yet. A crash in its middle leaves a term without a log: it is
// done again then.
func (n *Node) bootstrap() error {
	last, err := n.disk.LastIndex()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if last > 0 || n.snaps.newest() > 0 || n.m.AppliedIndex() > 0 {
		return nil
	}
	if term, err := n.disk.GetUint64(keyCurrentTerm); err == nil && term > 1 {
		return fmt.Errorf("bootstrap: %w: term %d without a log", ErrStateBehind, term)
	}
	if err := n.disk.SetUint64(keyCurrentTerm, 1); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	first := &raft.Log{
		Index: 1, Term: 1, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter, ID: serverID(n.self), Address: serverAddress(n.self),
		}}}),
	}
	if err := n.disk.StoreLog(first); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// reconcileState makes store, log and snapshots fit before raft starts:
//
//   - the newest snapshot is ahead of the store (a crash between receiving it and
//     restoring it): restore it, else the entries between would be a silent hole;
//   - the log ends before the newest snapshot (a crash between restoring it and
//     removing the log): remove it, else raft appends behind a gap;
//   - the store is ahead of log and snapshots: refuse, raft's state is not ours;
//   - the log begins after the store ends: refuse.
func (n *Node) reconcileState() error {
	for n.snaps.newest() > n.m.AppliedIndex() {
		metas, err := n.snaps.List()
		if err != nil {
			return err
		}
		snap, err := n.snaps.verified(metas[0].ID)
		if errors.Is(err, ErrDamaged) {
			n.snaps.drop(metas[0].ID) // the next one may do
			continue
		}
		if err != nil {
			return err
		}
		if err := n.fsm.restore(snap); err != nil {
			return err
		}
	}
	first, err := n.disk.FirstIndex()
	if err != nil {
		return err
	}
	last, err := n.disk.LastIndex()
	if err != nil {
		return err
	}
	applied, newest := n.m.AppliedIndex(), n.snaps.newest()
	if last > 0 && last < newest && newest <= applied {
		if err := n.disk.DeleteRange(first, last); err != nil {
			return fmt.Errorf("remove the log before the newest snapshot: %w", err)
		}
		first, last = 0, 0
	}
	if applied > max(last, newest) {
		return fmt.Errorf("%w: applied %d, log ends at %d, newest snapshot is of %d", ErrStateBehind, applied, last, newest)
	}
	if first > applied+1 {
		return fmt.Errorf("%w: applied %d, log begins at %d", ErrLogGap, applied, first)
	}
	// raft replays from the newest snapshot on; without the entries between it and
	// the log's first one it would stop in the middle.
	if first > newest+1 {
		return fmt.Errorf("%w: newest snapshot is of %d, log begins at %d", ErrLogGap, newest, first)
	}
	n.fsm.flushedTo(applied)
	return n.replayCommitted(last)
}

// replayBatch bounds the entries of one replayed batch: at 256 KiB each, 8 MiB.
const replayBatch = 32

// replayCommitted applies, before raft runs, the entries that this node knew to be
// committed when it stopped. The store lost what was not flushed; raft would hand
// them out again only when a leader says that they are committed, and until then
// a node that is cut off would know an older state than its disk was brought to.
// A committed entry is never replaced in the log, so this is safe.
func (n *Node) replayCommitted(last uint64) error {
	to := min(n.o.Committed, last)
	for next := n.m.AppliedIndex() + 1; next <= to; {
		var batch []meta.IndexedEntry
		for ; next <= to && len(batch) < replayBatch; next++ {
			var l raft.Log
			if err := n.disk.GetLog(next, &l); err != nil {
				return fmt.Errorf("replay log entry %d: %w", next, err)
			}
			e := meta.IndexedEntry{Index: next}
			if l.Type == raft.LogCommand {
				e.Data = l.Data
			}
			batch = append(batch, e)
		}
		if err := n.m.ApplyBatch(batch); err != nil {
			return fmt.Errorf("replay log entries up to %d: %w", next-1, err)
		}
	}
	return nil
}
