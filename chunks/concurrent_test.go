package chunks

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks/cdc"
)

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.PackBytes = 1 << 20 })
	ctx := context.Background()
	var eg errgroup.Group
	for g := range 8 {
		eg.Go(func() error {
			for i := range 12 {
				b := noise(i+g/2, 30000+i*40000) // pairs work on the same files
				if i == 11 {
					b = noise(5, 3<<20)
				}
				m := Pack
				if i%4 == 3 {
					r.files.set(uint64(100*g+i), b)
					m = Locate(uint64(100*g + i))
				}
				f, err := r.Ingest(ctx, bytes.NewReader(b), int64(len(b)), m)
				if err != nil {
					return err
				}
				if i%3 == 0 {
					if err := r.Sync(ctx); err != nil {
						return err
					}
				}
				got, err := r.read(f)
				if err != nil {
					return err
				}
				if !bytes.Equal(got, b) {
					return errors.New("wrong bytes")
				}
				if m.Locate {
					if err := errors.Join(r.PackFile(ctx, f, bytes.NewReader(b)), r.DropFile(m.File)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	r.sync()
	r.reopen()
	r.checkRows()
}

func TestLargeClass(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	b := append(noise(1, 12<<20), make([]byte, 9<<20)...)
	b = append(b, noise(2, 3<<20)...)
	f, err := r.ingestLarge(ctx, bytes.NewReader(b), int64(len(b)), Pack, cdc.For(1<<40))
	if err != nil {
		t.Fatal(err)
	}
	r.mustHold(f, b)
	if n := len(r.rows(f)); n > 30 {
		t.Errorf("%d chunks", n)
	}
}

// TestSyncWithNothingToDo costs nothing, and works after Close.
func TestSyncWithNothingToDo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sync()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.sync()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Ingest(context.Background(), bytes.NewReader([]byte("x")), 1, Pack); !errors.Is(err, ErrClosed) {
		t.Errorf("ingest after close: %v", err)
	}
}

// TestSyncIsShared: all who come while a sync runs share the next one.
func TestSyncIsShared(t *testing.T) {
	t.Parallel()
	const callers = 20
	cfs := newCrashFS()
	r := newRig(t, func(o *Options) { o.fs = cfs })
	started, release := make(chan struct{}), make(chan struct{})
	var syncs atomic.Int32
	cfs.setFail(func(op, _ string) error {
		if op == "sync" && syncs.Add(1) == 1 {
			close(started)
			<-release
		}
		return nil
	})
	r.ingest(noise(0, 1000), Pack)
	var eg errgroup.Group
	eg.Go(func() error { return r.Sync(context.Background()) })
	<-started
	for i := range callers {
		f := r.ingest(noise(i+1, 1000), Pack)
		eg.Go(func() error {
			if err := r.Sync(context.Background()); err != nil {
				return err
			}
			if _, ok, err := r.kv.Get(packKey(key{Chunk, f.Content})); !ok || err != nil {
				return errors.New("synced without a row")
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	for joined := 0; joined < callers; runtime.Gosched() {
		r.group.mu.Lock()
		if r.group.next != nil {
			joined = r.group.next.callers
		}
		r.group.mu.Unlock()
	}
	cancel()
	if err := r.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that may leave: %v", err)
	}
	close(release)
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d fsyncs, want 2", n)
	}
}
