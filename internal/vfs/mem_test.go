package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, f FS, p id.Path, content string, sync bool) {
	t.Helper()
	h, err := f.Create(p, 0o644)
	must(t, err)
	_, err = h.Write([]byte(content))
	must(t, err)
	if sync {
		must(t, h.Sync())
	}
	must(t, h.Close())
}

// tree lists all paths with their contents: "d/ d/f=x".
func tree(t *testing.T, f FS) string {
	t.Helper()
	var out []string
	var walk func(id.Path)
	walk = func(dir id.Path) {
		names, err := f.ReadDir(dir)
		must(t, err)
		for _, n := range names {
			p := dir.Join(n)
			s, err := f.Lstat(p)
			must(t, err)
			switch s.Kind {
			case Dir:
				out = append(out, string(p)+"/")
				walk(p)
			case File:
				h, err := f.Open(p)
				must(t, err)
				b, err := io.ReadAll(h)
				must(t, err)
				must(t, h.Close())
				out = append(out, string(p)+"="+string(b))
			default:
				out = append(out, fmt.Sprintf("%s (%v)", p, s.Kind))
			}
		}
	}
	walk("")
	return strings.Join(out, " ")
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, m *Mem)
		want string
	}{
		{"nothing synced", func(t *testing.T, m *Mem) { put(t, m, "f", "x", false) }, ""},
		{"content alone", func(t *testing.T, m *Mem) { put(t, m, "f", "x", true) }, ""},
		{"name alone", func(t *testing.T, m *Mem) { put(t, m, "f", "x", false); must(t, m.SyncDir("")) }, "f="},
		{"both", func(t *testing.T, m *Mem) { put(t, m, "f", "x", true); must(t, m.SyncDir("")) }, "f=x"},
		{"child without its directory", func(t *testing.T, m *Mem) {
			must(t, m.Mkdir("d", 0o755))
			put(t, m, "d/f", "x", true)
			must(t, m.SyncDir("d"))
		}, ""},
		{"directory without child", func(t *testing.T, m *Mem) {
			must(t, m.Mkdir("d", 0o755))
			put(t, m, "d/f", "x", true)
			must(t, m.SyncDir(""))
		}, "d/"},
		{"all", func(t *testing.T, m *Mem) {
			must(t, m.Mkdir("d", 0o755))
			put(t, m, "d/f", "x", false)
			must(t, m.SyncAll())
			put(t, m, "g", "x", false)
		}, "d/ d/f=x"},
		{"unlink", func(t *testing.T, m *Mem) {
			put(t, m, "f", "x", true)
			must(t, m.SyncDir(""))
			must(t, m.Unlink("f"))
		}, "f=x"},
		{"rename over, unsynced content", func(t *testing.T, m *Mem) {
			put(t, m, "f", "old", true)
			must(t, m.SyncDir(""))
			put(t, m, "new", "new", false)
			must(t, m.Rename("new", "f", Replace))
			must(t, m.SyncDir(""))
		}, "f="},
		{"rename over, names not synced", func(t *testing.T, m *Mem) {
			put(t, m, "f", "old", true)
			must(t, m.SyncDir(""))
			put(t, m, "new", "new", true)
			must(t, m.Rename("new", "f", Replace))
		}, "f=old"},
		{"rename between directories is atomic", func(t *testing.T, m *Mem) {
			must(t, m.Mkdir("a", 0o755))
			must(t, m.Mkdir("b", 0o755))
			put(t, m, "a/f", "f", true)
			put(t, m, "b/g", "g", true)
			must(t, m.SyncAll())
			must(t, m.Rename("a/f", "b/g", Exchange))
			must(t, m.SyncDir("a"))
		}, "a/ a/f=g b/ b/g=f"},
		{"moved into a directory whose own name is not synced", func(t *testing.T, m *Mem) {
			put(t, m, "f", "x", true)
			must(t, m.SyncDir(""))
			must(t, m.Mkdir("d", 0o755))
			must(t, m.Rename("f", "d/f", Replace))
			must(t, m.SyncDir("d"))
		}, "d/ d/f=x"},
		{"removal of a directory takes what left it along", func(t *testing.T, m *Mem) {
			must(t, m.Mkdir("d", 0o755))
			must(t, m.Mkdir("e", 0o755))
			put(t, m, "d/f", "x", true)
			must(t, m.SyncAll())
			must(t, m.Rename("d/f", "e/f", Replace))
			must(t, m.Rmdir("d"))
			must(t, m.SyncDir(""))
		}, "e/ e/f=x"},
		{"overwritten after sync", func(t *testing.T, m *Mem) {
			put(t, m, "f", "old", true)
			must(t, m.SyncDir(""))
			w, err := m.OpenWriter("f")
			must(t, err)
			w.WriteAt([]byte("new!"), 0)
			w.Close()
		}, "f=old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := NewMem(MemOptions{})
			c.do(t, m)
			before := tree(t, m)
			cut := m.Crash(PowerCut, 0)
			if got := tree(t, cut); got != c.want {
				t.Errorf("left %q, want %q", got, c.want)
			}
			if got := tree(t, m.Crash(Kill, 0)); got != before {
				t.Errorf("kill left %q, want %q", got, before)
			}
			if got := tree(t, m); got != before {
				t.Errorf("the original became %q", got)
			}
			if got := tree(t, cut.Crash(PowerCut, 0)); got != c.want {
				t.Errorf("a second cut left %q", got)
			}
		})
	}
}

func TestFailedSyncIsNotRepeated(t *testing.T) {
	t.Parallel()
	m := NewMem(MemOptions{})
	h, err := m.Create("f", 0o644)
	must(t, err)
	must(t, m.SyncDir(""))
	_, err = h.Write([]byte("x"))
	must(t, err)
	m.Fail(OpSync, "f", 1, syscall.EIO)
	if err := h.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, h.Sync())
	if got := tree(t, m.Crash(PowerCut, 0)); got != "f=" {
		t.Errorf("left %q: a second sync is no repair of the first", got)
	}
	_, err = h.Write([]byte("y"))
	must(t, err)
	must(t, h.Sync())
	if got := tree(t, m.Crash(PowerCut, 0)); got != "f=xy" {
		t.Errorf("left %q", got)
	}
}

// Whatever part of unsynced changes survives: synced files that were only moved
// about are there exactly once with their content.
func TestPowerCutSomeKeepsSyncedFiles(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := NewMem(MemOptions{ReuseInodes: seed%2 == 0})
		const files, dirs = 4, 3
		for i := range files {
			put(t, m, id.Path(fmt.Sprint("f", i)), fmt.Sprint("content", i), true)
		}
		for i := range dirs {
			must(t, m.Mkdir(id.Path(fmt.Sprint("d", i)), 0o755))
		}
		must(t, m.SyncAll())
		for range 40 {
			shuffle(m, rng)
		}
		for _, mode := range []CrashMode{Kill, PowerCut, PowerCutSome, PowerCutSome, PowerCutSome} {
			got := tree(t, m.Crash(mode, rng.Uint64()))
			for i := range files {
				want := fmt.Sprint("=content", i)
				if n := strings.Count(got, want); n != 1 {
					t.Fatalf("seed %d, mode %d: %q is there %d times in %q (before: %q)", seed, mode, want, n, got, tree(t, m))
				}
			}
		}
	}
}

// shuffle does one random operation that loses no file; most fail.
func shuffle(m *Mem, rng *rand.Rand) {
	var paths []id.Path
	var walk func(id.Path)
	walk = func(d id.Path) {
		names, _ := m.ReadDir(d)
		for _, n := range names {
			paths = append(paths, d.Join(n))
			walk(d.Join(n))
		}
	}
	walk("")
	some := func() id.Path { return paths[rng.IntN(len(paths))] }
	fresh := func() id.Path {
		p := id.Path(fmt.Sprint("n", rng.IntN(4)))
		if rng.IntN(3) > 0 {
			p = some() + "/" + p
		}
		return p
	}
	switch rng.IntN(8) {
	case 0, 1, 2:
		_ = m.Rename(some(), fresh(), NoReplace)
	case 3:
		_ = m.Rename(some(), some(), Exchange)
	case 4:
		_ = m.Mkdir(fresh(), 0o755)
	case 5:
		_ = m.Rmdir(some())
	case 6:
		_ = m.SyncDir(some())
	case 7:
		_ = m.SyncDir(some().Dir())
	}
}

func TestPowerCutSomeVaries(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(200) {
		m := NewMem(MemOptions{})
		put(t, m, "a", "old", true)
		must(t, m.SyncAll())
		put(t, m, "b", "b", true)
		w, err := m.OpenWriter("a")
		must(t, err)
		w.WriteAt([]byte("new"), 0)
		w.Close()
		seen[tree(t, m.Crash(PowerCutSome, seed))] = true
		if a, b := m.Crash(PowerCutSome, seed), m.Crash(PowerCutSome, seed); tree(t, a) != tree(t, b) {
			t.Fatal("the same seed gives two results")
		}
	}
	for _, want := range []string{"a=old", "a=new", "a=old b=b", "a=new b=b"} {
		if !seen[want] {
			t.Errorf("never left %q: %v", want, seen)
		}
	}
}

func TestHookAndFail(t *testing.T) {
	t.Parallel()
	m := NewMem(MemOptions{})
	var log []string
	var cut []string
	m.Hook(func(c Call) error {
		log = append(log, c.String())
		if c.Op.Changes() {
			cut = append(cut, tree(t, m.Crash(Kill, 0)))
		}
		return nil
	})
	must(t, m.Mkdir("d", 0o755))
	must(t, m.Rename("d", "e", NoReplace))
	m.Hook(nil)
	if got := strings.Join(log, ", "); got != "mkdir d, rename d -> e" {
		t.Errorf("hook saw %s", got)
	}
	if got := fmt.Sprint(cut); got != "[ d/]" {
		t.Errorf("copies were %s", got)
	}
	m.Fail(OpMkdir, "e/*", 2, nil)
	must(t, m.Mkdir("e/1", 0o755))
	must(t, m.Mkdir("other", 0o755))
	if err := m.Mkdir("e/2", 0o755); !errors.Is(err, ErrInjected) {
		t.Errorf("second: %v", err)
	}
	must(t, m.Mkdir("e/2", 0o755))
	m.Fail("", "e/*", 0, syscall.ENOSPC)
	if err := m.Rename("other", "e/3", Replace); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("rename: %v", err)
	}
	must(t, m.Plain().Rename("other", "e/3", Replace))
	m.ClearFaults()
	must(t, m.Rmdir("e/3"))
	if m.OpCount(OpMkdir) != 5 {
		t.Errorf("%d mkdirs", m.OpCount(OpMkdir))
	}
	dead := errors.New("dead")
	m.Stop(dead)
	if err := m.Rmdir("e/2"); !errors.Is(err, dead) {
		t.Errorf("stopped: %v", err)
	}
	if got := tree(t, m.Crash(Kill, 0)); got != "e/ e/1/ e/2/" {
		t.Errorf("left %q", got)
	}
	must(t, m.Plain().Rmdir("e/2"))
}

// The user opens a leased file for writing while it is exchanged: his bytes go
// into the inode that he opened, once the lease is released.
func TestWriterWaitsForLease(t *testing.T) {
	t.Parallel()
	m := NewMem(MemOptions{})
	put(t, m, "f", "old", true)
	put(t, m, "stage", "new", true)
	h, err := m.Open("f")
	must(t, err)
	l, err := h.Lease()
	must(t, err)
	w, err := m.OpenWriter("f")
	must(t, err)
	if w.Granted() || l.Held() {
		t.Errorf("granted %v, held %v", w.Granted(), l.Held())
	}
	w.WriteAt([]byte("my"), 3)
	must(t, m.Rename("stage", "f", Exchange))
	if got := tree(t, m); got != "f=new stage=old" {
		t.Errorf("while leased: %q", got)
	}
	l.Release()
	if !w.Granted() {
		t.Error("not granted after the release")
	}
	if got := tree(t, m); got != "f=new stage=oldmy" {
		t.Errorf("after: %q", got)
	}
	if _, err := h.Lease(); !errors.Is(err, ErrBusy) {
		t.Errorf("lease beside a writer: %v", err)
	}
	w.Close()
	l, err = h.Lease()
	must(t, err)
	must(t, h.Close())
	if l.Held() {
		t.Error("held after close")
	}
}

func TestMemOptions(t *testing.T) {
	t.Parallel()
	m := NewMem(MemOptions{FoldCase: true, Capacity: 10, EnforceModes: true, ReuseInodes: true})
	put(t, m, "File", "12345", true)
	if s, err := m.Lstat("fILE"); err != nil || s.Kind != File {
		t.Errorf("other case: %+v, %v", s, err)
	}
	if _, err := m.Create("FILE", 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("case clash: %v", err)
	}
	must(t, m.Rename("file", "FILE", Replace))
	if got := tree(t, m); got != "FILE=12345" {
		t.Errorf("case rename: %q", got)
	}
	h, err := m.Create("g", 0o000)
	must(t, err)
	if _, err := h.Write(make([]byte, 6)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	if n, _ := m.FreeBytes(); n != 5 {
		t.Errorf("%d bytes free", n)
	}
	g, err := h.Stat()
	must(t, err)
	must(t, h.Close())
	if _, err := m.Open("g"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable: %v", err)
	}
	must(t, m.Unlink("g"))
	must(t, m.Mkdir("d", 0o555))
	if s, _ := m.Lstat("d"); s.Ino != g.Ino {
		t.Errorf("inode %d was not used again: %d", g.Ino, s.Ino)
	}
	if err := m.Mkdir("d/e", 0o755); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read-only directory: %v", err)
	}
	must(t, m.Mount("d", true))
	if _, err := m.Lstat("d"); !errors.Is(err, ErrMount) {
		t.Errorf("mount point: %v", err)
	}
	if _, err := m.Open("d/x"); !errors.Is(err, ErrMount) {
		t.Errorf("below a mount point: %v", err)
	}
	must(t, m.MakeOther("fifo"))
	if _, err := m.Open("fifo"); !errors.Is(err, ErrNotSupported) {
		t.Errorf("fifo: %v", err)
	}
}
