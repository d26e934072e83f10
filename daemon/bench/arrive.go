package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// pollEvery is how often a root is looked at. A look is one lstat, of the first path
// that was not right yet.
const pollEvery = 2 * time.Millisecond

// watch waits for a tree at a root without walking it: what has been seen right is
// not looked at again, and what is not right is looked at alone. So a run costs about one
// lstat a path and one each pollEvery.
type watch struct {
	root  string
	want  tree
	leave leave
	gone  []string // paths that must not be there any more
	order []string
	next  int
}

func newWatch(root string, want tree, gone []string, l leave) *watch {
	return &watch{root: root, want: want, leave: l, gone: gone, order: want.paths()}
}

// seen reports whether all paths have been seen right.
func (w *watch) seen() bool {
	for ; w.next < len(w.order); w.next++ {
		p := w.order[w.next]
		have, _, err := look(filepath.Join(w.root, filepath.FromSlash(p)))
		want := w.want[p]
		want.sum = [32]byte{}
		if err != nil || w.leave.equate(want, have) != want {
			return false
		}
	}
	for len(w.gone) > 0 {
		if _, err := os.Lstat(filepath.Join(w.root, filepath.FromSlash(w.gone[0]))); err == nil {
			return false
		}
		w.gone = w.gone[1:]
	}
	return true
}

// arrive waits until each of the watches has seen all, and returns when that was.
func arrive(ctx context.Context, ws ...*watch) (time.Time, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		all := true
		for _, w := range ws {
			all = w.seen() && all
		}
		if all {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, overLimit(ctx, ws)
		case <-tick.C:
		}
	}
}

func overLimit(ctx context.Context, ws []*watch) error {
	for _, w := range ws {
		if w.next < len(w.order) {
			return fmt.Errorf("%w: %q (and up to %d more) is not right", context.Cause(ctx), w.order[w.next], len(w.order)-w.next-1)
		}
	}
	return context.Cause(ctx)
}

// verify compares whole trees with want, and returns when the tree was complete: the
// newest change time of its files; and of its directories, but not later than seen, for
// a directory changes also when a tool removes what is its own. Where the system has no
// change times, it is seen.
//
// This is sound because content, size, mode, mtime and name of a file cannot change
// without its change time: what is equal now was equal then.
func verify(seen time.Time, want tree, l leave, roots ...string) (time.Time, error) {
	var done time.Time
	for _, r := range roots {
		have, files, dirs, err := snapshot(r)
		if err != nil {
			return seen, err
		}
		if err := compare(want, have, l); err != nil {
			return seen, fmt.Errorf("%s: %w", filepath.Base(r), err)
		}
		if dirs.After(seen) {
			dirs = seen
		}
		for _, t := range []time.Time{files, dirs} {
			if t.After(done) {
				done = t
			}
		}
	}
	if done.IsZero() {
		return seen, nil
	}
	return done, nil
}

// readable waits until the file p holds content, and returns when that was. It looks
// five times a millisecond's worth: for latencies, where pollEvery is too coarse.
func readable(ctx context.Context, p string, content []byte) (time.Time, error) {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(p); err == nil && string(b) == string(content) {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w: %s is not right", context.Cause(ctx), filepath.Base(p))
		case <-tick.C:
		}
	}
}
