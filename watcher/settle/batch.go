package settle

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Hold keeps batches open until Release, but not longer than CloseAfter: more
// that belongs to the same change is being looked for.
func (m *Machine) Hold() { m.holds++ }

// Release undoes one Hold.
func (m *Machine) Release() { m.holds-- }

// Close returns a batch if there is one to be closed, in byte order of the paths.
// Its paths are no longer dirty.
func (m *Machine) Close(now time.Time) []Settled {
	if !m.Ready(now) {
		return nil
	}
	out := make([]Settled, 0, m.settled)
	for _, e := range m.entries {
		if e.phase == settled {
			out = append(out, e.Settled)
		}
	}
	slices.SortFunc(out, func(a, b Settled) int { return strings.Compare(string(a.Path), string(b.Path)) })
	out = out[:min(len(out), m.c.MaxBatch)]
	for _, s := range out {
		delete(m.entries, s.Path)
	}
	m.settled -= len(out)
	m.forgetHot(now)
	return out
}

// forgetHot drops the back-offs that have passed.
func (m *Machine) forgetHot(now time.Time) {
	for p, t := range m.hot {
		if !t.After(now) {
			delete(m.hot, p)
		}
	}
}

// closeAt says when the batch is to be closed, if there is anything settled.
func (m *Machine) closeAt() (time.Time, bool) {
	switch {
	case m.settled == 0:
		return time.Time{}, false
	case m.active == 0 && m.holds == 0, m.settled >= m.c.MaxBatch:
		return time.Time{}, true
	}
	return m.firstSettled.Add(m.c.CloseAfter), true
}

// Next returns when something is due, if anything is: a look, or, if closing, a batch.
func (m *Machine) Next(closing bool) (at time.Time, any bool) {
	if len(m.queue) > 0 {
		at, any = m.queue[0].due, true
	}
	if closing {
		if c, ok := m.closeAt(); ok && (!any || c.Before(at)) {
			at, any = c, true
		}
	}
	return at, any
}

// Len is the number of dirty paths.
func (m *Machine) Len() int { return len(m.entries) }

// Idle reports whether nothing keeps a batch open and nothing is settled.
func (m *Machine) Idle() bool { return m.active == 0 && m.holds == 0 && m.settled == 0 }

// Held returns the paths that are open for writing, in byte order.
func (m *Machine) Held() []id.Path {
	return slices.Sorted(maps.Keys(m.held))
}

// Ready reports whether Close has a batch.
func (m *Machine) Ready(now time.Time) bool {
	due, any := m.closeAt()
	return any && !due.After(now)
}

// Hurry makes due what waits for its writer or because hashing it is dear: the
// user asked for everything now.
func (m *Machine) Hurry(now time.Time) {
	clear(m.hot)
	for _, e := range m.entries {
		if e.phase == waiting && e.seen && !e.active {
			m.at(e, now)
		}
	}
}

// Mark returns the number of the newest path that became dirty.
func (m *Machine) Mark() uint64 { return m.last }

// Unfinished reports whether a path that became dirty before the mark was taken
// is still dirty. Those that a look since then found open for writing are left out.
func (m *Machine) Unfinished(mark uint64, since time.Time) bool {
	for _, e := range m.entries {
		if e.Number <= mark && e.heldAt.Before(since) {
			return true
		}
	}
	return false
}
