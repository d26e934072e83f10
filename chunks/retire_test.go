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

// TestRetireSeesTheOtherGo: a file that was retired while another looked at it, having
// relied on that one before it began, does not count as a place.
func TestRetireSeesTheOtherGo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t)
	b := noise(1, 300<<10)
	for n := uint64(1); n <= 2; n++ {
		r.files.set(n, b)
	}
	f := r.ingest(b, Locate(1))
	r.ingest(b, Locate(2))
	if err := r.Rescue(ctx, 1, bytes.NewReader(b)); err != nil { // file 2 has it
		t.Fatal(err)
	}
	var once sync.Once
	r.files.opened = func(n uint64) {
		if n == 1 {
			once.Do(func() { // file 1's Retire ends now
				if err := r.DropFile(1); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := r.Retire(ctx, 2, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	r.files.opened = nil
	r.files.set(1, nil)
	r.files.set(2, nil)
	r.mustHold(f, b)
}
