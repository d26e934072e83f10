package settle

import (
	"container/heap"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// Probe is what a look could tell about writers of a path.
type Probe uint8

const (
	// Closed: nobody has it open for writing. So is all that is not a file.
	Closed Probe = iota
	// Held: somebody has it open for writing or mapped shared and writable.
	Held
	// Unknown: the system cannot tell; time alone decides.
	Unknown
)

// Look is what was found at a path.
type Look struct {
	Stat  vfs.Stat
	Probe Probe
	// Known: history has a version of this file.
	Known bool
	// Blocked says why the path cannot be synced. It settles at once.
	Blocked string
}

// Settled is a path that is settled.
type Settled struct {
	Path    id.Path
	Stat    vfs.Stat
	Blocked string
	Number  uint64    // when it became dirty, in the order of Mark
	First   time.Time // when it became dirty
	At      time.Time // when it was found settled
	tries   int       // how often it was requeued
}

// Machine holds the dirty paths. Its size is proportional to them; clean paths
// cost nothing. It is not safe for concurrent use. Times passed to it must not go
// back.
//
// A path becomes dirty with Touch. Once it has been quiet, Due hands it out; the
// caller looks and tells the result with Looked, or with Drop where nothing is to
// be reported. A settled path comes out of Close.
type Machine struct {
	c       Config
	entries map[id.Path]*entry
	queue   queue // entries that wait for a time
	last    uint64
	// active counts the entries that keep a batch open, settled those that are
	// settled, holds the holds.
	active, settled, holds int
	firstSettled           time.Time // of the entries that are settled now, or earlier
	burst                  float64
	burstAt                time.Time
	hot                    map[id.Path]time.Time // not to be reported before
	held                   map[id.Path]struct{}  // whose entries are held
}

type phase uint8

const (
	waiting phase = iota // for its due time
	looking              // handed out by Due
	settled
)

type entry struct {
	Settled
	phase  phase
	active bool // keeps the batch open: counted in Machine.active
	again  bool // touched while it was looked at
	found  bool // by a scan, and no event came since
	held   bool // the last look found it open for writing, and no event came since
	// heldAt is when a look last found it open for writing.
	heldAt time.Time
	seen   bool // Stat is of an earlier look
	event  time.Time
	looked time.Time // or requeued; zero before that
	blind  time.Duration
	due    time.Time
	index  int // in the queue
}

// New returns an empty machine.
func New(c Config) *Machine {
	return &Machine{c: c.withDefaults(), entries: make(map[id.Path]*entry), hot: make(map[id.Path]time.Time), held: make(map[id.Path]struct{})}
}

// Found says that a scan found p changed. It tells nothing new of a path that is
// dirty already: above all, not that somebody wrote to it now. So what was found does
// not wait for the end of a burst either: the scan holds the batch open.
func (m *Machine) Found(p id.Path, now time.Time) {
	if m.entries[p] != nil {
		return
	}
	e := m.fresh(p, now)
	e.found, e.event = true, now
	m.wait(e, now)
}

// Touch says that something happened to p.
func (m *Machine) Touch(p id.Path, now time.Time) {
	e := m.entries[p]
	if e == nil {
		e = m.fresh(p, now)
	}
	m.touch(e, now)
}

// fresh adds a path that was clean.
func (m *Machine) fresh(p id.Path, now time.Time) *entry {
	m.last++
	e := &entry{Settled: Settled{Path: p, Number: m.last, First: now}}
	m.add(e, now)
	return e
}

// Requeue makes a path that came out of Close dirty again, with its age.
func (m *Machine) Requeue(s Settled, now time.Time) {
	e := m.entries[s.Path]
	if e == nil {
		e = &entry{Settled: Settled{Path: s.Path, Number: s.Number, First: s.First}}
		m.add(e, now)
	}
	e.looked = now // MaxWait counts from here, not from the old First
	e.tries = min(max(e.tries, s.tries)+1, maxTries)
	e.Number = min(e.Number, s.Number)
	if s.First.Before(e.First) {
		e.First = s.First
	}
	m.touch(e, now)
}

// Return puts back what came out of Close and could not be handed over: it is
// settled as before, unless it was touched meanwhile.
func (m *Machine) Return(batch []Settled, now time.Time) {
	for _, s := range batch {
		if e := m.entries[s.Path]; e != nil {
			e.Number, e.First = min(e.Number, s.Number), s.First
			continue
		}
		e := &entry{Settled: s, seen: true, looked: s.At, event: s.At, phase: looking, index: -1}
		m.entries[s.Path] = e
		m.settle(e, now)
		e.At = s.At
	}
}

func (m *Machine) add(e *entry, now time.Time) {
	e.index = -1
	m.entries[e.Path] = e
	m.burst = min(m.level(now)+1, burstMax)
	m.burstAt = now
}

func (m *Machine) touch(e *entry, now time.Time) {
	e.event, e.found = now, false
	m.setHeld(e, false)
	switch e.phase {
	case looking:
		e.again = true
		return
	case settled:
		m.unsettle(e)
	}
	m.wait(e, now)
}

// wait queues e for its quiet time.
func (m *Machine) wait(e *entry, now time.Time) {
	e.phase = waiting
	quiet := m.quietOf(e, now)
	if e.tries > 0 {
		quiet = max(quiet, min(quiet<<e.tries, maxRetry))
	}
	due := e.event.Add(quiet)
	if limit := later(e.First, e.looked).Add(m.c.MaxWait); limit.Before(due) {
		due = later(limit, now)
	}
	m.setActive(e, m.young(e, now))
	m.at(e, due)
}

// young reports whether e may keep a batch open: not what has been dirty for long,
// for others would wait a second each time while a large file is copied.
func (m *Machine) young(e *entry, now time.Time) bool { return now.Sub(e.First) < m.c.CloseAfter }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// level is how many paths became dirty of late.
func (m *Machine) level(now time.Time) float64 {
	return max(0, m.burst-now.Sub(m.burstAt).Seconds()*burstLeak)
}

// quiet is the quiet time now.
func (m *Machine) quiet(now time.Time) time.Duration {
	over := max(0, m.level(now)-burstFree)
	return min(m.c.Quiet+time.Duration(over*float64(burstStep)), m.c.MaxQuiet)
}

// quietOf is the quiet time of e now.
func (m *Machine) quietOf(e *entry, now time.Time) time.Duration {
	if e.found {
		return m.c.Quiet
	}
	return m.quiet(now)
}

func (m *Machine) setActive(e *entry, on bool) {
	if on != e.active {
		e.active = on
		if on {
			m.active++
		} else {
			m.active--
		}
	}
}

func (m *Machine) at(e *entry, due time.Time) {
	e.due = due
	if e.index >= 0 {
		heap.Fix(&m.queue, e.index)
	} else {
		heap.Push(&m.queue, e)
	}
}

// Due hands out the paths to look at, at most limit of them.
func (m *Machine) Due(now time.Time, limit int) []id.Path {
	var out []id.Path
	for len(m.queue) > 0 && len(out) < limit {
		e := m.queue[0]
		if e.due.After(now) {
			break
		}
		// The quiet time may have grown since the entry was queued. A held or blind
		// entry is polled at its own pace.
		if !e.seen && e.tries == 0 && e.First.Add(m.c.MaxWait).After(now) {
			if due := e.event.Add(m.quietOf(e, now)); due.After(now) {
				m.at(e, due)
				continue
			}
		}
		heap.Pop(&m.queue)
		e.phase, e.again = looking, false
		out = append(out, e.Path)
	}
	return out
}

// Looked says what a look at a path from Due found.
func (m *Machine) Looked(p id.Path, l Look, now time.Time) {
	e := m.entries[p]
	if e == nil || e.phase != looking {
		return
	}
	changed := e.seen && !e.Stat.Same(l.Stat)
	previous := e.looked
	e.Stat, e.Blocked, e.seen, e.looked = l.Stat, l.Blocked, true, now
	if e.again && m.c.MaxWait > now.Sub(e.First) {
		m.wait(e, now)
		return
	}
	if changed { // without an event: through a mapping, or on a remote disk
		e.event = now
	}
	switch {
	case l.Probe == Closed || l.Blocked != "":
		m.settle(e, now)
	case l.Probe == Held:
		m.lookedHeld(e, l.Known, now)
	default:
		m.lookedBlind(e, changed, previous, now)
	}
}

func (m *Machine) lookedHeld(e *entry, known bool, now time.Time) {
	m.setHeld(e, true)
	e.heldAt = now
	limit := m.c.HeldNew
	if known {
		limit = m.c.HeldKnown
	}
	quiet := now.Sub(e.event)
	if quiet >= limit {
		m.settle(e, now)
		return
	}
	e.phase = waiting
	m.setActive(e, quiet < heldGrace && m.young(e, now))
	poll := min(max(quiet/pollPart, pollMin), pollMax, limit-quiet)
	m.at(e, now.Add(poll))
}

func (m *Machine) lookedBlind(e *entry, changed bool, previous, now time.Time) {
	switch {
	case e.blind == 0:
		e.blind = m.c.Blind
	case changed:
		e.blind = min(2*e.blind, m.c.MaxBlind)
	case now.Sub(e.event) >= e.blind && now.Sub(previous) >= e.blind:
		m.settle(e, now)
		return
	}
	e.phase = waiting
	m.setActive(e, m.young(e, now))
	m.at(e, later(e.event, e.looked).Add(e.blind))
}

func (m *Machine) settle(e *entry, now time.Time) {
	m.setActive(e, false)
	if hot := m.hot[e.Path]; hot.After(now) && e.Stat.Kind == vfs.File && e.Blocked == "" {
		// It is looked at meanwhile: what made it dirty may have been in what was hashed.
		e.phase = waiting
		m.at(e, hot)
		if poll := now.Add(hotPoll); poll.Before(hot) {
			m.at(e, poll)
		}
		return
	}
	e.phase, e.At = settled, now
	m.setHeld(e, false)
	if m.settled == 0 || now.Before(m.firstSettled) {
		m.firstSettled = now
	}
	m.settled++
}

func (m *Machine) unsettle(e *entry) {
	m.settled--
	e.phase = waiting
}

// Drop forgets a path that Due handed out: there is nothing to report of it.
func (m *Machine) Drop(p id.Path, now time.Time) {
	e := m.entries[p]
	if e == nil || e.phase != looking {
		return
	}
	m.burst = max(0, m.level(now)-1)
	m.burstAt = now
	if e.again {
		m.wait(e, now)
		return
	}
	m.setActive(e, false)
	m.setHeld(e, false)
	delete(m.entries, p)
}

func (m *Machine) setHeld(e *entry, held bool) {
	if e.held = held; held {
		m.held[e.Path] = struct{}{}
	} else {
		delete(m.held, e.Path)
	}
}

// Hashed says that hashing p took so long and ended at the given time: the file p
// does not settle before ten times that have passed. That it is gone does.
func (m *Machine) Hashed(p id.Path, took time.Duration, at time.Time) {
	wait := hotFactor * took
	if wait <= m.c.Quiet {
		delete(m.hot, p)
		return
	}
	m.hot[p] = at.Add(wait)
	if e := m.entries[p]; e != nil && e.phase == settled {
		m.unsettle(e)
		m.settle(e, at)
	}
}
