package watcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/settle"
)

// loop is the one goroutine that owns the watcher's state. Others reach it
// through the inbox.
type loop struct {
	w     *Watcher
	m     *settle.Machine
	table *table
	pool  *pool
	fatal error // ends run

	readers  sync.WaitGroup // of notifiers and of the mount table
	noEvents string         // why there are none, "" if there are

	scans      uint64              // the number of the newest scan
	all        *scan               // the running scan of the whole folder
	waitingAll []func(error)       // for the next scan of the whole folder
	gone       map[*scan][]id.Path // found gone by running scans
	taken      int                 // results of scans taken since the pool was told
	nextAll    time.Time           // timed scan of the whole folder
	nextPart   time.Time           // timed scan of what has no events
	nextRules  time.Time           // look at rule files that were not there yet
	parts      int                 // running scans of that
	partsTook  time.Duration

	rebuild   bool // events were lost: watch and scan everything anew
	rebuildAt time.Time
	rebuilt   time.Time
	checkRoot bool // look at the root

	news    []Dirty // newly blocked, not yet reported
	offered *batch  // built, not yet received
	out     *batch  // received, not Done
	flushes []flush
	retry   time.Duration // how long an offer stands
	pause   time.Time     // do not open the folder before
}

// flush is a waiting call of Flush whose scan is done.
type flush struct {
	mark  uint64
	since time.Time
	done  chan<- error
	ctx   context.Context
}

const (
	// lookBatch is how many paths are looked at before events are taken again.
	lookBatch = 1024
	// pauseFor is how long the folder is left alone after it could not be opened.
	pauseFor = time.Second
)

func newLoop(w *Watcher) *loop {
	t := newTable(w.o.Root)
	return &loop{
		w: w, m: settle.New(w.o.Settle), table: t, pool: newPool(w, t),
		gone: make(map[*scan][]id.Path), retry: time.Second,
	}
}

// run is the watcher's life.
func (l *loop) run(ctx context.Context) error {
	defer func() {
		if n := l.table.swap(nil); n != nil {
			n.Close()
		}
		l.pool.stop()
		l.readers.Wait()
	}()
	mctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.watchMounts(mctx) // before the root is checked, so that its end is noticed
	if err := checkRoot(l.w.o.FS, l.w.o.Folder); err != nil {
		return err
	}
	l.openEvents()
	l.scanAll(nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.round(); err != nil {
			return err
		}
		now := time.Now()
		if at, any := l.next(); any {
			timer.Reset(max(at.Sub(now), 0))
		} else {
			timer.Stop()
		}
		var send chan Batch
		var b Batch
		if l.offered != nil {
			send, b = l.w.batches, l.offered.b
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.w.in.signal:
		case <-timer.C:
		case send <- b:
			l.out, l.offered, l.retry = l.offered, nil, time.Second
		}
	}
}

// watchMounts has the loop told of each filesystem that is mounted or unmounted
// around the folder from now on, until ctx ends.
func (l *loop) watchMounts(ctx context.Context) {
	unwatched := func(err error) { // the timed scans see it, later
		l.w.log.Warn("mounts are not watched", "error", err)
	}
	mounts, err := openMounts(l.w.o.Root)
	if err != nil {
		unwatched(err)
		return
	}
	l.readers.Go(func() {
		if err := mounts.watch(ctx, func() { l.w.in.call((*loop).remounted) }); err != nil {
			unwatched(err)
		}
	})
}

// round does what there is to do now.
func (l *loop) round() error {
	events, calls, lost := l.w.in.take()
	if lost {
		l.lost()
	}
	l.take(events)
	for _, f := range calls {
		f(l)
	}
	l.timed(time.Now())
	l.lookAtRoot()
	l.look()
	l.offer()
	l.tell() // before the answers: who has one may ask for the state
	l.answerFlushes()
	return l.fatal
}

// next says when the loop has something to do again.
func (l *loop) next() (at time.Time, any bool) {
	at, any = l.m.Next(l.offered == nil && l.out == nil)
	add := func(t time.Time) {
		if !t.IsZero() && (!any || t.Before(at)) {
			at, any = t, true
		}
	}
	if l.all == nil {
		add(l.nextAll)
		add(l.rebuildAt)
	}
	if l.parts == 0 {
		add(l.nextPart)
	}
	add(l.nextRules)
	if l.offered != nil {
		add(l.offered.until)
	}
	if any && at.Before(l.pause) && l.paused(time.Now()) {
		at = l.pause
	}
	return at, any
}

// fail ends run after this round.
func (l *loop) fail(err error) {
	if l.fatal == nil {
		l.fatal = err
	}
}

// withFS runs f with the folder open. Where it cannot be opened though its root is
// not missing (too many open files, say), f is not run, and it is tried again later.
func (l *loop) withFS(f func(vfs.FS) error) bool {
	fs, err := l.w.o.FS()
	if err != nil {
		if err = rootError(err); errors.Is(err, ErrRootMissing) {
			l.fail(err)
		} else {
			l.pause = time.Now().Add(pauseFor)
			l.w.log.Warn("folder cannot be opened", "error", err)
		}
		return false
	}
	if err := errors.Join(f(fs), fs.Close()); err != nil {
		l.fail(err)
	}
	return true
}

// paused reports whether opening the folder has just failed.
func (l *loop) paused(now time.Time) bool { return now.Before(l.pause) }

// openEvents starts the system's events anew.
func (l *loop) openEvents() {
	n, err := l.w.o.newNotifier()
	l.noEvents = noEvents(l.w.o.Root)
	if err != nil {
		l.noEvents = err.Error()
		l.w.log.Warn("no events from the system: the folder is scanned on a timer", "error", err)
		n = nil
	}
	if old := l.table.swap(n); old != nil {
		old.Close()
	}
	if n != nil {
		l.readers.Go(func() { n.Read(l.w.in) })
	}
}

// lost notes that events were lost. The watches may be wrong too then, since the
// end of a watch is an event.
func (l *loop) lost() {
	l.w.mu.Lock()
	l.w.status.Overflows++
	l.w.mu.Unlock()
	if !l.rebuild {
		l.rebuild = true
		l.rebuildAt = time.Now()
		if !l.rebuilt.IsZero() { // under a storm of events, a tenth of the time for scans
			took := l.w.Status().ScanTook
			if t := l.rebuilt.Add(10 * took); t.After(l.rebuildAt) {
				l.rebuildAt = t
			}
		}
	}
}

// lookAtRoot looks whether the root is there and still watched, after a hint that
// it might not be.
func (l *loop) lookAtRoot() {
	if !l.checkRoot {
		return
	}
	l.checkRoot = false
	if l.rootIsThere() == nil && !l.rebuild && !l.table.rootWatched() {
		l.lost() // the disk was unmounted and mounted again, say
	}
}

// remounted takes the news that a filesystem was mounted or unmounted around here.
func (l *loop) remounted() {
	l.w.log.Info("a filesystem was mounted or unmounted at, above or in the folder")
	l.checkRoot = true
	l.scanAll(nil)
}

// requeue makes paths dirty again; those of the batch that is out with their age.
func (l *loop) requeue(paths []id.Path) {
	now := time.Now()
	for _, p := range paths {
		if l.out != nil {
			if s, ok := l.out.settled[p]; ok {
				l.m.Requeue(s, now)
				continue
			}
		}
		if p.Check() == nil {
			l.m.Touch(p, now)
		}
	}
}

// answerFlushes ends the calls of Flush that have what they wait for.
func (l *loop) answerFlushes() {
	kept := l.flushes[:0]
	for _, f := range l.flushes {
		switch {
		case f.ctx.Err() != nil:
			f.done <- f.ctx.Err()
		case l.out.atMost(f.mark), l.offered.atMost(f.mark), len(l.news) > 0, l.m.Unfinished(f.mark, f.since):
			kept = append(kept, f)
		default:
			f.done <- nil
		}
	}
	clear(l.flushes[len(kept):])
	l.flushes = kept
}

// tell publishes the state.
func (l *loop) tell() {
	busy := l.m.Held()
	watches, unwatched := l.table.counts()
	why := l.noEvents
	if why != "" {
		unwatched = max(unwatched, 1)
	} else if unwatched > 0 {
		_, why = l.table.tops()
	}
	l.pool.setTracked(l.m.Len(), l.taken)
	l.taken = 0
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = busy
	s := &w.status
	s.Watches, s.Unwatched, s.Why = watches, unwatched, why
	s.Dirty = l.m.Len() + l.out.size() + l.offered.size()
	s.Scanning = l.all != nil
	s.NextScan = l.nextAll
}

// indexError says what failed when the local index did.
func indexError(p id.Path, err error) error {
	return fmt.Errorf("look up what is recorded of %q: %w", string(p), err)
}
