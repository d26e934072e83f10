package raftnode

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// checkSnapshot is how often the log's age is looked at; its size is told at once.
const checkSnapshot = time.Minute

// minSnapshotRetry and maxSnapshotRetry are how long a snapshot that failed waits,
// doubling: each try flushes the store, and on a full disk every write would make one.
const (
	minSnapshotRetry = time.Second
	maxSnapshotRetry = 10 * time.Minute
)

// takeSnapshots takes a snapshot when the log has grown by Timings.SnapshotBytes
// since the last one, when it is Timings.SnapshotAge old, or when the newest turned
// out to be damaged.
func (n *Node) takeSnapshots(ctx context.Context) error {
	tick := time.NewTicker(checkSnapshot)
	defer tick.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	var wait time.Duration
	var notBefore time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.logs.full:
		case <-n.snaps.wanted:
		case <-tick.C:
		case <-retry.C:
		}
		if time.Now().Before(notBefore) || !n.snapshotDue() {
			continue
		}
		err := n.Snapshot(ctx)
		if err == nil || ctx.Err() != nil {
			wait = 0
			continue
		}
		wait = min(max(2*wait, minSnapshotRetry), maxSnapshotRetry)
		notBefore = time.Now().Add(wait)
		retry.Reset(wait)
		n.log.Warn("snapshot", "error", err, "again_in", wait)
	}
}

// snapshotDue reports whether a snapshot is to be taken.
func (n *Node) snapshotDue() bool {
	bytes, entries, since := n.logs.sinceSnapshot()
	return bytes >= n.t.SnapshotBytes || entries > 0 && time.Since(since) >= n.t.SnapshotAge || n.snaps.damaged()
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
