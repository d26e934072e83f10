package watcher

import (
	"path/filepath"
	"sync"
)

// fakeNotifier stands between the watcher and fsnotify, or an idle nothing.
type fakeNotifier struct {
	real notifier // nil: no events but those of the test
	to   chan sink
	done chan struct{}

	mu       sync.Mutex // guards all below
	watched  map[string]bool
	room     int // how many more watches; negative is no limit
	adds     int
	swallow  bool // lose all events
	closed   bool
	passedOn sink
}

func newFake(real notifier) *fakeNotifier {
	return &fakeNotifier{real: real, to: make(chan sink, 1), done: make(chan struct{}), watched: make(map[string]bool), room: -1}
}

func (f *fakeNotifier) Add(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adds++
	if !f.watched[dir] {
		if f.room == 0 {
			return errTableFull
		}
		f.room--
	}
	if f.real != nil {
		if err := f.real.Add(dir); err != nil {
			return err
		}
	}
	f.watched[dir] = true
	return nil
}

func (f *fakeNotifier) Remove(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watched[dir] {
		delete(f.watched, dir)
		f.room++
	}
	if f.real != nil {
		return f.real.Remove(dir)
	}
	return nil
}

func (f *fakeNotifier) Watched(dir string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watched[filepath.Clean(dir)]
}

func (f *fakeNotifier) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeNotifier) event(e event) {
	f.mu.Lock()
	to := f.passedOn
	if f.swallow {
		to = nil
	}
	f.mu.Unlock()
	if to != nil {
		to.event(e)
	}
}

// overflow waits until somebody reads.
func (f *fakeNotifier) overflow() {
	to := <-f.to
	f.to <- to
	to.overflow()
}

func (f *fakeNotifier) Read(to sink) {
	f.set(func() { f.passedOn = to })
	f.to <- to
	if f.real != nil {
		f.real.Read(f)
		return
	}
	<-f.done
}

func (f *fakeNotifier) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	if closed {
		return nil
	}
	close(f.done)
	if f.real != nil {
		return f.real.Close()
	}
	return nil
}
