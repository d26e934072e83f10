package folder

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// overtakeAfter is the least time that a large stage goes on before it is cut short:
	// less, and commits by the second would let nothing large come.
	overtakeAfter = 500 * time.Millisecond
	// recheckRate is how many bytes a second of what is staged may be looked at again
	// because stages were cut short, on average: a tenth of what a slow machine hashes.
	recheckRate = 100 << 20
	// prepareShare is how many times longer a stage goes on than it took to find out
	// what is to be staged.
	prepareShare = 10
)

// errOvertaken says that a stage was cut short for a commit that need not wait for it.
var errOvertaken = errors.New("overtaken by another commit")

// haste is what the follower needs for cutting large stages short, so that small
// changes that come meanwhile need not wait for them: the pass ends, and the next one
// brings what is small first and then goes on with what was staged. But for staged it
// is the follower's alone.
type haste struct {
	least int64         // orderBytes: what a stage is of that is worth it
	after time.Duration // overtakeAfter
	share time.Duration // prepareShare, a factor

	begun  time.Time     // of the pass
	spent  time.Duration // of it, on bringing what came before
	first  bool          // it is part of a first sync
	rest   []id.Path     // what the last pass was to bring and has not
	staged atomic.Int64  // bytes of the stage under way, those found from before too
}

// begin notes that a pass begins.
func (h *haste) begin() { h.begun, h.spent = time.Now(), 0 }

// bringing returns a function that notes that something was brought from now on.
func (h *haste) bringing() func() {
	from := time.Now()
	return func() { h.spent += time.Since(from) }
}

// leastTime is how long a stage that begins now goes on at least: as long as what was
// brought before it in this pass took, so that it gets half of the time.
func (h *haste) leastTime(now time.Time) time.Duration {
	return max(h.after, h.spent, h.share*(now.Sub(h.begun)-h.spent))
}

// put keeps what a pass that was overtaken has not brought.
func (h *haste) put(rest []id.Path) { h.rest = rest }

// take returns that, once.
func (h *haste) take() []id.Path {
	rest := h.rest
	h.rest = nil
	return rest
}

// progress counts bytes that were staged.
func (e *Engine) progress(n int64) {
	e.haste.staged.Add(n)
	e.st.progress(n)
}

// overtakable returns a context for staging items that ends when a commit has come
// that need not wait for them. The function ends the watch and reports whether it did.
func (e *Engine) overtakable(ctx context.Context, s *snap, items []materialize.Item) (context.Context, func() bool) {
	bytes, small := int64(0), false
	for _, it := range items {
		small = small || it.Want.Size < soloBytes
		if it.Want.Kind == meta.File && it.MoveFrom == "" {
			bytes += it.Want.Size
		}
	}
	// In a first sync all that is small goes together, what comes meanwhile too.
	if bytes < e.haste.least || e.haste.first && small {
		return ctx, func() bool { return false }
	}
	sctx, cancel := context.WithCancelCause(ctx)
	e.haste.staged.Store(0)
	begun := time.Now()
	least := e.haste.leastTime(begun)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.overtaken(sctx, s, items, begun, least) {
			cancel(errOvertaken)
		}
	}()
	return sctx, func() bool {
		cancel(nil)
		<-done
		return errors.Is(context.Cause(sctx), errOvertaken)
	}
}

// overtaken returns true once there is a commit that need not wait for the items, and
// they were staged for long enough; false when ctx ends.
func (e *Engine) overtaken(ctx context.Context, s *snap, items []materialize.Item, begun time.Time, least time.Duration) bool {
	changed, stop := e.o.Machine.Watch()
	defer stop()
	linked := make(map[string]bool)
	for _, it := range items {
		linked[component(it.Path)] = true
		if it.MoveFrom != "" {
			linked[component(it.MoveFrom)] = true
		}
	}
	wait := time.NewTimer(least)
	defer wait.Stop()
	for from := s.head.Revision; ; {
		free, to, err := e.unlinked(from, linked)
		if err != nil {
			e.log.Warn("look whether a commit overtakes", "error", err)
			return false // it waits
		}
		if from = to; free {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
	for {
		recheck := time.Duration(float64(e.haste.staged.Load()) / recheckRate * float64(time.Second))
		left := time.Until(begun.Add(max(least, recheck)))
		if left <= 0 {
			return true
		}
		wait.Reset(min(left, time.Second)) // more is staged meanwhile
		select {
		case <-ctx.Done():
			return false
		case <-wait.C:
		}
	}
}

// unlinked reports whether a revision after from touches nothing that shares a first
// path component with what is linked, and the newest revision that it looked at.
func (e *Engine) unlinked(from id.Revision, linked map[string]bool) (free bool, head id.Revision, err error) {
	v := e.o.Machine.View()
	defer func() { err = errors.Join(err, v.Close()) }()
	c, err := v.Head(e.o.ID)
	if err != nil {
		return false, from, err
	}
	for rev := from + 1; rev <= c.Revision; rev++ {
		apart, comes := true, e.o.Only == nil
		err := v.Changes(e.o.ID, rev, func(x meta.Version) error {
			if never, err := e.never(x); err != nil || never {
				return err
			}
			comes = true
			if linked[component(x.Path)] || x.From != "" && linked[component(x.From)] {
				apart = false
			}
			return nil
		})
		if err != nil {
			return false, from, err
		}
		if apart && comes {
			return true, rev, nil
		}
	}
	return false, max(from, c.Revision), nil
}
