// Package events keeps the newest events of a node in memory, numbered, for readers
// that may come back.
package events

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// Event is something that happened. What is stored is never changed.
type Event struct {
	// Seq counts from 1 since the daemon's start; Epoch names that start.
	Seq   uint64
	Epoch string
	Time  time.Time
	Kind  string
	// The rest says what it is about; what does not apply is zero.
	Folder   string
	Path     string
	Node     string
	Revision uint64
	Count    int
	Detail   string
}

// Gap is the kind of the event that a reader gets instead of those that are not kept any more,
// or when it resumes in another epoch. Its Seq is that of the last one missed.
const Gap = "gap"

// Log is a ring of events. It is safe for concurrent use.
type Log struct {
	epoch string
	now   func() time.Time

	mu      sync.Mutex // guards the rest
	ring    []Event
	last    uint64        // the newest event's number
	changed chan struct{} // closed and replaced at each event
}

// New returns a log that keeps the newest n events.
func New(n int) *Log {
	return &Log{epoch: rand.Text()[:8], now: time.Now, ring: make([]Event, n), changed: make(chan struct{})}
}

// Add numbers and keeps events. It never waits for readers.
func (l *Log) Add(list ...Event) {
	if len(list) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		l.last++
		e.Seq, e.Epoch = l.last, l.epoch
		if e.Time.IsZero() {
			e.Time = l.now()
		}
		l.ring[l.last%uint64(len(l.ring))] = e
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Cursor is a place in a log. The zero Cursor is before the oldest event that is kept.
type Cursor struct {
	Epoch string
	Seq   uint64
}

// Newest is the place after the newest event.
func (l *Log) Newest() Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Cursor{l.epoch, l.last}
}

// Next returns the events after c, at least one, and waits for it until ctx ends: its
// error then. What is missed is told by a first event of kind Gap.
func (l *Log) Next(ctx context.Context, c Cursor) ([]Event, Cursor, error) {
	for {
		l.mu.Lock()
		out, next, changed := l.after(c), Cursor{l.epoch, l.last}, l.changed
		l.mu.Unlock()
		if len(out) > 0 {
			return out, next, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, c, ctx.Err()
		}
	}
}

// after returns what is kept after c. mu is held.
func (l *Log) after(c Cursor) (out []Event) {
	oldest := uint64(1)
	if n := uint64(len(l.ring)); l.last > n {
		oldest = l.last - n + 1
	}
	from := c.Seq + 1
	switch other := c.Epoch != "" && c.Epoch != l.epoch || from > l.last+1; {
	case other:
		out = append(out, l.gap(oldest-1, "the daemon was started anew"))
		from = oldest
	case from < oldest:
		if c.Seq > 0 || c.Epoch != "" {
			out = append(out, l.gap(oldest-1, "older events are not kept"))
		}
		from = oldest
	}
	for seq := from; seq <= l.last; seq++ {
		out = append(out, l.ring[seq%uint64(len(l.ring))])
	}
	return out
}

func (l *Log) gap(seq uint64, why string) Event {
	return Event{Seq: seq, Epoch: l.epoch, Time: l.now(), Kind: Gap, Detail: why}
}
