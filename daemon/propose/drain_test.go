package propose

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// soon polls until ok, for what no channel tells.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("timed out: %s", what)
		}
	}
}

// queued counts the folder's entries in the queue.
func (r *run) queued(t *testing.T) (n int) {
	t.Helper()
	check(t, r.l.Queue(folder, 1, func(local.Item) error { n++; return nil }))
	return n
}

// TestQueueOfAnUnsubscribedFolder: what was queued for a folder that no engine
// keeps any more is sent after a restart, and leaves the queue.
func TestQueueOfAnUnsubscribedFolder(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.open()
	r.enqueue(t, "a")
	r.enqueue(t, "b")
	check(t, r.stop())
	r = l.start()
	r.outcome(t, 2)
	soon(t, "the queue to be empty", func() bool { return r.queued(t) == 0 })
	if got := l.attempts(folder); len(got) != 2 {
		t.Errorf("sent %v, want 1 2", got)
	}
	check(t, r.stop())
}

// TestReleasedLaneEmptiesItself: an engine that ends leaves entries that were sent
// and that it has not taken out.
func TestReleasedLaneEmptiesItself(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.start()
	r.outcome(t, r.enqueue(t, "a"))
	r.outcome(t, r.enqueue(t, "b"))
	if n := r.queued(t); n != 2 {
		t.Fatalf("%d entries in the queue; an owned lane's are the engine's to take out", n)
	}
	r.p.Release(folder)
	soon(t, "the queue to be empty", func() bool { return r.queued(t) == 0 })
	r.outcome(t, r.enqueue(t, "c")) // owned again
	check(t, r.stop())
}

// TestManyLanesBeforeRun: a node may keep any number of folders at its start.
func TestManyLanesBeforeRun(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.open()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			if _, err := r.p.Lane(id.NewFolder()); err != nil {
				t.Error(err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a lane waits for Run")
	}
	check(t, r.stop())
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// TestRemovedNodeSaysSo: a node that the cluster does not know any more says so
// once, at a level that is seen.
func TestRemovedNodeSaysSo(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.open()
	r.p.o.Self = id.Node{2}
	var log lockedBuffer
	r.p.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.p.Run(ctx) }()
	soon(t, "three attempts", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.sent) >= 3
	})
	cancel()
	check(t, errors.Join(<-done, r.stop()))
	if !r.p.NotMember() {
		t.Error("NotMember is false")
	}
	if got := strings.Count(log.b.String(), "not a member"); got != 1 {
		t.Errorf("said %d times: %s", got, log.b.String())
	}
}
