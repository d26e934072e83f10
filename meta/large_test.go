package meta

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// peak samples the heap while fn runs and returns its largest size above the start.
func peak(fn func()) uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	start := s.HeapInuse
	var top atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				if s.HeapInuse > start {
					top.Store(max(top.Load(), s.HeapInuse-start))
				}
			}
		}
	}()
	fn()
	close(stop)
	<-done
	return top.Load()
}

// Commands of constant size with effects on 300,000 files hold a few batches in
// memory, not the effects.
func TestLarge(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: set LOCKSTEP_LONG=1 to move, delete and roll back 300,000 files")
	}
	w := newWorld(t)
	db, err := kv.Open(t.TempDir(), kv.Options{NoWAL: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w.db = db
	if w.m, err = NewMachine(oneDB{db}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.m.ApplyBatch(w.log); err != nil {
		t.Fatal(err)
	}
	w.log = nil
	const files, each = 300_000, 50_000
	w.commit(nodeA, put("d", Base{}, dir()))
	for i := 0; i < files; i += each {
		var ch []Change
		for k := range each {
			if k%1000 == 0 {
				ch = append(ch, put(id.Path(fmt.Sprintf("d/%d", (i+k)/1000)), Base{}, dir()))
			}
			ch = append(ch, put(id.Path(fmt.Sprintf("d/%d/file-%d", (i+k)/1000, i+k)), Base{}, file(fmt.Sprint(i+k))))
		}
		t0 := time.Now()
		var o Outcome
		top := peak(func() { o = w.commit(nodeA, ch...) })
		t.Logf("%d puts: %s, %d MiB, revision %s", len(ch), time.Since(t0), top>>20, o.Revision)
	}
	first := w.head()
	for _, step := range []struct {
		name string
		do   func() Outcome
	}{
		{"move", func() Outcome { return w.commit(nodeA, mv("d", "e", w.head())) }},
		{"delete", func() Outcome { return w.commit(nodeA, del("e", w.head())) }},
		{"rollback", func() Outcome {
			return w.must(w.do(nodeA, RollbackCmd{Folder: w.folder, Target: first.Revision, TargetHash: first.Hash}))
		}},
	} {
		t0 := time.Now()
		var o Outcome
		top := peak(func() { o = step.do() })
		t.Logf("%s: %s, %d MiB, revision %s", step.name, time.Since(t0), top>>20, o.Revision)
		if top > 120<<20 {
			t.Errorf("%s holds %d MiB", step.name, top>>20)
		}
	}
	v := w.m.View()
	defer v.Close()
	if tot, err := v.Totals(w.folder); err != nil || tot.Files != files || tot.Dirs != files/1000+1 {
		t.Errorf("%+v %v", tot, err)
	}
}
