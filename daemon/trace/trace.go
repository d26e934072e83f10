// Package trace keeps the times of the steps of a path's way, from the event on
// one disk to the bytes on another, so that a latency can be explained.
package trace

import (
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The steps, in the order of a path's way.
const (
	Event    = "event"    // the watcher saw the first event
	Settled  = "settled"  // nobody has it open, no event came for the settle time
	Hashed   = "hashed"   // cut, hashed and stored
	Queued   = "queued"   // durable in the queue
	Outcome  = "outcome"  // this node's own state machine applied it
	Arrived  = "arrived"  // the folder found another node's change in the history
	Staged   = "staged"   // every byte is here and synced
	OnDisk   = "on-disk"  // moved into place, durably
	Recorded = "recorded" // the local index knows it
)

// Step is one step of a path's way.
type Step struct {
	Name string    `json:"name"`
	Time time.Time `json:"time"`
}

const (
	// maxPaths bounds the paths remembered: the newest, so that what a person asks
	// about is there and memory stays under about 2 MiB.
	maxPaths = 2048
	// maxSteps bounds the steps of a path; the oldest go.
	maxSteps = 24
)

// Log is a bounded memory of steps. It is safe for concurrent use; a nil Log
// drops everything.
type Log struct {
	mu    sync.Mutex // guards the rest
	steps map[id.Path][]Step
	order []id.Path // a ring of the paths by first step
	next  int
}

// New returns an empty log.
func New() *Log { return &Log{steps: make(map[id.Path][]Step), order: make([]id.Path, maxPaths)} }

// Mark notes that the path reached the step now.
func (l *Log) Mark(p id.Path, step string) { l.MarkAt(p, step, time.Now()) }

// MarkAt notes that the path reached the step at t.
func (l *Log) MarkAt(p id.Path, step string, t time.Time) {
	if l == nil || t.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.steps[p]
	if !ok {
		delete(l.steps, l.order[l.next])
		l.order[l.next] = p
		l.next = (l.next + 1) % maxPaths
	}
	if len(s) >= maxSteps {
		s = append(s[:0], s[1:]...)
	}
	l.steps[p] = append(s, Step{step, t})
}

// Steps returns what is remembered of the path, oldest first.
func (l *Log) Steps(p id.Path) []Step {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Step(nil), l.steps[p]...)
}
