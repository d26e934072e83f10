package chunks

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
)

// TestRetireTogether: of files that go at the same time, each holding what others hold
// too, every chunk is in a pack in the end, whichever was looked at first.
func TestRetireTogether(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for seed := range 20 {
		r := newRig(t)
		a, b := noise(2*seed+1, 300<<10), noise(2*seed+2, 300<<10)
		held := make([][]byte, 8)
		files := make([]File, len(held))
		for i := range held {
			held[i] = slices.Concat(a, b)
			if i%2 == 1 {
				held[i] = slices.Concat(b, a)
			}
			r.files.set(uint64(i+1), held[i])
			files[i] = r.ingest(held[i], Locate(uint64(i+1)))
		}
		var g sync.WaitGroup
		for i := range held {
			g.Go(func() {
				if err := r.Retire(ctx, uint64(i+1), bytes.NewReader(held[i])); err != nil {
					t.Error(err)
				}
				r.files.set(uint64(i+1), nil)
			})
		}
		g.Wait()
		for i := range held {
			r.mustHold(files[i], held[i])
		}
	}
}
