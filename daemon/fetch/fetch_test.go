package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

func newStore(t *testing.T) *chunks.Store {
	t.Helper()
	db, err := kv.Open("local", kv.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := chunks.Open(chunks.Options{Dir: t.TempDir(), KV: db, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(s.Close(), db.Close()) })
	return s
}

// remote is a puller from one other store.
type remote struct {
	s       *chunks.Store
	mu      sync.Mutex // guards what follows
	pulled  int        // chunks, not manifest nodes
	pulls   int
	largest int // bytes of one pull
	missing map[id.Digest]bool
	err     error
}

func (r *remote) Pull(ctx context.Context, _ id.Folder, _ []id.Node, want []Want, got func(int, []byte) error) (missing []int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := 0
	for i, w := range want {
		data, err := r.s.Get(ctx, w.ID, w.Kind, nil)
		if err != nil || r.missing[w.ID] {
			missing = append(missing, i)
			continue
		}
		if w.Kind == chunks.Chunk {
			r.pulled++
			bytes += len(data)
		}
		if err := got(i, data); err != nil {
			return nil, err
		}
		clear(data) // the slice is the puller's again
	}
	r.pulls++
	r.largest = max(r.largest, bytes)
	return missing, r.err
}

// buffer is a file in memory.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

func (f *buffer) Truncate(n int64) error {
	f.b = append(f.b[:min(n, int64(len(f.b)))], make([]byte, max(0, n-int64(len(f.b))))...)
	return nil
}

func (f *buffer) ReadAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.NewReader(f.b).ReadAt(p, at)
}

func (f *buffer) WriteAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := int(at) + len(p) - len(f.b); n > 0 {
		f.b = append(f.b, make([]byte, n)...)
	}
	return copy(f.b[at:], p), nil
}

func ingest(t *testing.T, s *chunks.Store, data []byte) chunks.File {
	t.Helper()
	f, err := s.Ingest(context.Background(), bytes.NewReader(data), int64(len(data)), chunks.Pack)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// contents are files of every shape: empty, small, of many chunks, with zeros,
// equal to others, larger than a window.
func contents() [][]byte {
	big := random(1, 3<<20)
	out := [][]byte{{}, []byte("one"), []byte("one"), big, big, random(2, windowBytes+windowBytes/2), make([]byte, 4<<20)}
	hole := append(append(random(3, 300<<10), make([]byte, 2<<20)...), random(4, 300<<10)...)
	out = append(out, hole, append(bytes.Clone(big), hole...))
	for i := range windowObjects + 10 {
		out = append(out, random(uint64(i+100), 20))
	}
	return out
}

func TestFill(t *testing.T) {
	t.Parallel()
	from, here := newStore(t), newStore(t)
	r := &remote{s: from}
	var mu sync.Mutex
	progress := int64(0)
	f := Filler{Store: here, Peers: r, Progress: func(n int64) { mu.Lock(); progress += n; mu.Unlock() }}
	want := contents()
	var reqs []Request
	total := int64(0)
	for i, c := range want {
		if i%2 == 0 && i > 2 {
			ingest(t, here, c) // part is on this disk
		}
		reqs = append(reqs, Request{File: ingest(t, from, c), To: &buffer{}})
		total += int64(len(c))
	}
	for i, err := range f.Fill(context.Background(), reqs) {
		if err != nil || !bytes.Equal(reqs[i].To.(*buffer).b, want[i]) {
			t.Errorf("file %d of %d bytes: wrong (%v)", i, len(want[i]), err)
		}
	}
	if progress != total {
		t.Errorf("progress of %d bytes, want %d", progress, total)
	}
	if limit := windowBytes + chunks.MaxChunk; r.largest > limit {
		t.Errorf("one pull had %d bytes, want at most %d", r.largest, limit)
	}
	if r.pulls > 20 {
		t.Errorf("%d pulls for %d files: windows do not span files", r.pulls, len(want))
	}
}

// TestFillPullsADuplicateOnce: a chunk that several files or places need travels once.
func TestFillPullsADuplicateOnce(t *testing.T) {
	t.Parallel()
	from := newStore(t)
	r := &remote{s: from}
	f := Filler{Store: newStore(t), Peers: r}
	c := random(1, 50)
	file := ingest(t, from, c)
	reqs := make([]Request, 9)
	for i := range reqs {
		reqs[i] = Request{File: file, To: &buffer{}}
	}
	if err := errors.Join(f.Fill(context.Background(), reqs)...); err != nil {
		t.Fatal(err)
	}
	for i := range reqs {
		if !bytes.Equal(reqs[i].To.(*buffer).b, c) {
			t.Errorf("file %d is wrong", i)
		}
	}
	if r.pulled != 1 {
		t.Errorf("pulled %d times, want once", r.pulled)
	}
}

// TestFillMissing: an object that nobody has fails the files that need it, no others.
func TestFillMissing(t *testing.T) {
	t.Parallel()
	from := newStore(t)
	a, b, m := random(1, 100), random(2, 100), random(3, 2<<20)
	r := &remote{s: from, missing: map[id.Digest]bool{}}
	reqs := []Request{
		{File: ingest(t, from, a), To: &buffer{}}, {File: ingest(t, from, b), To: &buffer{}}, {File: ingest(t, from, m), To: &buffer{}},
	}
	r.missing[reqs[0].File.Content] = true
	r.missing[reqs[2].File.Manifest] = true
	f := Filler{Store: newStore(t), Peers: r}
	errs := f.Fill(context.Background(), reqs)
	if !errors.Is(errs[0], chunks.ErrMissing) || errs[1] != nil || !errors.Is(errs[2], chunks.ErrMissing) {
		t.Errorf("%v, want the first and the last missing", errs)
	}
	r.missing = nil
	if err := errors.Join(f.Fill(context.Background(), []Request{{File: reqs[2].File, To: &buffer{}}})...); err != nil {
		t.Errorf("once it is there: %v", err)
	}
}

// TestFillResumes: what an earlier attempt left is verified and not pulled again.
func TestFillResumes(t *testing.T) {
	t.Parallel()
	from := newStore(t)
	c := append(append(random(1, 2<<20), make([]byte, 1<<20)...), random(2, 1<<20)...)
	file := ingest(t, from, c)
	for _, k := range []struct {
		name string
		old  []byte
		all  bool
	}{
		{"whole", c, true}, {"half", c[:2<<20], false}, {"damaged", func() []byte { d := bytes.Clone(c); d[2<<20] ^= 1; return d }(), false},
		{"empty", nil, false}, {"zeros", make([]byte, len(c)), false}, {"longer", append(bytes.Clone(c), 1), true},
		{"no zeros", random(3, len(c)), false},
	} {
		r := &remote{s: from}
		f := Filler{Store: newStore(t), Peers: r}
		to := &buffer{b: bytes.Clone(k.old)}
		if err := f.Fill(context.Background(), []Request{{File: file, To: to, Resume: true}})[0]; err != nil || !bytes.Equal(to.b, c) {
			t.Errorf("%s: wrong (%v)", k.name, err)
		}
		if (r.pulled == 0) != k.all {
			t.Errorf("%s: pulled %d chunks", k.name, r.pulled)
		}
	}
}

// TestFillFails: a pull that fails, or a context that ends, fails what it was for.
func TestFillFails(t *testing.T) {
	t.Parallel()
	from := newStore(t)
	file := ingest(t, from, random(1, 100))
	broken := errors.New("broken")
	f := Filler{Store: newStore(t), Peers: &remote{s: from, err: broken}}
	if err := f.Fill(context.Background(), []Request{{File: file, To: &buffer{}}})[0]; !errors.Is(err, broken) {
		t.Errorf("%v, want the pull's error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range f.Fill(ctx, []Request{{File: file, To: &buffer{}}, {File: file, To: &buffer{}}}) {
		if err == nil {
			t.Error("complete although the context had ended")
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	from, here := newStore(t), newStore(t)
	for _, c := range contents()[:9] {
		r := Reader(context.Background(), here, &remote{s: from}, id.Folder{}, nil, ingest(t, from, c))
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, c) {
			t.Errorf("%d bytes: wrong (%v)", len(c), err)
		}
		_ = r.Close()
	}
}

// held is a Puller whose pulls last until their context ends.
type held struct{ began, ended chan struct{} }

func (h held) Pull(ctx context.Context, _ id.Folder, _ []id.Node, _ []Want, _ func(int, []byte) error) ([]int, error) {
	close(h.began)
	<-ctx.Done()
	close(h.ended)
	return nil, ctx.Err()
}

// TestReaderCloseEndsWhatItBegan: a reader that is closed early leaves no pull
// behind, which would use a store that may be closed by then.
func TestReaderCloseEndsWhatItBegan(t *testing.T) {
	t.Parallel()
	h := held{began: make(chan struct{}), ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := Reader(ctx, newStore(t), h, id.Folder{}, nil, ingest(t, newStore(t), random(1, 100)))
	<-h.began
	_ = r.Close()
	select {
	case <-h.ended:
	default:
		t.Error("a pull goes on after Close")
	}
}
