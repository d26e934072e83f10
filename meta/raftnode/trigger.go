package raftnode

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// checkSnapshot is how often the log's age is looked at; its size is told at once.
const checkSnapshot = time.Minute

// takeSnapshots takes a snapshot when the log has grown by Timings.SnapshotBytes
// since the last one, when it is Timings.SnapshotAge old, or when one turned out to
// be damaged.
func (n *Node) takeSnapshots(ctx context.Context) error {
	tick := time.NewTicker(checkSnapshot)
	defer tick.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return nil
		case <-n.logs.full:
		case <-n.snaps.wanted:
			force = true
		case <-tick.C:
		}
		bytes, entries, since := n.logs.sinceSnapshot()
		old := entries > 0 && time.Since(since) >= n.t.SnapshotAge
		if !force && !old && bytes < n.t.SnapshotBytes {
			continue
		}
		if err := n.Snapshot(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("snapshot", "error", err)
		}
	}
}

// Snapshot takes a snapshot now and truncates the log behind it. That there is
// nothing new is no error.
func (n *Node) Snapshot(ctx context.Context) error {
	bytes, entries, _ := n.logs.sinceSnapshot()
	// Most is flushed here, beside apply; the checkpoint, which holds apply up, then
	// has little left to do.
	if err := n.fsm.flush(); err != nil {
		return err
	}
	n.setTrailing(bytes, entries)
	err := n.await(ctx, n.raft.Snapshot())
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err == nil {
		n.logs.snapshotTaken(bytes, entries)
	}
	return err
}

// setTrailing sets how many entries stay behind the snapshot, from the mean size of
// those since the last one.
func (n *Node) setTrailing(bytes, entries int64) {
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = trailing(bytes, entries, n.t)
	if err := n.raft.ReloadConfig(rc); err != nil {
		n.log.Error("set trailing logs", "error", err)
	}
}

func trailing(bytes, entries int64, t Timings) uint64 {
	least := max(t.MinTrailing, 1)
	if entries <= 0 || bytes <= 0 {
		return least
	}
	return max(uint64(min(t.TrailingBytes/max(bytes/entries, 1), maxTrailing)), least)
}

// wantNew asks for a snapshot soon, from any goroutine.
func (s *snapshots) wantNew() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// await waits for a future of raft's, or until ctx ends or raft has stopped. The
// future is then left to end by itself.
func (n *Node) await(ctx context.Context, f raft.Future) error {
	if !n.enter() {
		return ErrStopped
	}
	done := make(chan error, 1)
	go func() {
		defer n.inflight.Done()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.stopped:
		return ErrStopped
	}
}
