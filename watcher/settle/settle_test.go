package settle

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world runs a machine against simulated files, in virtual time.
type world struct {
	m     *Machine
	now   time.Time
	files map[id.Path]*file
	out   []report
	looks int
}

type file struct {
	stat    vfs.Stat
	probe   Probe
	known   bool
	blocked string
	same    bool
}

type report struct {
	path id.Path
	at   time.Duration
	stat vfs.Stat
}

func newWorld(c Config) *world {
	return &world{m: New(c), now: epoch, files: make(map[id.Path]*file)}
}

func (w *world) file(p id.Path) *file {
	f := w.files[p]
	if f == nil {
		f = &file{stat: vfs.Stat{Kind: vfs.File, Ino: uint64(len(w.files) + 1)}}
		w.files[p] = f
	}
	return f
}

// write changes a file with an event.
func (w *world) write(p id.Path) {
	w.file(p).stat.Size++
	w.m.Touch(p, w.now)
}

// until lets the machine run, as the watcher's loop does, until d after the epoch.
func (w *world) until(d time.Duration) {
	end := epoch.Add(d)
	for {
		w.step()
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

func (w *world) step() {
	for _, p := range w.m.Due(w.now, 1000) {
		w.looks++
		f := w.file(p)
		if f.same {
			w.m.Drop(p, w.now)
			continue
		}
		w.m.Looked(p, Look{Stat: f.stat, Probe: f.probe, Known: f.known, Blocked: f.blocked}, w.now)
	}
	for _, s := range w.m.Close(w.now) {
		w.out = append(w.out, report{s.Path, w.now.Sub(epoch), s.Stat})
	}
}

// since says when a path was reported last, in time after the epoch.
func (w *world) reported(p id.Path) (time.Duration, bool) {
	for i := len(w.out) - 1; i >= 0; i-- {
		if w.out[i].path == p {
			return w.out[i].at, true
		}
	}
	return 0, false
}

func TestWhenAPathIsReported(t *testing.T) {
	const never = -1
	tests := []struct {
		name string
		run  func(w *world)
		want time.Duration
	}{
		{"closed file after the quiet time", func(w *world) { w.write("f") }, 3 * ms},
		{"last event counts", func(w *world) { w.write("f"); w.until(2 * ms); w.write("f") }, 5 * ms},
		{"as recorded", func(w *world) { w.write("f"); w.file("f").same = true }, never},
		{"blocked at once", func(w *world) { w.write("f"); w.file("f").blocked = "denied"; w.file("f").probe = Held }, 3 * ms},
		{"gone", func(w *world) { w.write("f"); w.file("f").stat = vfs.Stat{} }, 3 * ms},
		{"held, then closed after 20 ms", func(w *world) {
			w.write("f")
			w.file("f").probe = Held
			w.until(20 * ms)
			w.file("f").probe = Closed
		}, 21 * ms},
		{"held and known", func(w *world) { w.write("f"); w.file("f").probe = Held; w.file("f").known = true }, 2 * time.Second},
		{"held and new", func(w *world) { w.write("f"); w.file("f").probe = Held }, time.Minute},
		{"held, known and written every second", func(w *world) {
			w.file("f").probe, w.file("f").known = Held, true
			for s := range 10 {
				w.until(time.Duration(s) * time.Second)
				w.write("f")
			}
		}, 11 * time.Second},
		{"held, known and changed without events", func(w *world) {
			w.file("f").probe, w.file("f").known = Held, true
			w.write("f")
			w.until(1900 * ms)
			w.file("f").stat.Size++
			w.until(4500 * ms)
		}, 4000 * ms},
		{"held and known, and scans see it", func(w *world) {
			w.file("f").probe, w.file("f").known = Held, true
			w.write("f")
			for s := range 10 {
				w.until(time.Duration(s) * time.Second / 2)
				w.m.Found("f", w.now)
			}
		}, 2 * time.Second},
		{"no leases: two looks", func(w *world) { w.write("f"); w.file("f").probe = Unknown }, 33 * ms},
		{"no leases, and it grows", func(w *world) {
			w.file("f").probe = Unknown
			w.write("f")
			for i := range 10 {
				w.until(time.Duration(i) * 20 * ms)
				w.file("f").stat.Size++
			}
		}, 423 * ms},
		{"hot: ten times what its hash took", func(w *world) {
			w.write("f")
			w.until(3 * ms)
			w.m.Hashed("f", 500*ms, w.now)
			w.until(4 * ms)
			w.out = nil
			w.write("f")
		}, 5003 * ms},
		{"hot, settled before its hash ended", func(w *world) {
			w.m.Hold()
			w.write("f")
			w.until(10 * ms)
			w.m.Hashed("f", 50*ms, w.now)
			w.m.Release()
		}, 510 * ms},
		{"hot, and hashed as it is", func(w *world) {
			w.m.Hold()
			w.write("f")
			w.until(10 * ms)
			w.m.Hashed("f", time.Hour, w.now)
			w.file("f").same = true
			w.m.Release()
			w.until(10*ms + hotPoll)
			if w.m.Len() > 0 { // still dirty: told below as a report that should not be
				w.out = append(w.out, report{path: "f, dirty though it is as recorded"})
			}
		}, never},
		{"hot, but the user wants it now", func(w *world) {
			w.m.Hashed("f", time.Hour, w.now)
			w.write("f")
			w.until(time.Second)
			w.m.Hurry(w.now)
		}, time.Second},
		{"hot, but gone", func(w *world) {
			w.m.Hashed("f", time.Hour, w.now)
			w.write("f")
			w.file("f").stat = vfs.Stat{}
		}, 3 * ms},
		{"events all the time", func(w *world) {
			for i := range 6000 {
				w.until(time.Duration(i) * ms)
				w.write("f")
			}
		}, 5000 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(Config{})
			tt.run(w)
			w.until(10 * time.Minute)
			if tt.want == never {
				if len(w.out) != 0 {
					t.Fatalf("reported %v", w.out)
				}
				return
			}
			if len(w.out) == 0 {
				t.Fatal("never reported")
			}
			got := w.out[0].at
			if got < tt.want || got > tt.want+tt.want/10+4*ms {
				t.Errorf("reported after %v, want %v", got, tt.want)
			}
			if w.m.Len() != 0 {
				t.Errorf("%d paths left", w.m.Len())
			}
		})
	}
}

func TestBatches(t *testing.T) {
	t.Run("paths that settle together come together, in order", func(t *testing.T) {
		w := newWorld(Config{})
		for _, p := range []id.Path{"b", "a/x", "a"} {
			w.write(p)
		}
		w.until(time.Second)
		if fmt.Sprint([]id.Path{w.out[0].path, w.out[1].path, w.out[2].path}) != "[a a/x b]" || w.out[0].at != w.out[2].at {
			t.Errorf("reported %v", w.out)
		}
	})
	t.Run("a settled path waits for a dirty one, a second at most", func(t *testing.T) {
		w := newWorld(Config{})
		w.write("a")
		for i := range 3000 {
			w.until(time.Duration(i) * ms)
			w.write("b")
		}
		if at, ok := w.reported("a"); !ok || at < 900*ms || at > 1100*ms {
			t.Errorf("a after %v", at)
		}
		if _, ok := w.reported("b"); ok {
			t.Error("b was reported while it was written")
		}
	})
	t.Run("who has been writing for long keeps nobody", func(t *testing.T) {
		w := newWorld(Config{})
		for i := range 3000 {
			w.until(time.Duration(i) * ms)
			w.write("large")
			if i == 2000 {
				w.write("a")
			}
		}
		if at, _ := w.reported("a"); at != 2003*ms {
			t.Errorf("a after %v", at)
		}
	})
	t.Run("a file that is only held open keeps nobody", func(t *testing.T) {
		w := newWorld(Config{})
		w.file("log").probe = Held
		w.write("log")
		w.until(500 * ms)
		w.write("a")
		w.until(time.Second)
		if at, _ := w.reported("a"); at != 503*ms {
			t.Errorf("a after %v", at)
		}
	})
	t.Run("a hold keeps a batch open, a second at most", func(t *testing.T) {
		w := newWorld(Config{})
		w.m.Hold()
		w.write("a")
		w.until(5 * time.Second)
		if at, _ := w.reported("a"); at != 1003*ms {
			t.Errorf("a after %v", at)
		}
	})
	t.Run("a batch is bounded", func(t *testing.T) {
		w := newWorld(Config{MaxBatch: 10})
		for i := range 25 {
			w.write(id.Path(fmt.Sprintf("f%02d", i)))
		}
		w.now = w.now.Add(time.Second)
		for _, p := range w.m.Due(w.now, 1000) {
			w.m.Looked(p, Look{}, w.now)
		}
		for _, want := range []int{10, 10, 5, 0} {
			if got := len(w.m.Close(w.now)); got != want {
				t.Errorf("batch of %d, want %d", got, want)
			}
		}
	})
	t.Run("a burst makes few batches", func(t *testing.T) {
		w := newWorld(Config{})
		for i := range 2000 { // a file each 5 ms, for 10 s
			w.until(time.Duration(i) * 5 * ms)
			w.write(id.Path(fmt.Sprintf("f%04d", i)))
		}
		w.until(time.Minute)
		batches := make(map[time.Duration]bool)
		for _, r := range w.out {
			batches[r.at] = true
		}
		if len(w.out) != 2000 || len(batches) > 100 {
			t.Errorf("%d reports in %d batches", len(w.out), len(batches))
		}
		w.now = w.now.Add(5 * time.Second)
		start := w.now.Sub(epoch)
		w.write("later")
		w.until(start + time.Second)
		if at, _ := w.reported("later"); at-start != 3*ms {
			t.Errorf("a single file after a burst took %v", at-start)
		}
	})
}

func TestRequeueAndReturn(t *testing.T) {
	w := newWorld(Config{})
	w.m.Touch("f", w.now)
	w.now = w.now.Add(3 * ms)
	w.m.Due(w.now, 1)
	w.m.Looked("f", Look{Stat: vfs.Stat{Kind: vfs.File}}, w.now)
	got := w.m.Close(w.now)
	if len(got) != 1 {
		t.Fatalf("closed %v", got)
	}
	w.m.Return(got, w.now)
	again := w.m.Close(w.now)
	if len(again) != 1 || again[0] != got[0] {
		t.Fatalf("returned %v, came back as %v", got, again)
	}
	mark := w.m.Mark()
	for i := 1; i < 30; i++ { // each time later, never more than 2 s
		start := w.now
		w.m.Requeue(again[0], w.now)
		if !w.m.Unfinished(mark, w.now) {
			t.Fatal("a requeued path is not unfinished")
		}
		at, _ := w.m.Next(true)
		if d := at.Sub(start); d > maxRetry || d < min(3*ms<<i, time.Second) {
			t.Fatalf("requeue %d waits %v", i, d)
		}
		w.now = at
		w.m.Due(w.now, 1)
		w.m.Looked("f", Look{}, w.now)
		again = w.m.Close(w.now)
		if again[0].First != epoch || again[0].Number != 1 {
			t.Fatalf("lost its age: %+v", again[0])
		}
	}
}

func TestUnfinishedLeavesOutHeldFiles(t *testing.T) {
	w := newWorld(Config{})
	w.file("held").probe = Held
	w.write("held")
	w.write("closed")
	mark, since := w.m.Mark(), w.now
	w.write("later")
	w.until(1 * ms)
	if !w.m.Unfinished(mark, since) {
		t.Error("finished before anything was looked at")
	}
	w.until(200 * ms)
	if w.m.Unfinished(mark, since) {
		t.Error("a held file is left out")
	}
	if h := w.m.Held(); len(h) != 1 || h[0] != "held" {
		t.Errorf("held %v", h)
	}
}

// TestFoundWaitsForNoBurst: what a scan found is looked at after the quiet time, however
// much it found, but an event makes a path wait like any other.
func TestFoundWaitsForNoBurst(t *testing.T) {
	m := New(Config{})
	now := time.Unix(1000, 0)
	for i := range 500 {
		m.Found(id.Path(fmt.Sprintf("d/f%03d", i)), now)
	}
	m.Touch("d/f000", now.Add(time.Millisecond))
	now = now.Add(m.c.Quiet)
	if n := len(m.Due(now, 1000)); n != 499 {
		t.Errorf("%d paths to look at after %v, want all 499 without an event", n, m.c.Quiet)
	}
	if got := m.Due(now.Add(2*m.c.MaxQuiet), 1000); len(got) != 1 || got[0] != "d/f000" {
		t.Errorf("after the burst %q is to be looked at, want the one with an event", got)
	}
}
