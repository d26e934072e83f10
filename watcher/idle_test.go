package watcher

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// counted is an FS that counts itself as open.
type counted struct {
	vfs.FS
	open *atomic.Int64
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.FS.Close()
}

// asked runs f in the loop.
func (x *fixture) asked(f func(l *loop)) {
	done := make(chan struct{})
	x.w.in.call(func(l *loop) { f(l); close(done) })
	select {
	case <-done:
	case <-x.w.stopped:
		x.t.Fatal("the watcher has stopped")
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	var open atomic.Int64
	x.o.FS = func() (vfs.FS, error) {
		f, err := vfs.OpenReal(x.root)
		open.Add(1)
		return counted{f, &open}, err
	}
	x.mkdir("d")
	for i := range 100 {
		x.write(fmt.Sprintf("d/f%d", i), "1")
	}
	x.start()
	x.write("d/f1", "22")
	x.until("d/f1", func([]Batch) bool { s, _, _ := x.index.Lookup("d/f1"); return s.Size == 2 })
	x.flush()
	x.asked(func(*loop) {}) // the workers' last round is over
	x.asked(func(l *loop) {
		if l.m.Len() != 0 || l.m.Mark() < 100 {
			t.Errorf("%d dirty paths of %d", l.m.Len(), l.m.Mark())
		}
		if at, any := l.next(); !any || time.Until(at) < 4*time.Minute {
			t.Errorf("the next thing to do is at %v, %v from now", at, time.Until(at))
		}
		l.pool.group.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("the folder is open %d times", n)
		}
	})
}

// A timed scan finds what made no event.
func TestTimedScan(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem(vfs.MemOptions{})
	x := onMem(t, m)
	x.o.ScanEvery = 10 * time.Millisecond
	x.start()
	memFile(x, m, "f")
	x.reported("f", vfs.File)
	x.must(m.Plain().Unlink("f"))
	x.reported("f", vfs.Absent)
}

func TestScanOfASubtree(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem(vfs.MemOptions{})
	x := onMem(t, m)
	x.must(m.Plain().Mkdir("d", 0o755))
	x.start()
	memFile(x, m, "d/f")
	memFile(x, m, "g")
	for _, under := range []id.Path{"d", "no/such"} {
		if err := x.w.Scan(t.Context(), under); err != nil {
			t.Fatal(err)
		}
	}
	x.reported("d/f", vfs.File)
	if _, ok, _ := x.index.Lookup("g"); ok {
		t.Error("g was reported by a scan of d")
	}
	if err := x.w.Scan(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	x.reported("g", vfs.File)
}

// many fills dirs directories with 100 files each, and records them.
func many(b *testing.B, f vfs.FS, x *index, dirs int) {
	for d := range dirs {
		dir := id.Path(fmt.Sprintf("dir%04d", d))
		if err := f.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range 100 {
			h, err := f.Create(dir.Join(fmt.Sprintf("file%03d.txt", i)), 0o644)
			if err != nil {
				b.Fatal(err)
			}
			h.Close()
			p := dir.Join(fmt.Sprintf("file%03d.txt", i))
			st, err := f.Lstat(p)
			if err != nil {
				b.Fatal(err)
			}
			x.record(Dirty{Path: p, Stat: st})
		}
		st, err := f.Lstat(dir)
		if err != nil {
			b.Fatal(err)
		}
		x.record(Dirty{Path: dir, Stat: st})
	}
}

// BenchmarkScan scans a folder of recorded files, 100 a directory, on the real
// filesystem, watches included.
func BenchmarkScan(b *testing.B) {
	for _, dirs := range []int{100, 1000} {
		b.Run(fmt.Sprintf("files=%d", 100*dirs), func(b *testing.B) { benchScan(b, dirs) })
	}
}

func benchScan(b *testing.B, dirs int) {
	root := b.TempDir()
	x := &fixture{root: root, index: newIndex()}
	if err := os.MkdirAll(root+"/"+id.ReservedName, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(root+"/"+string(markerPath), []byte(testFolder.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := vfs.OpenReal(root)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	many(b, f, x.index, dirs)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := New(Options{FS: func() (vfs.FS, error) { return vfs.OpenReal(root) }, Root: root, Folder: testFolder, Known: x.index})
	go w.Run(b.Context())
	if err := w.Scan(b.Context(), ""); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Scan(b.Context(), ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100*dirs), "files/op")
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1024, "idle-KiB")
	if s := w.Status(); s.Entries != 101*dirs || s.Watches != dirs+1 || s.Dirty != 0 {
		b.Errorf("status %+v", s)
	}
}
