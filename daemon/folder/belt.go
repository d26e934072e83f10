package folder

import (
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// belt carries pages: while one is made durable and moved into its
// place, the next one is staged. They land in order, one at a time. It is one
// goroutine's; a nil one is empty.
type belt struct {
	last chan error // of what was put on it and has not been waited for; nil: nothing
}

// put has f run once what was put before has ended, and returns. Where that failed it
// runs drop instead, and returns the error.
func (b *belt) put(f func() error, drop func()) error {
	if err := b.wait(); err != nil {
		drop()
		return err
	}
	last := make(chan error, 1)
	b.last = last
	go func() { last <- f() }()
	return nil
}

// busy reports whether something may be under way.
func (b *belt) busy() bool { return b != nil && b.last != nil }

// wait returns when nothing is under way, with the error of what was.
func (b *belt) wait() error {
	if !b.busy() {
		return nil
	}
	err := <-b.last
	b.last = nil
	return err
}

// onlyNew reports whether the items only make what was not there: then nothing of them
// depends on where the page before is, but that they land later.
func onlyNew(items []materialize.Item) bool {
	for i := range items {
		it := &items[i]
		if it.Want.Kind == meta.Absent || it.Expect.Kind != vfs.Absent || it.MoveFrom != "" || it.Tag.(tag).had {
			return false
		}
	}
	return true
}
