package control_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/controltest"
)

// waitsHere waits for a channel and for a mutex again and again until end is closed.
func waitsHere(end <-chan struct{}) {
	var mu sync.Mutex
	turn := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		defer close(turn)
		for {
			mu.Lock()
			time.Sleep(time.Millisecond) // what the other one waits for
			mu.Unlock()
			select {
			case turn <- struct{}{}:
			case <-end:
				return
			}
		}
	})
	for range turn {
		mu.Lock()
		runtime.Gosched()
		mu.Unlock()
	}
}

// TestProfilesOfWaiting: block and mutex profiles hold what happened while they were
// taken, and nothing is recorded otherwise.
func TestProfilesOfWaiting(t *testing.T) {
	h := home(t)
	controltest.Serve(t, h, &controltest.Fake{})
	c := control.NewClient(h)
	end := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { waitsHere(end) })
	for _, name := range []string{"block", "mutex"} {
		all.Go(func() {
			if got := profile(t, c, name+"?seconds=1"); !strings.Contains(got, "waitsHere") {
				t.Errorf("%s: %d bytes without the function that waits", name, len(got))
			}
		})
	}
	for _, name := range []string{"profile?seconds=1", "allocs", "heap", "goroutine", "allocs?seconds=1"} {
		all.Go(func() { profile(t, c, name) })
	}
	var trace bytes.Buffer
	if err := c.Profile(t.Context(), "trace?seconds=0.1", &trace); err != nil || !strings.HasPrefix(trace.String(), "go 1.") {
		t.Errorf("trace: %d bytes, %v", trace.Len(), err)
	}
	// Those above wait a second; when they are through the one that waits may end.
	go func() {
		defer close(end)
		profile(t, c, "block?seconds=1")
	}()
	all.Wait()
	if n := runtime.SetMutexProfileFraction(-1); n != 0 {
		t.Errorf("contention is still recorded, at 1/%d", n)
	}
	var before, after bytes.Buffer
	if err := pprof.Lookup("block").WriteTo(&before, 1); err != nil {
		t.Fatal(err)
	}
	again := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(again) })
	waitsHere(again)
	if err := pprof.Lookup("block").WriteTo(&after, 1); err != nil {
		t.Fatal(err)
	}
	if before.String() != after.String() {
		t.Errorf("blocking is still recorded: %d bytes, then %d", before.Len(), after.Len())
	}
}

// profile takes one and returns it unpacked: names stand in it as they are.
func profile(t *testing.T, c *control.Client, name string) string {
	var buf bytes.Buffer
	if err := c.Profile(t.Context(), name, &buf); err != nil {
		t.Errorf("%s: %v", name, err)
		return ""
	}
	z, err := gzip.NewReader(&buf)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return ""
	}
	raw, err := io.ReadAll(z)
	if err != nil || len(raw) == 0 {
		t.Errorf("%s: %d bytes, %v", name, len(raw), err)
	}
	return string(raw)
}
