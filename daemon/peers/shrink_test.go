package peers

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestInflow: time counts once however many requests wait at a time, and not at all
// while none does.
func TestInflow(t *testing.T) {
	t.Parallel()
	var f inflow
	begin := time.Now()
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	f.begin(at(0))
	f.begin(at(10 * time.Millisecond))
	f.end(at(20*time.Millisecond), 1<<20)
	f.end(at(40*time.Millisecond), 1<<20) // 40 ms for 2 MiB so far
	if got := f.told(nil); got != 0 {
		t.Errorf("after 2 MiB: told %d bytes a second", got)
	}
	f.begin(at(time.Hour))
	f.end(at(time.Hour+40*time.Millisecond), 2<<20)
	if got := f.told(nil); got < 50<<20-1 || got > 50<<20 {
		t.Errorf("4 MiB in 80 ms: told %d bytes a second", got)
	}
	limit := newDownload(1 << 20)
	if got := f.told(limit); got != 1<<20 {
		t.Errorf("under a limit of 1 MiB: told %d bytes a second", got)
	}
	f.begin(at(2 * time.Hour))
	f.end(at(2*time.Hour+2*time.Second), 1000) // hardly anything, for long
	if got := f.told(limit); got != 500 {
		t.Errorf("1000 bytes in 2 s: told %d bytes a second", got)
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
		const fast, slow, unknown = 1 << 30, 10 << 20, 0
		s.learn(300*time.Microsecond*8, 8*64<<10, 8*40<<10)
		s.rest.Store(time.Now().Add(time.Hour).UnixNano())
		for name, c := range map[string]struct {
			data   []byte
			always bool
			rate   int64
			want   bool
		}{
			"text, slow link":      {text, false, slow, true},
			"text, fast link":      {text, false, fast, false},
			"text, unknown link":   {text, false, unknown, false},
			"text, limit":          {text, true, unknown, true},
			"random, slow link":    {random, false, slow, false},
			"random, limit":        {random, true, unknown, false},
			"nothing to save from": {random[:100], false, slow, false},
		} {
			cost := s.cost.Load()
			if _, got := s.shrink(c.data, c.always, c.rate); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			s.cost.Store(cost)
			s.rest.Store(time.Now().Add(time.Hour).UnixNano())
		}
		// Where nothing was ever saved, compressing does not pay, whatever the link.
		for range 8 {
			s.learn(time.Millisecond, 64<<10, 0)
		}
		if s.pays(slow) {
			t.Error("compressing that saves nothing pays")
		}
		// One now and then is tried all the same, to notice that this has changed.
		if _, got := s.shrink(text, false, fast); got {
			t.Error("tried again at once")
		}
		time.Sleep(2 * time.Hour)
		if _, got := s.shrink(text, false, fast); !got {
			t.Error("not tried after a rest")
		}
	})
}

// TestPullOverASlowLink: text that lies uncompressed at the other node comes compressed,
// once the other knows that the link is slow.
func TestPullOverASlowLink(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("pull.go")
	if err != nil {
		t.Fatal(err)
	}
	const size, n = 32 << 10, 64
	text = bytes.Repeat(text, size/len(text)+2)
	objects := make([][]byte, n)
	for i := range objects {
		objects[i] = append([]byte{byte(i)}, text[i:i+size-1]...)
	}
	m := &members{}
	a, b := start(t, m, func(o *Options) { o.LimitDown = 512 << 10 }), start(t, m)
	connected(t, a, b)
	mustPull(t, a, nil, b.back.put(objects...))
	if got := a.Traffic(id.Folder{1}).Received; got > n*size*6/10 {
		t.Errorf("received %d bytes for %d of text", got, n*size)
	}
}
