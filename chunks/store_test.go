package chunks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/chunks/cdc"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// noise is n reproducible random bytes.
func noise(seed, n int) []byte {
	h := blake3.NewDeriveKey("lockstep test noise")
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], uint64(seed))
	_, _ = h.Write(s[:])
	b := make([]byte, n)
	_, _ = h.Digest().Read(b)
	return b
}

// text is n bytes that compress.
func text(seed, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of a file that compresses\n", r.IntN(1e6))
	}
	return b.Bytes()[:n]
}

// memFiles are located files.
type memFiles struct {
	mu    sync.Mutex
	files map[uint64][]byte
	opens int
	// opened, if set, is called with each file that was opened.
	opened func(n uint64)
}

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

func (m *memFiles) set(n uint64, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[uint64][]byte{}
	}
	if b == nil {
		delete(m.files, n)
		return
	}
	m.files[n] = b
}

func (m *memFiles) OpenLocation(n uint64) (LocationFile, error) {
	m.mu.Lock()
	m.opens++
	b, ok := m.files[n]
	opened := m.opened
	m.mu.Unlock()
	if opened != nil {
		opened(n)
	}
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memFile{bytes.NewReader(b)}, nil
}

type rig struct {
	*Store
	t     testing.TB
	o     Options
	files *memFiles
}

// newRig opens a store with an in-memory index.
func newRig(t testing.TB, mod ...func(*Options)) *rig {
	t.Helper()
	db, err := kv.Open("local", kv.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := &rig{t: t, files: &memFiles{}}
	r.o = Options{Dir: filepath.Join(t.TempDir(), "packs"), KV: db, Files: r.files}
	for _, m := range mod {
		m(&r.o)
	}
	r.open()
	t.Cleanup(func() { _ = r.Store.Close() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	s, err := Open(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Store = s
}

// reopen closes and opens again: all that is known in memory is forgotten.
func (r *rig) reopen() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

func (r *rig) ingest(b []byte, m Mode) File {
	r.t.Helper()
	f, err := r.Ingest(context.Background(), bytes.NewReader(b), int64(len(b)), m)
	if err != nil {
		r.t.Fatal(err)
	}
	if f.Content != id.Sum(b) || f.Size != int64(len(b)) {
		r.t.Fatalf("ingest %d bytes: content %s size %d", len(b), f.Content, f.Size)
	}
	return f
}

func (r *rig) sync() {
	r.t.Helper()
	if err := r.Sync(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// read puts a file together again.
func (r *rig) read(f File) ([]byte, error) {
	var out, buf []byte
	for row, err := range r.Rows(context.Background(), f, nil) {
		if err != nil {
			return nil, err
		}
		if row.Offset != int64(len(out)) {
			return nil, fmt.Errorf("row at %d, want %d", row.Offset, len(out))
		}
		b, err := r.Get(context.Background(), row.ID, Chunk, buf)
		if err != nil {
			return nil, err
		}
		if len(b) != row.Len {
			return nil, fmt.Errorf("chunk of %d bytes, want %d", len(b), row.Len)
		}
		buf = b
		out = append(out, b...)
	}
	return out, nil
}

func (r *rig) mustHold(f File, want []byte) {
	r.t.Helper()
	got, err := r.read(f)
	if err != nil {
		r.t.Fatalf("file of %d bytes: %v", f.Size, err)
	}
	if !bytes.Equal(got, want) {
		r.t.Fatalf("file of %d bytes: wrong content", f.Size)
	}
}

func (r *rig) rows(f File) (rows []Row) {
	r.t.Helper()
	for row, err := range r.Rows(context.Background(), f, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

var sizes = []int{0, 1, 63, 64, 1000, 16 << 10, 16<<10 + 1, 100000, 256 << 10, 256<<10 + 1, 1 << 20, 2 << 20, 2<<20 + 1, 5 << 20, 12345678}

func TestIngestAndRead(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name string
		make func(seed, n int) []byte
	}{
		{"noise", noise}, {"text", text},
		{"zeros", func(_, n int) []byte { return make([]byte, n) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *Options) { o.PackBytes = 3 << 20 })
			var files []File
			for _, n := range sizes {
				b := kind.make(n, n)
				f := r.ingest(b, Pack)
				if (f.Manifest.IsZero()) != (n <= 16<<10 || len(r.rows(f)) == 1) {
					t.Errorf("%d bytes: manifest %s", n, f.Manifest)
				}
				r.mustHold(f, b) // before any sync
				files = append(files, f)
			}
			r.sync()
			for i, n := range sizes {
				r.mustHold(files[i], kind.make(n, n))
			}
			r.reopen()
			for i, n := range sizes {
				r.mustHold(files[i], kind.make(n, n))
				if g := r.ingest(kind.make(n, n), Pack); g != files[i] {
					t.Errorf("%d bytes ingested again: %+v, was %+v", n, g, files[i])
				}
			}
			if n := len(r.fresh); n != 0 {
				t.Errorf("%d objects stored twice", n)
			}
			if err := r.RebuildIndex(context.Background()); err != nil {
				t.Fatal(err)
			}
			for i, n := range sizes {
				r.mustHold(files[i], kind.make(n, n))
			}
		})
	}
}

// TestIngestSmallAndLargeAgree: the pipeline and the short way give one result.
func TestIngestSmallAndLargeAgree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := append(noise(1, 700000), make([]byte, 900000)...)
	b = append(b, text(2, 400000)...)
	want, err := r.ingestSmall(context.Background(), bytes.NewReader(b), int64(len(b)), Pack)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.ingestLarge(context.Background(), bytes.NewReader(b), int64(len(b)), Pack, cdc.For(0))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("%+v, the other way %+v", got, want)
	}
}

func TestIngestShortFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, n := range []int{10, 3 << 20} {
		_, err := r.Ingest(context.Background(), bytes.NewReader(noise(1, n)), int64(n)+1, Pack)
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%d bytes, one said too many: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Ingest(ctx, bytes.NewReader(noise(1, 3<<20)), 3<<20, Pack); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestInsertionChangesLittle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := noise(5, 48<<20)
	f := r.ingest(b, Locate(1))
	nodes := len(r.fresh)
	g := r.ingest(append([]byte{1}, b...), Locate(2))
	if n := len(r.fresh) - nodes; n > 4 {
		t.Errorf("one byte inserted: %d new manifest nodes of %d", n, nodes)
	}
	old := map[id.Digest]bool{}
	for _, row := range r.rows(f) {
		old[row.ID] = true
	}
	fresh := 0
	for _, row := range r.rows(g) {
		if !old[row.ID] {
			fresh += row.Len
		}
	}
	if fresh > 300<<10 {
		t.Errorf("one byte inserted: %d bytes of new chunks", fresh)
	}
}

func TestPutAndRaw(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	for _, b := range [][]byte{noise(1, 5000), text(1, 50000), {7}} {
		d := id.Sum(b)
		if err := r.Put(ctx, Chunk, d, b); err != nil {
			t.Fatal(err)
		}
		if err := r.Put(ctx, Chunk, id.Sum([]byte("else")), b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("put under a wrong ID: %v", err)
		}
		raw, z, err := r.Raw(ctx, d, Chunk)
		if err != nil {
			t.Fatal(err)
		}
		if z && len(raw) >= len(b) {
			t.Errorf("%d bytes compressed to %d", len(b), len(raw))
		}
		for _, n := range []int{0, len(b)} {
			if got, err := Decode(Chunk, d, raw, z, n, nil); err != nil || !bytes.Equal(got, b) {
				t.Errorf("decode: %v", err)
			}
		}
		if z {
			if _, err := Decode(Chunk, d, raw, z, len(b)-1, nil); !errors.Is(err, ErrCorrupt) {
				t.Errorf("decode into too little room: %v", err)
			}
		}
		if _, err := r.Get(ctx, d, Node, nil); !errors.Is(err, ErrMissing) {
			t.Errorf("a chunk posed as a node: %v", err)
		}
	}
	var me *MissingError
	if _, err := r.Get(ctx, id.Digest{1}, Chunk, nil); !errors.As(err, &me) || me.ID != (id.Digest{1}) {
		t.Errorf("missing chunk: %v", err)
	}
	if err := r.Put(ctx, Chunk, id.Sum(nil), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("empty chunk: %v", err)
	}
	if _, err := r.PutNodes(ctx, [][]byte{{1, 2, 3}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("garbage as a node: %v", err)
	}
}

func TestZeroChunksAreEverywhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	f := r.ingest(make([]byte, 64<<20), Pack)
	zero := 0
	for p, err := range r.Assemble(ctx, f, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Zero && p.Local {
			zero += p.Len
		}
	}
	if zero != 64<<20 {
		t.Errorf("%d bytes known as zeros", zero)
	}
	if r.app.active.end > 20<<10 {
		t.Errorf("64 MiB of zeros take %d bytes", r.app.active.end)
	}
	for n, d := range zeroIDs() {
		raw, z, err := r.Raw(ctx, d, Chunk)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := Decode(Chunk, d, raw, z, n, nil); err != nil || len(b) != n {
			t.Errorf("decode zeros: %v", err)
		}
		if !r.Has([]id.Digest{d})[0] || !IsZero(d, n) || IsZero(d, n-1) {
			t.Errorf("%d zeros are not known", n)
		}
	}
}
