package chunks

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// sparse is a file of zeros with a stretch of noise at each step.
type sparse struct {
	step  int64
	noise []byte
}

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for at := off / s.step * s.step; at < off+int64(len(b)); at += s.step {
		if at >= off {
			copy(b[at-off:], s.noise)
		} else if off-at < int64(len(s.noise)) {
			copy(b, s.noise[off-at:])
		}
	}
	return len(b), nil
}

// TestHugeFile takes 12 GiB and 20 GiB (the large class) with bounded memory.
func TestHugeFile(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: a file of 20 GiB takes half a minute; set LOCKSTEP_LONG=1")
	}
	var peak atomic.Uint64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	r := newRig(t)
	for _, size := range []int64{12 << 30, 20 << 30} {
		src := sparse{64 << 20, noise(1, 3<<20)}
		start := time.Now()
		f, err := r.Ingest(ctx, src, size, Pack)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		var n int64
		count := 0
		for row, err := range r.Rows(ctx, f, nil) {
			if err != nil {
				t.Fatal(err)
			}
			n += int64(row.Len)
			count++
		}
		if n != size {
			t.Errorf("rows hold %d bytes", n)
		}
		t.Logf("%d GiB: %v, %d chunks", size>>30, took, count)
	}
	cancel()
	<-done
	t.Logf("peak heap %d MiB", peak.Load()>>20)
	if peak.Load() > 128<<20 {
		t.Errorf("peak heap %d MiB", peak.Load()>>20)
	}
}
