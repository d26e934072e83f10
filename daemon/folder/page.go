package folder

import (
	"context"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// page is what is staged and placed together, as others see it.
type page struct {
	mu     sync.Mutex
	shared []*fetch.Source // guarded by mu
}

// share lets other nodes have the chunks of a stage while it is filled, and until it
// is in its place.
func (p *page) share(e *Engine, stage id.Path) *fetch.Source {
	src := e.o.Share.Source(func() (chunks.LocationFile, error) { return e.OpenLocation(stage) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared = append(p.shared, src)
	return src
}

// end ends that: the stages are in their places, or gone.
func (p *page) end(e *Engine, items []materialize.Item) {
	for _, it := range items {
		e.staging.end(it.Path)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, src := range p.shared {
		src.Drop()
	}
	p.shared = nil
}

// stage stages items and moves them into place. Where there is no room for all, the
// half of them is tried: one file that does not fit keeps no other from coming.
//
// With a belt the last step goes on in the background.
func (e *Engine) stage(ctx context.Context, s *snap, items []materialize.Item, belt *belt) error {
	pg := new(page)
	for i := range items {
		t := items[i].Tag.(tag)
		t.page = pg
		items[i].Tag = t
	}
	sctx, ended := e.overtakable(ctx, s, items)
	staged, err := e.exec.StageLoose(sctx, items)
	overtaken := ended()
	if err == nil && belt != nil {
		return belt.put(func() error {
			defer pg.end(e, items)
			if err := e.exec.Settle(staged); err != nil {
				return e.stageFailed(ctx, items, err)
			}
			return e.land(ctx, s.index, items, staged)
		}, func() { e.exec.Discard(staged); pg.end(e, items) })
	}
	defer pg.end(e, items)
	if err != nil && overtaken && ctx.Err() == nil {
		return errOvertaken
	}
	if err == nil {
		err = e.exec.Settle(staged)
	}
	if n := len(items) / 2; diskFull(err) && n > 0 {
		if err := belt.wait(); err != nil {
			return err
		}
		if err := e.stage(ctx, s, items[:n], nil); err != nil {
			return err
		}
		return e.stage(ctx, s, items[n:], nil)
	}
	if err != nil {
		return e.stageFailed(ctx, items, err)
	}
	return e.land(ctx, s.index, items, staged)
}

// land moves what is staged and durable into place. index is that of the log entry that
// it was decided from.
func (e *Engine) land(ctx context.Context, index uint64, items []materialize.Item, staged *materialize.Staged) error {
	if err := e.place(index, placements(items, staged.Sources())); err != nil {
		e.exec.Discard(staged)
		return err
	}
	now := time.Now()
	for i := range items {
		e.trace.MarkAt(items[i].Path, trace.Staged, now)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	results, err := e.exec.Commit(ctx, staged, e.confirm, e.record)
	e.afterCommit(results)
	return err
}

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
