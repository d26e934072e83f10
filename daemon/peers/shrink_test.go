package peers

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
)

// TestOutflow: time counts once however many answers are written at a time, and not at
// all while none is.
func TestOutflow(t *testing.T) {
	t.Parallel()
	var o outflow
	begin := time.Now()
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	o.begin(at(0))
	o.begin(at(10 * time.Millisecond))
	o.end(at(20*time.Millisecond), 1<<20)
	o.end(at(40*time.Millisecond), 1<<20) // 40 ms for 2 MiB so far
	if got := o.cost.Load(); got != 0 {
		t.Errorf("after 2 MiB: %d ps a byte", got)
	}
	o.begin(at(time.Hour))
	o.end(at(time.Hour+40*time.Millisecond), 2<<20)
	if got, want := o.cost.Load(), int64(19073); got != want {
		t.Errorf("4 MiB in 80 ms: %d ps a byte, want %d", got, want)
	}
	o.begin(at(2 * time.Hour))
	o.end(at(2*time.Hour+2*time.Second), 1000) // hardly anything, for long
	if got, want := o.cost.Load(), int64(2e12/1000); got != want {
		t.Errorf("1000 bytes in 2 s: %d ps a byte, want %d", got, want)
	}
}

// TestShrinkWhereItPays: what is worth compressing depends on the member's link alone,
// against what compressing takes here; what cannot shrink is never tried, and an upload
// limit means always.
func TestShrinkWhereItPays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("pull.go")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Repeat(text, 64<<10/len(text)+1)[:64<<10]
	random := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	_, _ = chunks.Compress(text)          // its coders are made outside of the bubble
	synctest.Test(t, func(t *testing.T) { // so that compressing takes no time but what learn is told
		var s shrinker
		var fast, slow, unknown outflow
		fast.cost.Store(1_000)   // 1 GB/s
		slow.cost.Store(100_000) // 10 MB/s
		s.learn(300*time.Microsecond*8, 8*64<<10, 8*40<<10)
		s.rest.Store(time.Now().Add(time.Hour).UnixNano())
		for name, c := range map[string]struct {
			data   []byte
			always bool
			to     *outflow
			want   bool
		}{
			"text, slow link":      {text, false, &slow, true},
			"text, fast link":      {text, false, &fast, false},
			"text, unknown link":   {text, false, &unknown, false},
			"text, limit":          {text, true, &unknown, true},
			"random, slow link":    {random, false, &slow, false},
			"random, limit":        {random, true, &unknown, false},
			"nothing to save from": {random[:100], false, &slow, false},
		} {
			cost := s.cost.Load()
			if _, got := s.shrink(c.data, c.always, c.to); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			s.cost.Store(cost)
			s.rest.Store(time.Now().Add(time.Hour).UnixNano())
		}
		// Where nothing was ever saved, compressing does not pay, whatever the link.
		for range 8 {
			s.learn(time.Millisecond, 64<<10, 0)
		}
		if s.pays(&slow) {
			t.Error("compressing that saves nothing pays")
		}
		// One now and then is tried all the same, to notice that this has changed.
		if _, got := s.shrink(text, false, &fast); got {
			t.Error("tried again at once")
		}
		time.Sleep(2 * time.Hour)
		if _, got := s.shrink(text, false, &fast); !got {
			t.Error("not tried after a rest")
		}
	})
}
