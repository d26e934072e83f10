package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// faked puts a fake between the watcher and fsnotify; it returns the fakes made.
func (x *fixture) faked(change func(*fakeNotifier)) <-chan *fakeNotifier {
	made := make(chan *fakeNotifier, 100)
	x.o.newNotifier = func() (notifier, error) {
		n, err := newFSNotify()
		if err != nil {
			return nil, err
		}
		f := newFake(n)
		if change != nil {
			change(f)
		}
		made <- f
		return f, nil
	}
	return made
}

func TestOverflowIsMendedByAScan(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	made := x.faked(nil)
	x.mkdir("a")
	x.write("a/old", "1")
	x.start()
	f := <-made
	f.set(func() { f.swallow = true })
	x.must(os.Rename(x.path("a"), x.path("b"))) // watches have wrong names now
	x.mkdir("a/c")
	x.write("a/c/new", "1")
	f.overflow()
	x.reported("a/c/new", vfs.File)
	x.agreed(5)
	second := <-made
	if s := x.w.Status(); s.Overflows != 1 || s.Watches != 4 {
		t.Errorf("status %+v", s)
	}
	select {
	case <-f.done:
	default:
		t.Error("the old notifier is still open")
	}
	x.write("b/late", "1") // seen through the new watches
	x.write("a/c/late", "1")
	x.reported("b/late", vfs.File)
	x.reported("a/c/late", vfs.File)
	_ = second
}

func TestFullWatchTableIsScanned(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	made := x.faked(func(f *fakeNotifier) { f.room = 1 })
	x.o.UnwatchedEvery = 20 * time.Millisecond
	x.mkdir("a/b")
	x.start()
	f := <-made
	s := x.w.Status()
	if s.Watches != 1 || s.Unwatched != 2 || s.Why == "" {
		t.Errorf("status %+v", s)
	}
	x.write("a/b/f", "1") // no event: found by the timed scan of that part
	x.reported("a/b/f", vfs.File)
	f.set(func() { f.room = 100 })
	x.write("a/b/g", "1")
	x.reported("a/b/g", vfs.File)
	x.write("a/b/h", "1") // by now the parts are watched, or scanned again
	x.reported("a/b/h", vfs.File)
	x.flush()
	if s := x.w.Status(); s.Watches != 3 || s.Unwatched != 0 || s.Why != "" {
		t.Errorf("status after there was room %+v", s)
	}
}

func TestNoNotifierAtAll(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.o.newNotifier = func() (notifier, error) { return nil, errors.New("no more instances") }
	x.o.UnwatchedEvery = 20 * time.Millisecond
	x.start()
	if s := x.w.Status(); s.Unwatched == 0 || s.Why != "no more instances" {
		t.Errorf("status %+v", s)
	}
	x.mkdir("d")
	x.write("d/f", "1")
	x.reported("d/f", vfs.File)
}

func TestMissingRoot(t *testing.T) {
	removals := map[string]func(x *fixture) error{
		"marker":             func(x *fixture) error { return os.Remove(x.path(".lockstep/folder")) },
		"reserved directory": func(x *fixture) error { return os.RemoveAll(x.path(".lockstep")) },
		"renamed root":       func(x *fixture) error { return os.Rename(x.root, x.root+"-away") },
		"everything":         func(x *fixture) error { return os.RemoveAll(x.root) },
		"other marker": func(x *fixture) error {
			return os.WriteFile(x.path(".lockstep/folder"), []byte(id.NewFolder().String()), 0o600)
		},
	}
	for name, remove := range removals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := prepare(t)
			base := x.root
			x.root = filepath.Join(base, "root")
			x.must(os.Mkdir(x.root, 0o755))
			mark(t, x.root)
			x.o.Root = x.root
			x.mkdir("d")
			x.write("d/f", "1")
			x.run()
			x.t = t
			x.flush()
			x.forget()
			// The marker goes first, as it does when the disk is unmounted.
			x.must(remove(x))
			os.RemoveAll(x.path("d"))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := x.w.Flush(ctx)
			if !errors.Is(err, ErrRootMissing) && !errors.Is(err, ErrStopped) {
				t.Errorf("Flush: %v", err)
			}
			if got := x.reports(); len(got) > 0 && name != "everything" {
				t.Errorf("reported %v", got)
			}
			x.expectEnd(ErrRootMissing)
		})
	}
}

// expectEnd waits until Run has ended by itself with the error.
func (x *fixture) expectEnd(want error) {
	x.t.Helper()
	select {
	case <-x.w.stopped:
	case <-time.After(patience):
		x.t.Fatal("Run goes on")
	}
	if err := x.stop(); !errors.Is(err, want) {
		x.t.Errorf("Run: %v, want %v", err, want)
	}
	x.stop = func() error { return nil }
}

func TestNeverStartsWithoutItsRoot(t *testing.T) {
	t.Parallel()
	for name, prep := range map[string]func(root string) error{
		"no directory": os.RemoveAll,
		"no marker":    func(root string) error { return os.RemoveAll(filepath.Join(root, ".lockstep")) },
	} {
		t.Run(name, func(t *testing.T) {
			x := prepare(t)
			x.index.record(Dirty{Path: "f", Stat: vfs.Stat{Kind: vfs.File}})
			x.must(prep(x.root))
			if err := CheckMarker(x.root, testFolder); !errors.Is(err, ErrRootMissing) {
				t.Errorf("CheckMarker: %v", err)
			}
			w := New(x.o)
			if err := w.Run(context.Background()); !errors.Is(err, ErrRootMissing) {
				t.Errorf("Run: %v", err)
			}
			if b, ok := <-w.Batches(); ok {
				t.Errorf("reported %v", b)
			}
			if err := w.Flush(context.Background()); !errors.Is(err, ErrStopped) {
				t.Errorf("Flush: %v", err)
			}
		})
	}
}

func TestIndexFailureEndsRun(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	broken := errors.New("index broken")
	x.index.mu.Lock()
	x.index.err = broken
	x.index.mu.Unlock()
	x.write("f", "1")
	x.expectEnd(broken)
}

// A system that is short of descriptors for a while halts nothing and loses nothing.
func TestFolderCannotBeOpenedForAWhile(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	var broken atomic.Bool
	var refused atomic.Int64
	x.o.FS = func() (vfs.FS, error) {
		if broken.Load() {
			refused.Add(1)
			return nil, &os.PathError{Op: "open", Path: x.root, Err: syscall.EMFILE}
		}
		return vfs.OpenReal(x.root)
	}
	x.write("f", "1")
	x.start()
	broken.Store(true)
	x.must(os.Remove(x.path("f")))
	x.write("g", "1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.w.Flush(ctx); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("Flush: %v", err)
	}
	broken.Store(false)
	x.reported("f", vfs.Absent)
	x.reported("g", vfs.File)
	x.agreed(1)
	if n := refused.Load(); n > 10 {
		t.Errorf("the folder was tried %d times", n)
	}
}

// onMem is a watcher on a filesystem in memory, without events of its own.
func onMem(t *testing.T, m *vfs.Mem) *fixture {
	t.Helper()
	x := &fixture{t: t, root: "/no/such/root", index: newIndex(), changed: make(chan struct{})}
	x.o = Options{FS: func() (vfs.FS, error) { return m, nil }, Root: x.root, Folder: testFolder, Known: x.index}
	x.o.newNotifier = func() (notifier, error) { return newFake(nil), nil }
	p := m.Plain()
	x.must(p.Mkdir(id.ReservedName, 0o700))
	h, err := p.Create(markerPath, 0o600)
	x.must(err)
	_, err = h.Write([]byte(testFolder.String() + "\n"))
	x.must(errors.Join(err, h.Close()))
	return x
}

func memFile(x *fixture, m *vfs.Mem, p id.Path) {
	x.t.Helper()
	h, err := m.Plain().Create(p, 0o644)
	x.must(err)
	x.must(h.Close())
}

func TestUnreadableKeepsWhatIsRecorded(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem(vfs.MemOptions{})
	x := onMem(t, m)
	x.must(m.Plain().Mkdir("d", 0o755))
	memFile(x, m, "d/f")
	x.must(m.Plain().Mkdir("mnt", 0o755))
	memFile(x, m, "mnt/f")
	x.start()
	x.forget()
	x.must(m.Mount("mnt", true))
	m.Fail(vfs.OpReadDir, "d", 0, os.ErrPermission)
	x.flush()
	if got := fmt.Sprint(x.w.Blocked()); got != "[{d permission denied} {mnt "+reasonMount+"}]" {
		t.Errorf("blocked %v", got)
	}
	for _, d := range x.all() {
		if d.Blocked == "" {
			t.Errorf("reported %+v", d)
		}
	}
	m.ClearFaults()
	x.must(m.Mount("mnt", false))
	x.flush()
	if got := x.w.Blocked(); len(got) != 0 {
		t.Errorf("still blocked %v", got)
	}
}

func TestMarkerGoesWhileAGoneFileIsLookedAt(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem(vfs.MemOptions{})
	x := onMem(t, m)
	memFile(x, m, "f")
	x.start()
	x.forget()
	// The disk is unmounted between the two looks at the marker.
	looked := 0
	m.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpLstat && c.Path == "f" {
			if looked++; looked == 2 { // that of the hand-over
				return m.Plain().Unlink(markerPath)
			}
		}
		return nil
	})
	x.must(m.Plain().Unlink("f"))
	x.w.Requeue("f")
	x.expectEnd(ErrRootMissing)
	if got := x.reports(); len(got) > 0 {
		t.Errorf("reported %v", got)
	}
}

// TestShutDirectoryIsOneBlockedPath: what cannot be looked at because nobody may look into
// a directory is that directory's problem, and is found once it is opened.
func TestShutDirectoryIsOneBlockedPath(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem(vfs.MemOptions{EnforceModes: true})
	x := onMem(t, m)
	x.must(m.Plain().Mkdir("d", 0o755))
	for _, p := range []id.Path{"d/f", "d/g"} {
		memFile(x, m, p)
	}
	x.start()
	x.must(m.Plain().Chmod("d", 0))
	for _, p := range []id.Path{"d/f", "d/g"} {
		x.w.Requeue(p)
	}
	x.flush()
	for _, d := range x.all() {
		if d.Path.Below("d") && d.Blocked != "" {
			t.Errorf("reported %+v", d)
		}
	}
	if got := fmt.Sprint(x.w.Blocked()); got != "[{d permission denied}]" {
		t.Errorf("blocked %v", got)
	}
	x.must(m.Plain().Chmod("d", 0o755))
	x.flush()
	if got := x.w.Blocked(); len(got) != 0 {
		t.Errorf("still blocked %v", got)
	}
}
