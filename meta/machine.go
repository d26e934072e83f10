package meta

import (
	"log/slog"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/kv"
)

// DBs gives the store that counts now. Each Acquire is released once. It is
// called anew for every batch and view, so a restore may put another store in
// place; Reload must follow.
type DBs interface {
	Acquire() (db *kv.DB, release func())
}

// Machine is the replicated state machine: it turns log entries into rows.
//
// Apply, ApplyBatch and Reload must not run concurrently with each other; all
// other methods are safe for concurrent use.
type Machine struct {
	dbs DBs
	log *slog.Logger
	// limit is the size of a batch of effects: maxBatch, but for tests.
	limit int

	// mu guards what follows.
	mu       sync.Mutex
	applied  uint64
	broken   error // the first error of an apply: the machine stays broken
	watchers map[chan struct{}]struct{}
	results  [keptResults]result // by index modulo their number
}

// keptResults is how many results are kept for Result.
const keptResults = 1024

type result struct {
	index   uint64
	outcome Outcome
}

// NewMachine opens the state machine on the current store and removes what a
// crash left of a commit under way.
func NewMachine(dbs DBs, log *slog.Logger) (*Machine, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Machine{dbs: dbs, log: log, limit: maxBatch, watchers: make(map[chan struct{}]struct{})}
	if err := m.Reload(); err != nil {
		return nil, err
	}
	return m, nil
}

// AppliedIndex is the index of the newest entry that was applied.
func (m *Machine) AppliedIndex() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

// View returns a consistent read of the state. The caller closes it.
func (m *Machine) View() *View { return newView(m.dbs) }

// Watch returns a channel that holds a token whenever a batch has changed
// something since the last receive. cancel ends it; the channel is not closed.
func (m *Machine) Watch() (ch <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

// notify gives every watcher a token. mu is held.
func (m *Machine) notify() {
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Result returns what became of the entry at a log index, if it was one of the
// newest that this process applied and ended a proposal. A refusal for a fenced
// session, a gap or a reused sequence is found only here: it has no place in the
// lane.
func (m *Machine) Result(index uint64) (Outcome, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.results[index%keptResults]
	if r.index != index || index == 0 {
		return Outcome{}, false
	}
	return r.outcome, true
}

// Apply applies one log entry. An error means that this node must stop: the
// entry was made by a newer version (ErrNewer), is damaged, or the store failed.
// A command that cannot be done has an Outcome instead. An empty entry only moves
// the applied index on; an index already applied is left out.
func (m *Machine) Apply(index uint64, entry []byte) error {
	return m.ApplyBatch([]IndexedEntry{{Index: index, Data: entry}})
}
