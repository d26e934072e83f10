package watcher

import (
	"context"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// manual is a watcher on Mem whose batches the test takes itself.
func manual(t *testing.T, files ...id.Path) (*fixture, *vfs.Mem) {
	m := vfs.NewMem(vfs.MemOptions{})
	x := onMem(t, m)
	for _, p := range files {
		memFile(x, m, p)
	}
	x.w = New(x.o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return x, m
}

func (x *fixture) next() Batch {
	x.t.Helper()
	select {
	case b, ok := <-x.w.Batches():
		if !ok {
			x.t.Fatal("the watcher has stopped")
		}
		return b
	case <-time.After(patience):
		x.t.Fatal("no batch")
	}
	return Batch{}
}

// ends waits for a call to return.
func (x *fixture) ends(what string, c <-chan error) {
	x.t.Helper()
	select {
	case err := <-c:
		x.must(err)
	case <-time.After(patience):
		x.t.Fatalf("%s does not end", what)
	}
}

// goesOn checks that a Flush has not returned, though a scan that was asked for
// after it has.
func (x *fixture) goesOn(c <-chan error) {
	x.t.Helper()
	x.must(x.w.Scan(x.t.Context(), ""))
	x.asked(func(*loop) {})
	select {
	case err := <-c:
		x.t.Fatalf("Flush returned %v", err)
	default:
	}
}

func (x *fixture) flushing() <-chan error {
	c := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		c <- x.w.Flush(x.t.Context())
	}()
	<-started
	return c
}

func TestFlushWaitsUntilDone(t *testing.T) {
	t.Parallel()
	x, m := manual(t, "f")
	first := x.next()
	flush := x.flushing()
	x.goesOn(flush) // f was received, not dealt with
	x.w.Requeue("f")
	first.Done()
	first.Done()
	second := x.next()
	if len(second.Paths) != 1 || !second.Paths[0].Seen.Equal(first.Paths[0].Seen) {
		t.Errorf("requeued as %+v, was %+v", second.Paths, first.Paths)
	}
	x.goesOn(flush)
	memFile(x, m, "later") // does not concern the call
	x.index.record(second.Paths[0])
	second.Done()
	x.ends("Flush", flush)
	x.must(x.w.Scan(t.Context(), ""))
	third := x.next()
	if len(third.Paths) != 1 || third.Paths[0].Path != "later" {
		t.Errorf("third batch %+v", third.Paths)
	}
	if n := x.w.Status().Dirty; n != 1 {
		t.Errorf("%d dirty, want the one that is out", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.w.Flush(ctx); err != context.Canceled {
		t.Errorf("canceled Flush: %v", err)
	}
	third.Done()
}

// An offer that nobody takes is not handed over when it has become wrong.
func TestStaleOfferIsBuiltAnew(t *testing.T) {
	t.Parallel()
	x, m := manual(t, "f", "g")
	x.must(x.w.Scan(t.Context(), ""))
	for offered := false; !offered; {
		x.asked(func(l *loop) {
			offered = l.offered != nil
			if offered {
				l.offered.until = time.Now() // as if a second had passed
				for p, s := range l.offered.settled {
					s.At = s.At.Add(-time.Second)
					l.offered.settled[p] = s
				}
				x.must(m.Plain().Unlink("f"))
			}
		})
	}
	for offered := false; !offered; {
		x.asked(func(l *loop) { offered = l.retry > time.Second && l.offered != nil })
	}
	b := x.next()
	for _, d := range b.Paths {
		if d.Path == "f" {
			t.Errorf("reported %+v", d)
		}
	}
	b.Done()
}
