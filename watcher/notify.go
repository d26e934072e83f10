package watcher

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// notifier is the system's source of events: one watch a directory, no recursion.
type notifier interface {
	// Add watches a directory. It fails with errTableFull when no more can be
	// watched. Adding again what is watched does nothing.
	Add(dir string) error
	Remove(dir string) error
	// Watched reports whether dir is still watched.
	Watched(dir string) bool
	// Read passes events on until Close, then returns.
	Read(to sink)
	Close() error
}

// sink takes events; *inbox is one. Neither method blocks.
type sink interface {
	event(event)
	overflow()
}

// errTableFull is returned by Add when the system's table of watches is full.
var errTableFull = errors.New("the system's table of watches is full (on Linux raise fs.inotify.max_user_watches)")

// eventBuffer is how many events fsnotify may read ahead of Read.
const eventBuffer = 1024

// fsNotify is fsnotify.
type fsNotify struct{ w *fsnotify.Watcher }

func newFSNotify() (notifier, error) {
	w, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) {
			err = fmt.Errorf("no more watchers on this system (on Linux raise fs.inotify.max_user_instances): %w", err)
		}
		return nil, err
	}
	return fsNotify{w}, nil
}

func (n fsNotify) Add(dir string) error {
	err := n.w.Add(dir)
	if errors.Is(err, syscall.ENOSPC) {
		return errTableFull
	}
	return err
}

func (n fsNotify) Remove(dir string) error { return n.w.Remove(dir) }

func (n fsNotify) Watched(dir string) bool {
	for _, d := range n.w.WatchList() {
		if d == dir {
			return true
		}
	}
	return false
}

func (n fsNotify) Close() error { return n.w.Close() }

func (n fsNotify) Read(to sink) {
	events, errs := n.w.Events, n.w.Errors
	for events != nil || errs != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			passOn(e, to)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// EINVAL comes from the library's own removal of a watch that the system
			// has dropped already. With any other error events may be missing.
			if err != nil && !errors.Is(err, syscall.EINVAL) {
				to.overflow()
			}
		}
	}
}

func passOn(e fsnotify.Event, to sink) {
	// One event of the library may be several things: what was there is gone, and
	// something new is there.
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		to.event(event{e.Name, opGone})
	}
	if e.Has(fsnotify.Create) {
		to.event(event{e.Name, opCreate})
	}
	if e.Has(fsnotify.Write) || e.Has(fsnotify.Chmod) {
		to.event(event{e.Name, opWrite})
	}
}
