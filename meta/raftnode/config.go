package raftnode

import (
	"cmp"
	"math"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// maxAppend is the number of entries in one message and one batch of apply. With
	// entries of at most 256 KiB a message stays under 8 MiB; more would starve
	// heartbeats on slow links.
	maxAppend = 32
	// maxTrailing is how many entries are kept behind a snapshot at most. A follower
	// whose restore takes long must still find its next entry there.
	maxTrailing = 10_000
	// never is an interval for what this package does itself.
	never = 1000 * time.Hour
)

func (t Timings) withDefaults() Timings {
	d := DefaultTimings()
	return Timings{
		Heartbeat:     cmp.Or(t.Heartbeat, d.Heartbeat),
		Commit:        cmp.Or(t.Commit, d.Commit),
		Nudge:         cmp.Or(t.Nudge, d.Nudge),
		Stable:        cmp.Or(t.Stable, d.Stable),
		Manage:        cmp.Or(t.Manage, d.Manage),
		LogWrite:      cmp.Or(t.LogWrite, d.LogWrite),
		SnapshotBytes: cmp.Or(t.SnapshotBytes, d.SnapshotBytes),
		SnapshotAge:   cmp.Or(t.SnapshotAge, d.SnapshotAge),
		TrailingBytes: cmp.Or(t.TrailingBytes, d.TrailingBytes),
		MinTrailing:   cmp.Or(t.MinTrailing, d.MinTrailing),
	}
}

func (n *Node) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = serverID(n.self)
	// A little longer than meant: standAtOnce sets the real value.
	c.HeartbeatTimeout = n.t.Heartbeat + time.Millisecond
	c.ElectionTimeout = n.t.Heartbeat + time.Millisecond
	c.LeaderLeaseTimeout = n.t.Heartbeat
	c.CommitTimeout = n.t.Commit
	c.MaxAppendEntries = maxAppend
	// Not BatchApplyCh: entries that wait in that buffer when raft ends are never
	// answered. Concurrent proposals are batched all the same.
	c.BatchApplyCh = false
	// A removed node stays up as a follower; the daemon decides what it does.
	c.ShutdownOnRemove = false
	// This package triggers snapshots by bytes and age; raft would count entries.
	c.SnapshotInterval = never
	c.SnapshotThreshold = math.MaxUint64
	c.TrailingLogs = n.t.MinTrailing
	// The store is the state; reconcileState restores what it misses.
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(n.log)
	return c
}

// standAtOnce makes a sole voter stand for election now instead of after a
// heartbeat timeout: shortening the timeout makes raft look at once whether a leader
// was heard of, and none was. With other voters it changes nothing: the new
// timeout is what was meant, and raft is told before any message arrived only in
// the case of a sole voter.
func (n *Node) standAtOnce() {
	rc := n.raft.ReloadableConfig()
	voters := 0
	self := false
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
			self = self || s.ID == serverID(n.self)
		}
	}
	if voters != 1 || !self {
		return
	}
	rc.HeartbeatTimeout = n.t.Heartbeat
	rc.ElectionTimeout = n.t.Heartbeat
	if err := n.raft.ReloadConfig(rc); err != nil {
		n.log.Error("stand for election at start", "error", err)
	}
}

func serverID(n id.Node) raft.ServerID { return raft.ServerID(n.String()) }

func serverAddress(n id.Node) raft.ServerAddress { return raft.ServerAddress(n.String()) }

// nodeOf is the inverse of serverID; the zero node for anything else.
func nodeOf(s string) id.Node {
	n, err := id.ParseNode(s)
	if err != nil {
		return id.Node{}
	}
	return n
}
