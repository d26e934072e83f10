package watcher

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// New returns a watcher. It touches nothing before Run.
func New(o Options) *Watcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Root = filepath.Clean(o.Root)
	if o.ScanEvery == 0 {
		o.ScanEvery = 5 * time.Minute
	}
	if o.UnwatchedEvery == 0 {
		o.UnwatchedEvery = 10 * time.Second
	}
	if o.newNotifier == nil {
		o.newNotifier = newFSNotify
	}
	w := &Watcher{
		o: o, log: o.Log.With("component", "watcher"), in: newInbox(),
		batches: make(chan Batch), stopped: make(chan struct{}), blocked: make(map[id.Path]blocked),
	}
	w.rules.set.SetOnly(o.Only)
	w.rules.any.Store(o.Only != nil)
	return w
}

// Run watches until ctx ends, and then returns nil. It is called once. It returns
// ErrRootMissing when the root or its marker is gone, and an error when the local
// index fails. Batches is closed when it returns.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.stopped)
	defer close(w.batches)
	err := newLoop(w).run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Batches is where settled paths come out. At most one batch is out at a time.
// The channel is closed when Run returns.
func (w *Watcher) Batches() <-chan Batch { return w.batches }

// Requeue makes paths dirty again: they are looked at anew once they have
// settled, each time a little later.
func (w *Watcher) Requeue(paths ...id.Path) {
	w.in.call(func(l *loop) { l.requeue(paths) })
}

// ReportHash tells how long it took to hash the file just now. It is not reported
// again for ten times as long.
func (w *Watcher) ReportHash(p id.Path, took time.Duration) {
	at := time.Now()
	w.in.call(func(l *loop) {
		l.m.Hashed(p, took, at)
		if len(l.flushes) > 0 { // they came before, and are for what is on the disk now
			l.m.Hurry(time.Now())
		}
	})
}

// Scan compares everything within under with the index, the whole folder for "".
// It returns when that is done; what differs comes through Batches.
func (w *Watcher) Scan(ctx context.Context, under id.Path) error {
	return w.ask(ctx, func(l *loop, done chan<- error) {
		if under == "" {
			l.scanAll(func(err error) { done <- err })
			return
		}
		l.startScan(under, false, func(r scanResult) { done <- r.err })
	})
}

// Flush returns when the whole folder has been scanned since the call and
// everything found dirty by then was in batches that are Done. Files that
// somebody has open for writing are left out: see Busy.
func (w *Watcher) Flush(ctx context.Context) error {
	return w.ask(ctx, func(l *loop, done chan<- error) {
		l.scanAll(func(err error) {
			if err != nil {
				done <- err
				return
			}
			now := time.Now()
			l.m.Hurry(now)
			l.flushes = append(l.flushes, flush{mark: l.m.Mark(), since: now, done: done, ctx: ctx})
		})
	})
}

// ask runs f in the loop and waits for its answer.
func (w *Watcher) ask(ctx context.Context, f func(l *loop, done chan<- error)) error {
	done := make(chan error, 1)
	w.in.call(func(l *loop) { f(l, done) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.stopped:
		select {
		case err := <-done:
			return err
		default:
			return ErrStopped
		}
	}
}

// Blocked lists the paths that cannot be synced, in byte order.
func (w *Watcher) Blocked() []BlockedPath {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]BlockedPath, 0, len(w.blocked))
	for p, b := range w.blocked {
		out = append(out, BlockedPath{p, b.reason})
	}
	out = append(out, w.rules.problems()...)
	slices.SortFunc(out, func(a, b BlockedPath) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return out
}

// Busy lists the changed files that somebody has open for writing, in byte order.
func (w *Watcher) Busy() []id.Path {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.busy)
}

// Status returns the watcher's state.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// block lists a path as blocked and reports whether that is news.
func (w *Watcher) block(p id.Path, reason string, scan uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.blocked[p]
	w.blocked[p] = blocked{reason, scan}
	return old.reason != reason
}

// unblock takes a path off the list.
func (w *Watcher) unblock(p id.Path) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.blocked, p)
}

// isBlocked reports whether a path is on the list.
func (w *Watcher) isBlocked(p id.Path) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, is := w.blocked[p]
	return is
}

// unblockWithin takes off what is within dir, save what a scan numbered since or
// later has seen.
func (w *Watcher) unblockWithin(dir id.Path, since uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.blocked, func(p id.Path, b blocked) bool { return p.Within(dir) && b.scan < since })
}
