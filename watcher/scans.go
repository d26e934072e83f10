package watcher

import (
	"errors"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

const (
	// scanShare and partShare are how many times a scan's own duration pass before
	// the next timed one: a scan costs at most 1/500 of a processor, and 1/100 where
	// scans are the only way to see changes.
	scanShare = 500
	partShare = 100
)

// startScan compares everything within under with the index; done is called in
// the loop when all that it found is in the machine. Until then no batch closes
// before its time.
func (l *loop) startScan(under id.Path, all bool, done func(scanResult)) *scan {
	l.scans++
	s := &scan{under: under, number: l.scans, all: all, done: done}
	l.gone[s] = nil
	l.m.Hold()
	l.pool.start(s)
	return s
}

// scanAll asks for a scan of the whole folder that starts after now; a running
// one does not do.
func (l *loop) scanAll(done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	l.waitingAll = append(l.waitingAll, done)
	l.startAll()
}

// startAll starts the scan of the whole folder that is asked for, unless one runs.
func (l *loop) startAll() {
	if l.all != nil || len(l.waitingAll) == 0 {
		return
	}
	waiting := l.waitingAll
	l.waitingAll = nil
	if err := l.rootIsThere(); err != nil {
		l.nextAll = time.Now().Add(l.w.o.UnwatchedEvery)
		for _, f := range waiting {
			f(err)
		}
		return
	}
	l.all = l.startScan("", true, func(r scanResult) {
		l.all = nil
		l.scannedAll(r)
		for _, f := range waiting {
			f(r.err)
		}
		l.startAll()
	})
}

// scannedAll notes a finished scan of the whole folder. A failed one is repeated soon.
func (l *loop) scannedAll(r scanResult) {
	now := time.Now()
	if r.err != nil {
		l.nextAll = now.Add(max(partShare*r.took, l.w.o.UnwatchedEvery))
		return
	}
	l.nextAll = now.Add(max(scanShare*r.took, l.w.o.ScanEvery))
	if l.noEvents != "" {
		l.nextAll = now.Add(max(partShare*r.took, l.w.o.UnwatchedEvery))
	}
	l.w.mu.Lock()
	l.w.status.LastScan, l.w.status.ScanTook, l.w.status.Entries = now, r.took, r.scan.entries
	l.w.mu.Unlock()
	l.w.log.Debug("folder scanned", "entries", r.scan.entries, "took", r.took)
}

// found takes the result of one directory.
func (l *loop) found(r found) {
	l.taken += len(r.dirty) + len(r.gone)
	now := time.Now()
	for _, p := range r.dirty {
		l.m.Found(p, now)
	}
	for _, b := range r.blocked {
		if l.w.block(b.Path, b.Reason, r.scan.number) {
			l.news = append(l.news, Dirty{Path: b.Path, Seen: now, Settled: now, Blocked: b.Reason})
		}
	}
	// What is gone is told at the end, when all that it may have become is known.
	l.gone[r.scan] = append(l.gone[r.scan], r.gone...)
}

// scanned takes the end of a scan.
func (l *loop) scanned(r scanResult) {
	s := r.scan
	gone := l.gone[s]
	delete(l.gone, s)
	if r.err != nil {
		l.scanFailed(r)
		gone = nil // not everything that it may have become is known
	}
	if len(gone) > 0 && l.rootIsThere() != nil {
		gone = nil
		l.lost() // unless the folder has halted
	}
	now := time.Now()
	for _, p := range gone {
		l.m.Found(p, now)
	}
	if r.err == nil {
		l.w.unblockWithin(s.under, s.number)
	}
	if s.done != nil {
		s.done(r)
	}
	l.m.Release()
}

// scanFailed decides what the failure of a scan means.
func (l *loop) scanFailed(r scanResult) {
	var index *indexFailure
	if errors.As(r.err, &index) {
		l.fail(r.err)
		return
	}
	if l.rootIsThere() == nil {
		l.w.log.Warn("scan", "under", r.scan.under, "error", r.err)
	}
}

// rootIsThere checks the marker. Without one the folder halts; where that cannot
// be told, nothing may be said to be gone.
func (l *loop) rootIsThere() error {
	err := checkRoot(l.w.o.FS, l.w.o.Folder)
	switch {
	case errors.Is(err, ErrRootMissing):
		l.fail(err)
	case err != nil:
		l.w.log.Warn("the folder's marker cannot be read", "error", err)
	}
	return err
}

// timed starts what is due by the clock.
func (l *loop) timed(now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	if l.paused(now) {
		return
	}
	if l.rebuild && l.all == nil && due(l.rebuildAt) {
		l.rebuild, l.rebuildAt, l.rebuilt = false, time.Time{}, now
		l.w.log.Warn("events were lost: the folder is watched and scanned anew")
		l.openEvents()
		l.scanAll(nil)
	}
	l.retryRules(now)
	if l.all == nil && due(l.nextAll) {
		if l.table.empty() {
			l.openEvents() // perhaps there is room by now
		}
		l.scanAll(nil)
	}
	if l.parts > 0 || l.all != nil {
		return
	}
	tops, why := l.table.tops()
	switch {
	case len(tops) == 0:
		l.nextPart = time.Time{}
	case l.nextPart.IsZero():
		l.w.log.Warn("some directories have no events: they are scanned on a timer", "why", why, "first", tops[0])
		l.nextPart = now.Add(l.w.o.UnwatchedEvery)
	case due(l.nextPart):
		l.partsTook = 0
		for _, p := range tops {
			l.parts++
			l.startScan(p, false, l.scannedPart)
		}
	}
}

func (l *loop) scannedPart(r scanResult) {
	l.parts--
	l.partsTook += r.took
	l.nextPart = time.Now().Add(max(partShare*l.partsTook, l.w.o.UnwatchedEvery))
}

// explore looks for what is in a directory that is new at its path. Watches there
// are of another one that had the path before.
func (l *loop) explore(p id.Path) {
	l.table.drop(p)
	l.w.rules.drop(p)
	l.startScan(p, false, nil)
}

// take takes events.
func (l *loop) take(events []event) {
	if len(events) == 0 {
		return
	}
	taken := !l.paused(time.Now()) && l.withFS(func(f vfs.FS) error {
		for _, e := range events {
			l.event(f, e)
		}
		return nil
	})
	if !taken {
		l.lost()
	}
}

// event takes one event.
func (l *loop) event(f vfs.FS, e event) {
	p, ok := l.table.rel(e.name)
	if ok && p == "" && e.op == opGone {
		l.checkRoot = true
		return
	}
	if !ok || p == "" {
		return
	}
	if p.First() == id.ReservedName {
		l.checkRoot = l.checkRoot || e.op == opGone
		return
	}
	if err := p.Check(); err != nil {
		if e.op != opGone && l.w.block(p, blockReason(err), l.scans) {
			now := time.Now()
			l.news = append(l.news, Dirty{Path: p, Seen: now, Settled: now, Blocked: blockReason(err)})
		}
		return
	}
	if l.m.Len() >= 2*maxTracked {
		l.w.in.overflow() // bounded memory: a scan finds it later
		return
	}
	if l.skipsEvent(f, e, p) {
		return
	}
	now := time.Now()
	l.m.Touch(p, now)
	switch e.op {
	case opGone:
		l.table.drop(p)
		l.w.rules.drop(p)
	case opCreate:
		if st, err := f.Lstat(p); err == nil && st.Kind == vfs.Dir {
			l.explore(p)
		}
	}
}
