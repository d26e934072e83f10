package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/lockstep-sync/lockstep/internal/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, s *Store, key, value string) {
	t.Helper()
	db, release := s.Acquire()
	defer release()
	b := db.NewBatch()
	b.Set([]byte(key), []byte(value))
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *Store, key string) string {
	t.Helper()
	db, release := s.Acquire()
	defer release()
	return getDB(t, db, key)
}

func getDB(t *testing.T, db *kv.DB, key string) string {
	t.Helper()
	v, ok, err := db.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "-"
	}
	return string(v)
}

func TestCloseKeepsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/meta"
	s := open(t, dir, Options{})
	set(t, s, "k", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	defer s.Close()
	if got := get(t, s, "k"); got != "1" {
		t.Errorf("k = %q after a clean close, want 1", got)
	}
}

func TestCheckpointHoldsWhatWasNotFlushed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir+"/meta", Options{})
	defer s.Close()
	set(t, s, "k", "1")
	if err := s.Checkpoint(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	set(t, s, "k", "2")
	if err := s.Restore(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "k"); got != "1" {
		t.Errorf("k = %q after restore, want 1", got)
	}
	// The checkpoint is left as it was, so it can be restored again.
	set(t, s, "k", "3")
	if err := s.Restore(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "k"); got != "1" {
		t.Errorf("k = %q after the second restore, want 1", got)
	}
}

func TestHoldersKeepTheOldGeneration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir+"/meta", Options{})
	defer s.Close()
	set(t, s, "k", "old")
	if err := s.Checkpoint(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	set(t, s, "k", "newer")
	held, release := s.Acquire()
	if err := s.Restore(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	if got := getDB(t, held, "k"); got != "newer" {
		t.Errorf("the holder reads %q, want newer", got)
	}
	if got := get(t, s, "k"); got != "old" {
		t.Errorf("a new reader reads %q, want old", got)
	}
	if got := generations(t, vfs.Default, dir+"/meta"); got != 2 {
		t.Errorf("%d generations on disk while one is held, want 2", got)
	}
	release()
	release() // twice is harmless
	if got := generations(t, vfs.Default, dir+"/meta"); got != 1 {
		t.Errorf("%d generations on disk after release, want 1", got)
	}
}

func TestConcurrentReadersAndRestores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir+"/meta", Options{})
	set(t, s, "k", "x")
	if err := s.Checkpoint(dir + "/copy"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				db, release := s.Acquire()
				if v, ok, err := db.Get([]byte("k")); err != nil || !ok || string(v) != "x" {
					t.Errorf("k = %q, %v, %v", v, ok, err)
				}
				release()
			}
		})
	}
	for range 5 {
		if err := s.Restore(dir + "/copy"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush after Close: %v, want ErrClosed", err)
	}
	if err := s.Restore(dir + "/copy"); !errors.Is(err, ErrClosed) {
		t.Errorf("Restore after Close: %v, want ErrClosed", err)
	}
}

// TestCrashAtEachStep stops Restore at each of its steps, takes the power away with
// a random part of what was not synced, and opens what is left: it must be the old
// content or the new, whole, with nothing left over.
func TestCrashAtEachStep(t *testing.T) {
	t.Parallel()
	steps := []string{"copied", "opened", "written", "flipped", "swapped", "none"}
	for _, step := range steps {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/%d", step, seed), func(t *testing.T) { crashAt(t, step, seed) })
		}
	}
}

func crashAt(t *testing.T, step string, seed uint64) {
	fs := vfs.NewCrashableMem()
	crash := errors.New("crash")
	armed := false
	o := Options{FS: fs, step: func(name string) error {
		if armed && name == step {
			return crash
		}
		return nil
	}}
	fs.MkdirAll("home", 0o700) // the home is there, durably, before its stores
	if err := syncDir(fs, ""); err != nil {
		t.Fatal(err)
	}
	s := open(t, "home/meta", o)
	fill(t, s, "new")
	if err := s.Checkpoint("home/copy"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, "old")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	armed = true
	err := s.Restore("home/copy")
	if (step == "none") != (err == nil) || err != nil && !errors.Is(err, crash) {
		t.Fatalf("Restore: %v", err)
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: int(seed) * 20,
		RNG:                 rand.New(rand.NewPCG(seed, 1)),
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, "home/meta", Options{FS: after})
	defer s.Close()
	got := get(t, s, "k0")
	want := map[string][]string{
		"copied": {"old"}, "opened": {"old"}, "written": {"old"},
		"flipped": {"old", "new"}, "swapped": {"new"}, "none": {"new"},
	}[step]
	if got != want[0] && got != want[len(want)-1] {
		t.Errorf("after a crash at %q the content is %q, want one of %q", step, got, want)
	}
	for i := range 50 {
		if v := get(t, s, fmt.Sprint("k", i)); v != got {
			t.Fatalf("k%d = %q and k0 = %q: a mixture", i, v, got)
		}
	}
	if n := generations(t, after, "home/meta"); n != 1 {
		t.Errorf("%d generations after Open, want 1", n)
	}
}

func fill(t *testing.T, s *Store, value string) {
	t.Helper()
	for i := range 50 {
		set(t, s, fmt.Sprint("k", i), value)
	}
}

// TestFailedFlipIsNotReused: after a flip whose result is unknown the next Restore
// must not build over the directory that CURRENT may name.
func TestFailedFlipIsNotReused(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	fail := false
	s := open(t, "meta", Options{FS: fs, step: func(name string) error {
		if fail && name == "flipped" {
			return errors.New("sync failed")
		}
		return nil
	}})
	defer s.Close()
	set(t, s, "k", "v")
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := s.Restore("copy"); err == nil {
		t.Fatal("Restore succeeded, want the flip's error")
	}
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("k = %q after a failed restore, want v", got)
	}
	named, err := readSmall(fs, "meta/CURRENT")
	if err != nil {
		t.Fatal(err)
	}
	number, err := parseCurrent(named)
	if err != nil {
		t.Fatal(err)
	}
	fail = false
	if err := s.Restore("copy"); err != nil {
		t.Fatal(err)
	}
	if s.cur.number == number {
		t.Errorf("generation %d was used twice", number)
	}
}

func TestDamagedCurrent(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty":       "",
		"other magic": "lockstep-store 2 gen-0000000000000001 00000000\n",
		"checksum":    "lockstep-store 1 gen-0000000000000001 00000000\n",
		"no such":     string(formatCurrent(7)),
		"long":        string(make([]byte, 4096)),
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			if err := open(t, "meta", Options{FS: fs}).Close(); err != nil {
				t.Fatal(err)
			}
			f, err := fs.Create("meta/CURRENT", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			f.Write([]byte(content))
			f.Close()
			if _, err := Open("meta", Options{FS: fs}); !errors.Is(err, ErrDamaged) {
				t.Errorf("Open: %v, want ErrDamaged", err)
			}
		})
	}
}

func TestRestoreRefusesWhatIsNoCheckpoint(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := open(t, "meta", Options{FS: fs})
	defer s.Close()
	set(t, s, "k", "v")
	fs.MkdirAll("empty", 0o700)
	fs.MkdirAll("nested/dir", 0o700)
	for _, src := range []string{"empty", "nested", "missing"} {
		if err := s.Restore(src); err == nil {
			t.Errorf("Restore(%q) succeeded", src)
		}
	}
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("k = %q after refused restores, want v", got)
	}
	if n := generations(t, fs, "meta"); n != 1 {
		t.Errorf("%d generations, want 1", n)
	}
}

func FuzzParseCurrent(f *testing.F) {
	f.Add([]byte("lockstep-store 1 gen-0000000000000001 00000000\n"))
	f.Add(formatCurrent(1))
	f.Add(formatCurrent(1<<63 - 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		number, err := parseCurrent(b)
		if err == nil && string(formatCurrent(number)) != string(b) {
			t.Errorf("%q parses as %d, which is written %q", b, number, formatCurrent(number))
		}
	})
}

func generations(t *testing.T, fs vfs.FS, dir string) (n int) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, ok := parseGeneration(name); ok {
			n++
		}
	}
	return n
}
