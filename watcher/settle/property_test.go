package settle

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// TestInvariants runs random histories of a few files and holds, at each report:
// nobody has the file open for writing unless it was quiet for long; its last
// event is at least the quiet time ago unless events came all the time; what is
// reported is what is on the disk. In the end every change has been reported.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leases := rapid.Bool().Draw(t, "leases")
		w := newWorld(Config{MaxBatch: rapid.IntRange(1, 5).Draw(t, "batch")})
		events := make(map[id.Path]time.Time)
		quietFrom := make(map[id.Path]time.Time) // since when events have come densely
		opened := make(map[id.Path]time.Time)
		last := make(map[id.Path]vfs.Stat)
		var requeued []Settled
		check := func(s Settled, at time.Time) {
			f := w.file(s.Path)
			if !s.Stat.Same(f.stat) {
				t.Fatalf("%s: reported %+v, is %+v", s.Path, s.Stat, f.stat)
			}
			quiet := at.Sub(events[s.Path])
			if f.probe == Held && opened[s.Path].Before(at) && quiet < 2*time.Second {
				t.Fatalf("%s: reported while open for writing, %v after its last event", s.Path, quiet)
			}
			if quiet < 3*ms && at.Sub(quietFrom[s.Path]) < 5*time.Second {
				t.Fatalf("%s: reported %v after its last event", s.Path, quiet)
			}
			last[s.Path] = s.Stat
		}
		run := func(d time.Duration) {
			end := w.now.Add(d)
			for {
				for _, p := range w.m.Due(w.now, 3) {
					f := w.file(p)
					w.m.Looked(p, Look{Stat: f.stat, Probe: f.probe, Known: f.known}, w.now)
				}
				for _, s := range w.m.Close(w.now) {
					check(s, s.At)
					requeued = append(requeued, s)
				}
				at, any := w.m.Next(true)
				if !any || at.After(end) {
					break
				}
				if at.After(w.now) {
					w.now = at
				}
			}
			w.now = end
		}
		paths := rapid.SampledFrom([]id.Path{"a", "a/b", "c", "d"})
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				p := paths.Draw(t, "path")
				if w.now.Sub(events[p]) >= 3*ms || quietFrom[p].IsZero() {
					quietFrom[p] = w.now
				}
				w.write(p)
				events[p] = w.now
			},
			"open": func(t *rapid.T) {
				p := paths.Draw(t, "path")
				if w.file(p).probe != Held {
					opened[p] = w.now
				}
				w.file(p).probe = Held
			},
			"close": func(t *rapid.T) { w.file(paths.Draw(t, "path")).probe = Closed },
			"known": func(t *rapid.T) { w.file(paths.Draw(t, "path")).known = true },
			"hash": func(t *rapid.T) {
				took := time.Duration(rapid.IntRange(0, 500).Draw(t, "took")) * ms
				w.m.Hashed(paths.Draw(t, "path"), took, w.now)
			},
			"requeue": func(t *rapid.T) {
				if len(requeued) > 0 {
					s := requeued[len(requeued)-1]
					requeued = requeued[:len(requeued)-1]
					w.m.Requeue(s, w.now)
					events[s.Path], quietFrom[s.Path] = w.now, w.now
				}
			},
			"time": func(t *rapid.T) {
				run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * ms)
			},
		})
		for p := range events {
			w.file(p).probe = Closed
			if !leases {
				w.file(p).probe = Unknown
			}
		}
		run(time.Hour)
		if n := w.m.Len(); n != 0 || w.m.active != 0 || w.m.settled != 0 || len(w.m.queue) != 0 {
			t.Fatalf("left: %d entries, %d active, %d settled, %d queued", n, w.m.active, w.m.settled, len(w.m.queue))
		}
		for p := range events {
			if !last[p].Same(w.file(p).stat) {
				t.Fatalf("%s: last reported %+v, is %+v", p, last[p], w.file(p).stat)
			}
		}
	})
}

func BenchmarkBurst(b *testing.B) {
	paths := make([]id.Path, 10000)
	for i := range paths {
		paths[i] = id.Path(fmt.Sprintf("d/f%05d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		m := New(Config{})
		now := epoch
		for _, p := range paths {
			m.Touch(p, now)
		}
		now = now.Add(time.Second)
		for _, p := range m.Due(now, len(paths)) {
			m.Looked(p, Look{}, now)
		}
		if got := len(m.Close(now)); got != len(paths) {
			b.Fatal(got)
		}
	}
}
