package folder

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// How soon a postponed path is looked at again. Whatever is known to end the
// wait (an own outcome, news from a peer, a settled file) comes sooner by itself.
const (
	retryLocal   = 500 * time.Millisecond
	retryBusy    = time.Second
	retryMissing = 5 * time.Second
	retryBlocked = 30 * time.Second
)

// Phase is what a folder is doing, for status.
type Phase string

// The phases.
const (
	StateStarting      Phase = "starting"
	StateWaitingForLog Phase = "waiting for the log"
	StateScanning      Phase = "scanning"
	StateRunning       Phase = "running"
	StatePaused        Phase = "paused"
	StateHalted        Phase = "halted"
)

const (
	// whyOutcome is the reason of a path that waits for an own proposal's outcome.
	whyOutcome = "its change here waits to be committed"
	// whyLocal is that of one that waits for the local loop: the user changed it.
	whyLocal = "changed here, and not read yet"
	// whyFollow is that of one that the next pass of the follower brings.
	whyFollow = "about to be brought"
	// whyAttributes is that of one whose bytes are here.
	whyAttributes = "its mode and time are about to be set"
)

// postponed is a path whose head is not on the disk yet.
type postponed struct {
	why     string
	blocked string // set when time alone will not mend it
	missing bool   // waits for another node
	lacking bool   // blocked, and the disk must not count as being at the head
	kept    bool   // blocked, and told of otherwise: the user's change stays here
	skipped bool   // this node does not bring it: it only sends
	letGo   bool   // forgotten, and its record is to go
	size    int64
	at      time.Time // when to look again; zero: at the next occasion
	since   time.Time
}

// state is what the engine tells others. mu guards everything; it is the
// innermost lock.
type state struct {
	mu       sync.Mutex
	phase    Phase
	err      error
	ended    error // what ends those who wait for this engine: it is replaced
	later    map[id.Path]postponed
	blocked  map[id.Path]string    // local paths that cannot be read or are refused
	again    map[id.Path]time.Time // when to look at one of them again
	kept     map[id.Path]keptHere  // changes that a receiving node does not propose
	held     *local.Held           // the deletions that are held
	lineages map[id.Path]id.Sequence
	coming   map[id.Path]bool // rule files of the head that were never on this disk
	head     meta.Commit      // newest compared with the whole disk
	onDisk   id.Revision      // newest whose every path is on the disk
	ahead    struct {
		files int
		bytes int64
		done  int // of files, those that are in their places
	}
	rate        rate
	authors     []id.Node
	unprotected int64
	passBegun   uint64        // counts the follower's passes
	passDone    uint64        // the newest that ended
	changed     chan struct{} // closed and replaced when anything here changes
}

func (s *state) init() {
	s.phase = StateStarting
	s.later = make(map[id.Path]postponed)
	s.blocked = make(map[id.Path]string)
	s.again = make(map[id.Path]time.Time)
	s.kept = make(map[id.Path]keptHere)
	s.lineages = make(map[id.Path]id.Sequence)
	s.coming = make(map[id.Path]bool)
	s.changed = make(chan struct{})
}

// bump wakes those who wait. mu is held.
func (s *state) bump() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *state) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bump()
}

func (s *state) set(p Phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = p
	s.bump()
}

func (s *state) halt(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.err = StateHalted, err
	s.bump()
}

// End ends those who wait for the engine, which is about to be replaced.
func (e *Engine) End(why error) {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	e.st.ended = why
	e.st.bump()
}

// Retire is End for an engine that does not run any more. When it returns no command
// that was given to this engine changes anything: the next one would not hear of it.
func (e *Engine) Retire(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.End(why)
}

// over is why a command must not change anything: the engine has halted, or is or will be
// replaced. mu is held.
func (e *Engine) over() error {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	return cmp.Or(e.st.err, e.st.ended)
}

// block lists a local path. It is looked at again after a time: a failing disk, say,
// makes no event when it works again.
func (s *state) block(p id.Path, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked[p] = reason
	s.again[p] = time.Now().Add(retryBlocked)
	s.bump()
}

// dueBlocked takes out the blocked local paths whose time has come.
func (s *state) dueBlocked() (out []id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for p, at := range s.again {
		if !at.After(now) {
			out = append(out, p)
			delete(s.again, p)
		}
	}
	return out
}

func (s *state) unblock(p id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.blocked[p]; ok {
		delete(s.blocked, p)
		delete(s.again, p)
		s.bump()
	}
}

// postpone notes that a path is to be looked at again.
func (s *state) postpone(p id.Path, d postponed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.since = time.Now()
	if old, ok := s.later[p]; ok {
		d.since = old.since
	}
	s.later[p] = d
	s.bump()
}

// settle notes that the path is as the head says.
func (s *state) settle(p id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.later, p)
	delete(s.blocked, p)
	delete(s.again, p)
	delete(s.kept, p)
}

// askPass makes what is blocked due now, and returns the number of the first pass
// that is sure to look at it.
func (s *state) askPass() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, d := range s.later {
		if d.blocked != "" {
			d.at = time.Time{}
			s.later[p] = d
		}
	}
	return s.passBegun + 1
}

// beginPass numbers a pass of the follower.
func (s *state) beginPass() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passBegun++
	return s.passBegun
}

func (s *state) endPass(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passDone = n
	s.bump()
}

func (s *state) blockedPaths() []id.Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.blocked))
}

// addLineage notes that the record of a path names an own sequence for good.
func (s *state) addLineage(p id.Path, seq id.Sequence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lineages[p] = seq
}

// oldestLineage is the oldest sequence so named, 0 if there is none. It forgets
// those that named says are not any more.
func (s *state) oldestLineage(named func(id.Path, id.Sequence) bool) (low id.Sequence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, seq := range s.lineages {
		if !named(p, seq) {
			delete(s.lineages, p)
			continue
		}
		if low == 0 || seq < low {
			low = seq
		}
	}
	return low
}

// nothingLater reports that no path is postponed.
func (s *state) nothingLater() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.later) == 0
}

// nothingAhead reports that nothing is being brought, nor waits to be.
func (s *state) nothingAhead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.later) == 0 && s.ahead.files == 0
}

// blockedWithin reports whether a local path within dir cannot be read.
func (s *state) blockedWithin(dir id.Path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.blocked {
		if p.Within(dir) {
			return true
		}
	}
	return false
}

// postponedWithin lists the postponed paths within dir.
func (s *state) postponedWithin(dir id.Path) (out []id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.later {
		if p.Within(dir) {
			out = append(out, p)
		}
	}
	return out
}

// lettingGo reports whether something below dir is to be let go and was not yet.
func (s *state) lettingGo(dir id.Path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, d := range s.later {
		if d.letGo && p.Below(dir) {
			return true
		}
	}
	return false
}

// lackedBelow calls mark with what below dir never came to this disk, or cannot be
// read. What waits for an own outcome, or for the local loop, was there, and so was
// what is in gone: its record says so, or that it is older than the head.
func (s *state) lackedBelow(dir id.Path, gone map[id.Path]bool, mark func(id.Path)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, d := range s.later {
		if d.why != whyOutcome && d.why != whyLocal && p.Below(dir) && !gone[p] {
			mark(p)
		}
	}
	for p := range s.blocked {
		if p.Below(dir) {
			mark(p)
		}
	}
}

// due adds the postponed paths whose time has come.
func (s *state) due(set map[id.Path]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for p, d := range s.later {
		if !d.at.After(now) {
			set[p] = struct{}{}
		}
	}
}

// retryMissing makes what waits for other nodes due now.
func (s *state) retryMissing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, d := range s.later {
		if d.missing {
			d.at = time.Time{}
			s.later[p] = d
		}
	}
}

// nextRetry is how long until a postponed path is due. Those that wait for an own
// outcome have no time: the outcome wakes the follower.
func (s *state) nextRetry() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, d := range s.later {
		if !d.at.IsZero() {
			next = min(next, max(time.Until(d.at), 10*time.Millisecond))
		}
	}
	for _, at := range s.again {
		next = min(next, max(time.Until(at), 10*time.Millisecond))
	}
	return next
}

// maxAuthors bounds the nodes asked first for missing chunks.
const maxAuthors = 3

// prefer notes an author of recent revisions, newest first.
func (s *state) prefer(n id.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.authors) > 0 && s.authors[0] == n {
		return
	}
	out := []id.Node{n}
	for _, a := range s.authors {
		if a != n && len(out) < maxAuthors {
			out = append(out, a)
		}
	}
	s.authors = out
}

func (s *state) preferred() []id.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authors
}

func (s *state) progress(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.bytes = max(0, s.ahead.bytes-n)
	s.rate.add(time.Now(), n)
}

// placed notes that n more of what is ahead are in their places.
func (s *state) placed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.done = min(s.ahead.done+n, s.ahead.files)
	s.bump()
}

func (s *state) setUnprotected(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unprotected = n
}

// setAhead notes what is about to be brought.
func (s *state) setAhead(files int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.files, s.ahead.bytes, s.ahead.done = files, bytes, 0
	if s.rate = (rate{}); bytes > 0 {
		s.rate.start(time.Now())
	}
	s.bump()
}

// seen notes that the disk was compared with the head; it is on the disk unless
// something was postponed for another reason than a block. It reports whether the
// revision on the disk is another one now.
func (s *state) seen(head meta.Commit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = head
	for _, d := range s.later {
		if d.blocked == "" && !d.skipped || d.lacking {
			s.bump()
			return false
		}
	}
	moved := s.onDisk != head.Revision
	s.onDisk = head.Revision
	s.bump()
	return moved
}
