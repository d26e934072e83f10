package peers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// gathered collects what a pull hands over and fails the test on anything wrong.
type gathered struct {
	t    testing.TB
	want []Want
	mu   sync.Mutex
	n    map[int]int
}

func gather(t testing.TB, want []Want) *gathered {
	return &gathered{t: t, want: want, n: make(map[int]int)}
}

func (g *gathered) got(i int, data []byte) error {
	if chunks.Sum(g.want[i].Kind, data) != g.want[i].ID {
		g.t.Errorf("object %d: got wrong bytes", i)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n[i]++
	if g.n[i] > 1 {
		g.t.Errorf("object %d: got it twice", i)
	}
	return nil
}

func (g *gathered) complete() {
	g.t.Helper()
	if len(g.n) != len(g.want) {
		g.t.Errorf("got %d of %d objects", len(g.n), len(g.want))
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func randoms(count, size int) (all [][]byte) {
	for range count {
		all = append(all, random(size))
	}
	return all
}

func mustPull(t testing.TB, n *node, prefer []id.Node, want []Want) {
	t.Helper()
	g := gather(t, want)
	missing, err := n.Pull(t.Context(), id.Folder{1}, prefer, want, g.got)
	if err != nil || len(missing) != 0 {
		t.Fatalf("missing %v, err %v", missing, err)
	}
	g.complete()
}

func TestPull(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	want := b.back.put(randoms(300, 1000)...)
	want = append(want, b.back.put(random(chunks.MaxChunk), []byte{1})...)
	// Compressed ones and a manifest node, its length not known.
	enc, _ := zstd.NewWriter(nil)
	text := bytes.Repeat([]byte("lockstep "), 10_000)
	node := bytes.Repeat([]byte("node"), 500)
	b.back.zstd = map[id.Digest]bool{id.Sum(text): true, chunks.Sum(chunks.Node, node): true}
	b.back.objects[id.Sum(text)] = enc.EncodeAll(text, nil)
	b.back.objects[chunks.Sum(chunks.Node, node)] = enc.EncodeAll(node, nil)
	want = append(want, Want{chunks.Chunk, id.Sum(text), len(text)}, Want{Kind: chunks.Node, ID: chunks.Sum(chunks.Node, node)})
	mustPull(t, a, nil, want)

	in, out := a.Traffic(id.Folder{1}), b.Traffic(id.Folder{1})
	if in.ObjectsReceived != uint64(len(want)) || out.ObjectsSent != uint64(len(want)) || in.PendingObjects != 0 || in.PendingBytes != 0 {
		t.Errorf("traffic %+v, %+v", in, out)
	}
	if in.Received < 300*1000+chunks.MaxChunk || in.Received != out.Sent || in.Sent != out.Received {
		t.Errorf("bytes %+v, %+v", in, out)
	}
	if missing, err := a.Pull(t.Context(), id.Folder{}, nil, nil, nil); missing != nil || err != nil {
		t.Errorf("pull of nothing: %v, %v", missing, err)
	}
}

func TestPullMissing(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b, c := start(t, m), start(t, m), start(t, m)
	connected(t, a, b, c)
	objects := randoms(200, 500)
	want := b.back.put(objects[:120]...) // 80 to 120 on both, from 180 on nowhere
	want = append(want, c.back.put(objects[80:180]...)[40:]...)
	var none []int
	for i := 180; i < 200; i++ {
		none = append(none, i)
		want = append(want, Want{chunks.Chunk, id.Sum(objects[i]), 500})
	}
	for _, prefer := range [][]id.Node{nil, {b.id()}, {c.id()}, {b.id(), c.id()}, {id.Node{9}}} {
		g := gather(t, want)
		missing, err := a.Pull(t.Context(), id.Folder{}, prefer, want, g.got)
		if err != nil || !slices.Equal(missing, none) {
			t.Errorf("missing %v, err %v, want %v", missing, err, none)
		}
		if len(g.n) != 180 {
			t.Errorf("got %d", len(g.n))
		}
	}
}

// Who is preferred is asked first, and others not at all if that suffices.
func TestPullPrefers(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b, c := start(t, m), start(t, m), start(t, m)
	connected(t, a, b, c)
	objects := randoms(10, 100)
	want := b.back.put(objects...)
	c.back.put(objects...)
	mustPull(t, a, []id.Node{c.id()}, want)
	if b.back.served.Load() != 0 || c.back.served.Load() != 10 {
		t.Errorf("served %d by the other, %d by the preferred", b.back.served.Load(), c.back.served.Load())
	}
}

func TestPullNobodyOnline(t *testing.T) {
	t.Parallel()
	m := &members{}
	a := start(t, m)
	m.set(id.Node{7}, "127.0.0.1:1")
	missing, err := a.Pull(t.Context(), id.Folder{}, nil, []Want{{chunks.Chunk, id.Digest{1}, 1}}, nil)
	if err != nil || !slices.Equal(missing, []int{0}) {
		t.Errorf("missing %v, err %v", missing, err)
	}
}

// Wrong bytes are never given to got, and another member is asked.
func TestPullFromALiar(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, chunks.MaxChunk+1)
	enc, _ := zstd.NewWriter(nil)
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	lies := map[string]func(good []byte) ([]byte, bool, error){
		"other bytes":      func(g []byte) ([]byte, bool, error) { return random(len(g)), false, nil },
		"one bit":          func(g []byte) ([]byte, bool, error) { b := slices.Clone(g); b[7] ^= 1; return b, false, nil },
		"shorter":          func(g []byte) ([]byte, bool, error) { return g[:len(g)-1], false, nil },
		"longer":           func(g []byte) ([]byte, bool, error) { return append(slices.Clone(g), 0), false, nil },
		"giant":            func(g []byte) ([]byte, bool, error) { return zeros, false, nil },
		"no zstd":          func(g []byte) ([]byte, bool, error) { return random(len(g)), true, nil },
		"other bytes zstd": func(g []byte) ([]byte, bool, error) { return enc.EncodeAll(random(len(g)), nil), true, nil },
		"bomb":             func(g []byte) ([]byte, bool, error) { return bomb, true, nil },
		"failing":          func(g []byte) ([]byte, bool, error) { return nil, false, errors.New("disk") },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &members{}
			a, b, c := start(t, m), start(t, m), start(t, m)
			connected(t, a, b, c)
			objects := randoms(20, 5000)
			want := c.back.put(objects...)
			good := make(map[id.Digest][]byte)
			for _, o := range objects {
				good[id.Sum(o)] = o
			}
			b.back.onObject(func(_ context.Context, d id.Digest) ([]byte, bool, error) { return lie(good[d]) })
			mustPull(t, a, []id.Node{b.id()}, want)
			c.stop()
			g := gather(t, want)
			missing, err := a.Pull(t.Context(), id.Folder{}, nil, want, g.got)
			if err != nil || len(missing) != len(want) || len(g.n) != 0 {
				t.Errorf("from the liar alone: missing %d of %d, err %v", len(missing), len(want), err)
			}
		})
	}
}

// A member that stops in the middle, by a stall or by dying, is passed over.
func TestPullFromAStuckOrDyingMember(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stuck", "dying", "cut"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := &members{}
			short := func(o *Options) {
				if how == "stuck" {
					o.StallAfter = time.Second // others may stall as long on a busy machine
				}
			}
			a, b, c := start(t, m, short), start(t, m), start(t, m)
			connected(t, a, b, c)
			objects := randoms(200, 2000)
			want := c.back.put(objects...)
			good := make(map[id.Digest][]byte)
			for _, o := range objects {
				good[id.Sum(o)] = o
			}
			var served atomic.Int64
			b.back.onObject(func(ctx context.Context, d id.Digest) ([]byte, bool, error) {
				if n := served.Add(1); n > 30 {
					switch how {
					case "stuck":
						<-ctx.Done()
						return nil, false, ctx.Err()
					case "dying":
						b.t.Drop(a.id())
					case "cut":
						panic("cut")
					}
				}
				return good[d], false, nil
			})
			mustPull(t, a, []id.Node{b.id()}, want)
			if c.back.served.Load() == 0 {
				t.Error("the other member was not asked")
			}
		})
	}
}

// What a slow member owes is asked of another one, without waiting for the stall.
func TestPullHedgesASlowMember(t *testing.T) {
	t.Parallel()
	m := &members{}
	a := start(t, m, func(o *Options) { o.HedgeAfter = 50 * time.Millisecond; o.StallAfter = time.Hour })
	b, c := start(t, m), start(t, m)
	connected(t, a, b, c)
	want := c.back.put(randoms(100, 1000)...)
	b.back.onObject(func(ctx context.Context, d id.Digest) ([]byte, bool, error) {
		<-ctx.Done() // until the pull is done with us
		return nil, false, ctx.Err()
	})
	mustPull(t, a, []id.Node{b.id()}, want)
}

func TestPullEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	asked := make(chan struct{})
	var once sync.Once
	b.back.onObject(func(ctx context.Context, d id.Digest) ([]byte, bool, error) {
		once.Do(func() { close(asked) })
		<-ctx.Done()
		return nil, false, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	started := time.Now()
	_, err := a.Pull(ctx, id.Folder{}, nil, []Want{{chunks.Chunk, id.Digest{1}, 1}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if d := time.Since(started); d > stallAfter/2 {
		t.Errorf("took %v", d)
	}
	if len(a.candidates(id.Folder{}, nil)) == 0 {
		t.Error("a cancelled pull has backed the member off")
	}
}

func TestPullEndsWithAnErrorOfGot(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	want := b.back.put(randoms(500, 100)...)
	full := errors.New("disk full")
	_, err := a.Pull(t.Context(), id.Folder{}, nil, want, func(i int, _ []byte) error {
		if i == 100 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) {
		t.Errorf("err %v", err)
	}
	if len(a.candidates(id.Folder{}, nil)) == 0 {
		t.Error("an error of ours has backed the member off")
	}
}

// A failing member is left alone for a while, and then the watchers are told.
func TestBackoff(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	want := b.back.put(random(100))
	good := b.back.objects
	b.back.onObject(func(context.Context, id.Digest) ([]byte, bool, error) { panic("cut") })
	g := gather(t, want)
	if missing, err := a.Pull(t.Context(), id.Folder{}, nil, want, g.got); err != nil || len(missing) != 1 {
		t.Fatal(missing, err)
	}
	if len(a.candidates(id.Folder{}, nil)) != 0 {
		t.Error("not backed off")
	}
	b.back.onObject(func(_ context.Context, d id.Digest) ([]byte, bool, error) { return good[d], false, nil })
	ch, cancel := a.Watch()
	defer cancel()
	deadline := time.After(testWait)
	for len(a.candidates(id.Folder{}, nil)) == 0 {
		select {
		case <-ch:
		case <-deadline:
			t.Fatal("no token after the backoff")
		}
	}
	mustPull(t, a, nil, want)
}

// Memory stays bounded, whatever the size of the pull and the slowness of got.
func TestPullMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("pulls 256 MiB")
	}
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	one := random(4 << 20)
	want := b.back.put(one)
	for range 6 {
		want = append(want, want...) // 64 times the same 4 MiB
	}
	var held, most atomic.Int64
	missing, err := a.Pull(t.Context(), id.Folder{}, nil, want, func(_ int, data []byte) error {
		n := held.Add(int64(len(data)))
		for {
			old := most.Load()
			if n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		runtime.Gosched()
		held.Add(-int64(len(data)))
		return nil
	})
	if err != nil || len(missing) != 0 {
		t.Fatal(missing, err)
	}
	if most.Load() > memoryInFlight {
		t.Errorf("%d bytes in flight", most.Load())
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if ms.HeapSys > 160<<20 {
		t.Errorf("heap of %d MiB", ms.HeapSys>>20)
	}
}

func TestServingIsBounded(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	for range servingPerMember {
		if !b.enter(a.id()) {
			t.Fatal("refused too early")
		}
	}
	if _, err := a.post2(t.Context(), b.id()); !errors.Is(err, ErrStatus) {
		t.Errorf("over the bound: %v", err)
	}
	for range servingPerMember {
		b.leave(a.id())
	}
	if _, err := a.post2(t.Context(), b.id()); err != nil {
		t.Error(err)
	}
}

func BenchmarkPull(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			m := &members{}
			x, y := start(b, m), start(b, m)
			connected(b, x, y)
			want := y.back.put(randoms(32<<20/size, size)...)
			b.SetBytes(32 << 20)
			b.ReportAllocs()
			for b.Loop() {
				missing, err := x.Pull(b.Context(), id.Folder{}, nil, want, func(int, []byte) error { return nil })
				if err != nil || len(missing) != 0 {
					b.Fatal(missing, err)
				}
			}
			b.ReportMetric(float64(len(want)), "objects/op")
		})
	}
}

// BenchmarkPullMissing asks another node for 8,192 objects that it does not have.
func BenchmarkPullMissing(b *testing.B) {
	m := &members{}
	x, y := start(b, m), start(b, m)
	connected(b, x, y)
	want := new(fake).put(randoms(8192, 4<<10)...)
	b.ReportAllocs()
	for b.Loop() {
		missing, err := x.Pull(b.Context(), id.Folder{}, nil, want, func(int, []byte) error { return nil })
		if err != nil || len(missing) != len(want) {
			b.Fatal(len(missing), err)
		}
	}
	b.ReportMetric(float64(len(want)), "objects/op")
}
