package folder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
)

// Step is where a path stands on its way between this disk and the history.
type Step string

// The steps.
const (
	InSync    Step = "in-sync"   // disk, record and head agree
	Unknown   Step = "unknown"   // neither on this disk nor in history
	Open      Step = "open"      // a program has it open for writing
	Ignored   Step = "ignored"   // an ignore rule, or what this node keeps, leaves it out
	Settling  Step = "settling"  // changed here, not yet quiet
	Hashing   Step = "hashing"   // changed here, and being read
	Queued    Step = "queued"    // its change is under way to the log
	Missing   Step = "missing"   // nobody online has its content
	Receiving Step = "receiving" // it is on its way to this disk, or about to be
	Staging   Step = "staging"   // all that others have to give is here: it is put together beside its place
	Stuck     Step = "blocked"   // time alone will not mend it
)

// Explanation says what a path waits for.
type Explanation struct {
	Path   id.Path
	Step   Step
	Reason string    // in words, where the step does not say it
	Since  time.Time // zero where it is not known
	// Head is the path's newest version in this node's history, OnDisk what is there.
	Head   meta.Version
	OnDisk vfs.Kind
	// Queued is the own change under way, 0 if there is none.
	Queued id.Sequence
	// Work is how far the steps hashing, receiving and staging are; Size 0 where that is
	// not known.
	Work Work
}

// maxBelow bounds what Why lists below a directory.
const maxBelow = 20

// Why explains a path, and for a directory or the root ("") also the first paths
// below it that are not in sync, and how many there are. It takes the decision lock
// for a moment.
func (e *Engine) Why(p id.Path) (x Explanation, below []Explanation, n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.snap()
	if err != nil {
		return x, nil, 0, err
	}
	defer s.Close()
	busy := e.watch.Busy()
	if x, err = e.explain(s, p, busy); err != nil {
		return x, nil, 0, err
	}
	all := e.unsettled(p, busy)
	for _, q := range all[:min(len(all), maxBelow)] {
		y, err := e.explain(s, q, busy)
		if err != nil {
			return x, nil, 0, err
		}
		below = append(below, y)
	}
	return x, below, len(all), nil
}

// unsettled lists the paths below p that wait for something, in byte order. mu is held.
func (e *Engine) unsettled(p id.Path, busy []id.Path) []id.Path {
	all := make(map[id.Path]struct{})
	add := func(q id.Path) {
		if q.Below(p) {
			all[q] = struct{}{}
		}
	}
	for q := range e.pending {
		add(q)
	}
	for _, q := range busy {
		add(q)
	}
	for _, b := range e.watch.Blocked() {
		add(b.Path)
	}
	e.st.unsettled(add)
	out := make([]id.Path, 0, len(all))
	for q := range all {
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b id.Path) int { return strings.Compare(string(a), string(b)) })
	return out
}

// unsettled calls add with each path that is postponed or blocked.
func (s *state) unsettled(add func(id.Path)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range s.later {
		add(q)
	}
	for q := range s.blocked {
		add(q)
	}
	for q := range s.kept {
		add(q)
	}
}

// of returns why a path is postponed or blocked, if it is.
func (s *state) of(p id.Path) (d postponed, blocked string, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, is = s.later[p]
	blocked = s.blocked[p]
	return d, blocked, is
}

// unwatched says why the watcher cannot look at a path: itself, or a directory above it.
func unwatched(p id.Path, blocked []watcher.BlockedPath) (reason string) {
	for _, b := range blocked {
		switch {
		case b.Path == p:
			return b.Reason
		case b.Path != "" && p.Below(b.Path):
			reason = fmt.Sprintf("%s above it is blocked: %s", b.Path, b.Reason)
		}
	}
	return reason
}

// explain tells the first thing, in the order of a path's way, that it waits for. mu
// is held.
func (e *Engine) explain(s *snap, p id.Path, busy []id.Path) (x Explanation, err error) {
	x.Path = p
	if p != "" {
		if x.Head, err = s.anyVersion(p); err != nil {
			return x, err
		}
	}
	x.Queued = e.pendingSeq(p)
	d, blocked, later := e.st.of(p)
	x.Since = d.since
	if reason := unwatched(p, e.watch.Blocked()); reason != "" {
		blocked = reason
	}
	switch {
	case e.staysHere(p, d, &x):
	case e.atWork(p, &x):
	case d.blocked != "":
		x.Step, x.Reason = Stuck, d.blocked
	case blocked != "":
		x.Step, x.Reason = Stuck, blocked
	case slices.Contains(busy, p):
		x.Step = Open
	case x.Queued != 0:
		x.Step, x.Since = Queued, e.flight[x.Queued].at
	case d.missing:
		x.Step = Missing
	case later && d.why != whyLocal && d.why != whyOutcome:
		if x.Step = Receiving; d.why != whyFollow {
			x.Reason = d.why
		}
	}
	return x, e.explainDisk(s, p, &x)
}

// atWork explains a path whose file is being read or written now, if it is.
func (e *Engine) atWork(p id.Path, x *Explanation) bool {
	if work, _, is := e.hashing.of(p); is {
		x.Step, x.Since, x.Work = Hashing, work.Begun, work
		return true
	}
	work, ready, is := e.staging.of(p)
	switch {
	case !is, work.Pulling && work.Came == 0 && !x.Since.IsZero():
		return false // it waits as it did before
	case ready:
		x.Step, x.Work = Staging, Work{Done: x.Head.Entry.Size, Size: x.Head.Entry.Size}
		x.Since = time.Time{}
	case work.Pulling:
		x.Step, x.Since, x.Work = Receiving, work.Begun, work
	default:
		x.Step, x.Since, x.Work = Staging, work.Begun, work
	}
	return true
}

// explainDisk compares disk, record and head, where nothing else was found.
func (e *Engine) explainDisk(s *snap, p id.Path, x *Explanation) error {
	f, err := e.openFS()
	if err != nil {
		return nil // the folder halts, which says more
	}
	defer f.Close()
	disk := e.seenHere(f, f, p)
	x.OnDisk = disk.Stat.Kind
	if x.Step != "" || p == "" {
		if x.Step == "" {
			x.Step = InSync
		}
		return nil
	}
	c, err := e.decide(s, f, p, disk)
	if err != nil {
		return err
	}
	same := c.had && c.row.Stat.Same(disk.Stat)
	switch {
	case !c.had && e.outside(x.Head):
		x.Step, x.Reason = Ignored, notKept+"only="+e.o.Only.String()
	case c.disk.Ignored && c.Action == reconcile.Nothing:
		x.Step, x.Reason = Ignored, e.ruleOf(p, disk.Stat.Kind)
	case !c.had && disk.Stat.Kind == vfs.Absent && x.Head.Entry.Kind == meta.Absent:
		x.Step = Unknown
	case same && c.row.Entry == x.Head.Entry, !c.had && disk.Stat.Kind == vfs.Absent && x.Head.Entry.Kind == meta.Absent:
		x.Step = InSync
	case !c.had && disk.Stat.Kind == vfs.Absent, same:
		x.Step = Receiving
	default:
		x.Step = Settling
	}
	return nil
}

// Changed returns a channel that is closed at the next change of what Info tells.
func (e *Engine) Changed() <-chan struct{} {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	return e.st.changed
}
