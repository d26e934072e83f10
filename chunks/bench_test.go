package chunks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

func benchRig(b *testing.B) *rig {
	db, err := kv.Open(filepath.Join(b.TempDir(), "kv"), kv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return newRig(b, func(o *Options) { o.KV = db })
}

func BenchmarkIngest(b *testing.B) {
	const size = 256 << 20
	for _, c := range []struct {
		name string
		data []byte
		m    Mode
	}{
		{"noise/pack", noise(1, size), Pack},
		{"noise/locate", noise(1, size), Locate(1)},
		{"text/pack", text(1, size), Pack},
		{"zeros/pack", make([]byte, size), Pack},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := benchRig(b)
				b.StartTimer()
				r.ingest2(c.data, c.m)
				b.StopTimer()
				// Deleted at once: fresh page cache is slow on a virtual machine.
				_ = r.Close()
				_ = os.RemoveAll(r.o.Dir)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSum hashes objects, as every way in and out does.
func BenchmarkSum(b *testing.B) {
	for _, c := range []struct {
		name string
		k    Kind
		size int
	}{{"chunk/4KiB", Chunk, 4 << 10}, {"chunk/64KiB", Chunk, 64 << 10}, {"node/64KiB", Node, 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			data := noise(1, c.size)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for b.Loop() {
				Sum(c.k, data)
			}
		})
	}
}

// BenchmarkHas asks an index of 200,000 chunks, half in packs and half in files, which
// of 1,000 are there.
func BenchmarkHas(b *testing.B) {
	r := benchRig(b)
	const objects, asked = 200_000, 1000
	name := func(n int) id.Digest { return id.Sum(fmt.Append(nil, n)) }
	batch := r.o.KV.NewBatch()
	for n := range objects {
		if n%2 == 0 {
			batch.Set(packKey(key{Chunk, name(n)}), place{pack: 1, off: uint32(n), stored: 100, raw: 100}.encode())
		} else {
			batch.Set(locationKey(name(n), 1, int64(n)), lengthValue(100))
		}
	}
	if err := batch.Commit(false); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		pick func(i int) int
		want bool
	}{
		{"packed", func(i int) int { return i * 200 }, true},
		{"located", func(i int) int { return i*200 + 1 }, true},
		{"missing", func(i int) int { return objects + i }, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			ids := make([]id.Digest, asked)
			for i := range ids {
				ids[i] = name(c.pick(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, ok := range r.Has(ids) {
					if ok != c.want {
						b.Fatal(ok)
					}
				}
			}
			b.ReportMetric(asked, "objects/op")
		})
	}
}

func (r *rig) ingest2(b []byte, m Mode) {
	if _, err := r.Ingest(context.Background(), bytes.NewReader(b), int64(len(b)), m); err != nil {
		r.t.Fatal(err)
	}
}

// BenchmarkIngestAgain is the dedup path: every chunk is there and verified.
func BenchmarkIngestAgain(b *testing.B) {
	data := noise(1, 64<<20)
	r := benchRig(b)
	r.ingest2(data, Pack)
	r.sync()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		r.known.init()
		r.ingest2(data, Pack)
	}
}

func BenchmarkIngestSmallFiles(b *testing.B) {
	src := text(3, 64<<20)
	r := benchRig(b)
	n := 0
	b.SetBytes(9 << 10)
	b.ReportAllocs()
	for b.Loop() {
		off := n * 7919 % (len(src) - 9<<10)
		r.ingest2(src[off:off+9<<10], Pack)
		n++
	}
	r.sync()
}

// BenchmarkGet reads all chunks of 64 MiB in packs, or in a file.
func BenchmarkGet(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
		m    Mode
	}{{"noise/packed", noise(1, 64<<20), Pack}, {"text/packed", text(1, 64<<20), Pack}, {"noise/located", noise(1, 64<<20), Locate(1)}} {
		b.Run(c.name, func(b *testing.B) {
			r := benchRig(b)
			r.files.set(1, c.data)
			f := r.ingest(c.data, c.m)
			r.sync()
			rows := r.rows(f)
			var buf []byte
			b.SetBytes(64 << 20)
			b.ReportAllocs()
			for b.Loop() {
				for _, row := range rows {
					var err error
					if buf, err = r.Get(context.Background(), row.ID, Chunk, buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(rows)), "objects/op")
		})
	}
}

// BenchmarkAssemble is what a receiver asks before it pulls: all missing, or all
// in a file that it has.
func BenchmarkAssemble(b *testing.B) {
	for _, m := range []Mode{Pack, Locate(1)} {
		name := map[bool]string{false: "packed", true: "located"}[m.Locate]
		b.Run(name, func(b *testing.B) {
			r := benchRig(b)
			data := noise(1, 256<<20)
			f := r.ingest(data, m)
			r.sync()
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				for p, err := range r.Assemble(context.Background(), f, nil) {
					if err != nil || !p.Local {
						b.Fatal(p, err)
					}
				}
			}
		})
	}
}
