package raftnode

import (
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// machine is what this package needs of the metadata state machine.
type machine interface {
	// AppliedIndex returns the last index applied, at any time.
	AppliedIndex() uint64
	// ApplyBatch applies entries in one commit of the store. An error means that the
	// node must stop.
	ApplyBatch(entries []meta.IndexedEntry) error
	// Reload reads the state anew after the store was restored.
	Reload() error
	// Watch returns a channel that gets a token after each change.
	Watch() (<-chan struct{}, func())
	// Result returns what became of the proposal that the entry at index ended, if it
	// was one of the newest: refusals that have no place in a lane are only here.
	Result(index uint64) (meta.Outcome, bool)
	// Outcome returns the stored answer to a proposal.
	Outcome(env meta.Envelope) (meta.Outcome, bool, error)
	// Members returns the nodes that belong to the cluster.
	Members() (map[id.Node]meta.Role, error)
	// LogEntries returns what the leader appends for a proposal.
	LogEntries(env meta.Envelope, body meta.Body, now time.Time) ([][]byte, error)
}
