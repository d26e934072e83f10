package chunks

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

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

func BenchmarkGet(b *testing.B) {
	r := benchRig(b)
	data := noise(1, 64<<20)
	f := r.ingest(data, Pack)
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
