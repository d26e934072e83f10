package peers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Bytes come through at the rate, in the order in which they asked, and little is
// saved up while nobody asks.
func TestThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newUpload(8 << 10)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 8 { // 64 KiB in pieces of eight askers
			wg.Go(func() {
				for range 8 << 10 / h.piece {
					if err := h.wait(t.Context(), h.piece); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d := time.Since(begin); d < 7*time.Second || d > 8*time.Second {
			t.Errorf("64 KiB at 8 KiB/s took %v", d)
		}
		time.Sleep(time.Hour)
		begin = time.Now()
		_ = h.wait(t.Context(), 8<<10)
		if d := time.Since(begin); d < time.Second/2 {
			t.Errorf("after an hour 8 KiB took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.wait(ctx, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that ends: %v", err)
		}
	})
	if h := newUpload(1); h.rate != MinLimit || h.piece < 1 {
		t.Errorf("%+v", h)
	}
	var none *throttle
	if newUpload(0) != nil || newDownload(-1) != nil || none.wait(t.Context(), 1<<40) != nil {
		t.Error("no limit is none")
	}
}

// A pull under a limit takes its time and nothing fails for it, though stalls are
// noticed much sooner than it ends; heartbeats go on meanwhile.
func TestPullUnderALimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*Options){
		"up":   func(o *Options) { o.LimitUp = 64 << 10 },
		"down": func(o *Options) { o.LimitDown = 64 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &members{}
			quick := func(o *Options) { o.StallAfter, o.HedgeAfter = 4*time.Second, time.Second }
			a, b := start(t, m, quick, limit), start(t, m, quick, limit)
			connected(t, a, b)
			want := b.back.put(randoms(20, 16<<10)...) // 320 KiB: about 5 s
			begin := time.Now()
			mustPull(t, a, nil, want)
			if d := time.Since(begin); d < 3*time.Second {
				t.Errorf("320 KiB at 64 KiB/s took %v", d)
			}
			if !a.Online(b.id()) || a.LastError(b.id()) != nil {
				t.Errorf("online %v, %v", a.Online(b.id()), a.LastError(b.id()))
			}
			if got := b.Traffic(id.Folder{1}).ObjectsSent; got != 20 {
				t.Errorf("sent %d objects, want each once", got)
			}
		})
	}
}

// Of many answers under a low limit none is silent for so long that it counts as
// stalled, those that wait for their turn included.
func TestManyPullsUnderALimit(t *testing.T) {
	t.Parallel()
	m := &members{}
	a := start(t, m, func(o *Options) { o.LimitUp = 128 << 10 })
	want := a.back.put(randoms(8, 16<<10)...)
	var wg sync.WaitGroup
	for range 4 {
		b := start(t, m, func(o *Options) { o.StallAfter = 4 * time.Second })
		connected(t, b, a)
		wg.Go(func() {
			g := gather(t, want)
			if missing, err := b.Pull(t.Context(), id.Folder{1}, nil, want, g.got); err != nil || len(missing) > 0 {
				t.Errorf("missing %v, %v", missing, err)
			}
		})
	}
	wg.Wait()
	if got := a.Traffic(id.Folder{1}).ObjectsSent; got != 32 {
		t.Errorf("sent %d objects, want 32", got)
	}
}

// A member that is slow but not silent loses what it owes to one that has nothing to do.
func TestPullTakesFromASlowMember(t *testing.T) {
	t.Parallel()
	m := &members{}
	a := start(t, m, func(o *Options) { o.HedgeAfter = 300 * time.Millisecond })
	b, c := start(t, m, func(o *Options) { o.LimitUp = 32 << 10 }), start(t, m)
	connected(t, a, b, c)
	objects := randoms(60, 64<<10) // two minutes at b's limit
	want := b.back.put(objects...)
	c.back.put(objects...)
	begin := time.Now()
	mustPull(t, a, []id.Node{b.id()}, want)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	if got := a.Traffic(id.Folder{1}).Received; got > 60*64<<10*11/10 {
		t.Errorf("received %d bytes for %d", got, 60*64<<10)
	}
}
