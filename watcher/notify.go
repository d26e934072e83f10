package watcher

import (
	"errors"
	"fmt"
	"sync"
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
//
// Of one directory under two paths (it was renamed, and found at the new one before
// the event of the old one was read) the library keeps the old path as an alias of a
// watch: removing both panics, and a new directory at the old path takes the watch away
// from the renamed one, silently. So the old path is removed before the new one is added.
type fsNotify struct {
	w *fsnotify.Watcher

	mu sync.Mutex
	at map[inode]string // guarded by mu: the path under which a directory is watched
	of map[string]inode // guarded by mu: the reverse
}

// inode names a directory whatever its path.
type inode struct{ dev, ino uint64 }

func newFSNotify() (notifier, error) {
	w, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) {
			err = fmt.Errorf("no more watchers on this system (on Linux raise fs.inotify.max_user_instances): %w", err)
		}
		return nil, err
	}
	return &fsNotify{w: w, at: make(map[inode]string), of: make(map[string]inode)}, nil
}

func (n *fsNotify) Add(dir string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := inodeOf(dir); ok {
		if old := n.at[i]; old != "" && old != dir {
			_ = n.w.Remove(old) // gone already where its event was read
			delete(n.of, old)
		}
		if was, ok := n.of[dir]; ok && was != i && n.at[was] == dir {
			delete(n.at, was)
		}
		n.at[i], n.of[dir] = dir, i
	}
	err := n.w.Add(dir)
	if errors.Is(err, syscall.ENOSPC) {
		return errTableFull
	}
	return err
}

func (n *fsNotify) Remove(dir string) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.of[dir]; ok {
		delete(n.of, dir)
		if n.at[i] == dir {
			delete(n.at, i)
		}
	}
	defer func() {
		if r := recover(); r != nil { // an alias after all: the library holds no lock by then
			err = fmt.Errorf("remove the watch of %q: %v", dir, r)
		}
	}()
	return n.w.Remove(dir)
}

func (n *fsNotify) Watched(dir string) bool {
	for _, d := range n.w.WatchList() {
		if d == dir {
			return true
		}
	}
	return false
}

func (n *fsNotify) Close() error { return n.w.Close() }

func (n *fsNotify) Read(to sink) {
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
