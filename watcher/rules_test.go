package watcher

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// recorded checks what the index holds.
func (x *fixture) recorded(want ...string) {
	x.t.Helper()
	var got []string
	for _, p := range slices.Sorted(maps.Keys(x.index.paths())) {
		got = append(got, string(p))
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		x.t.Errorf("recorded %q, want %q", got, want)
	}
}

// TestIgnored: what is ignored is neither reported nor watched, whether it was there
// at the start or comes later, and its kind and its rights do not matter.
func TestIgnored(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.write(ignore.Name, "*.o\nmodules/\n")
	x.mkdir("modules/deep/deeper")
	x.write("modules/deep/f", "1")
	x.mkdir("src/objects")
	x.write("src/a.c", "1")
	x.write("src/objects/a.o", "1")
	x.start()
	x.recorded(ignore.Name, "src", "src/a.c")
	if w := x.w.Status().Watches; w != 3 { // the root, src, src/objects
		t.Errorf("%d watches, want 3", w)
	}
	x.mkdir("src/modules/m")
	x.write("src/modules/m/f", "1")
	x.write("src/b.o", "1")
	x.write("b.c", "1")
	x.mkdir("empty")
	x.mkdir("hollow/hollow")
	x.write("hollow/hollow/a.o", "1")
	x.flush()
	x.recorded(ignore.Name, "src", "src/a.c", "b.c", "empty")
	x.write("hollow/hollow/b.c", "1")
	x.must(os.Remove(x.path("src/objects/a.o")))
	x.flush()
	x.recorded(ignore.Name, "src", "src/a.c", "b.c", "empty", "hollow", "hollow/hollow", "hollow/hollow/b.c", "src/objects")
}

// TestEmptiedHollow: a directory that only held ignored names is an entry once it is
// empty, without any scan.
func TestEmptiedHollow(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.write(ignore.Name, "*.o\n")
	x.mkdir("d")
	x.write("d/a.o", "1")
	x.start()
	x.recorded(ignore.Name)
	x.must(os.Remove(x.path("d/a.o")))
	x.reported("d", vfs.Dir)
}

// TestTrackedStays: what is recorded is reported though rules ignore it.
func TestTrackedStays(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.mkdir("out")
	x.write("out/kept", "1")
	x.start()
	x.write(ignore.Name, "out/\n")
	x.flush()
	x.write("out/kept", "22")
	x.write("out/new", "1")
	x.flush()
	x.agreesBut("out/new")
	x.must(os.Remove(x.path("out/kept")))
	x.reported("out/kept", vfs.Absent)
}

// agreesBut is agrees but for paths that are not recorded.
func (x *fixture) agreesBut(paths ...string) {
	x.t.Helper()
	for _, p := range paths {
		if _, had, _ := x.index.Lookup(id.Path(p)); had {
			x.t.Errorf("%s is recorded", p)
		}
		x.must(os.Remove(x.path(p)))
	}
	x.flush()
	x.agrees()
}

// TestRulesChange: what new rules do not ignore any more is found without a scan of
// the whole folder, and a rule file is in force before what is written after it.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.mkdir("d/out/deep")
	x.write("d/out/deep/f", "1")
	x.write("d/"+ignore.Name, "out\n")
	x.start()
	x.recorded("d", "d/"+ignore.Name)
	x.must(os.WriteFile(x.path("new"), []byte("*.o\n"), 0o600))
	x.must(os.Rename(x.path("new"), x.path("d/"+ignore.Name)))
	x.write("d/a.o", "1")
	x.reported("d/out/deep/f", vfs.File)
	x.must(os.Remove(x.path("d/" + ignore.Name)))
	x.reported("d/a.o", vfs.File)
	x.flush()
	x.agrees()
	for i := range 30 { // at once: the rule file settles with what it is about
		x.mkdir(fmt.Sprintf("q%d", i))
		x.write(fmt.Sprintf("q%d/%s", i, ignore.Name), "*.tmp\n")
		x.write(fmt.Sprintf("q%d/f.tmp", i), "1")
	}
	x.flush()
	for i := range 30 {
		if _, had, _ := x.index.Lookup(id.Path(fmt.Sprintf("q%d/f.tmp", i))); had {
			t.Errorf("q%d/f.tmp was reported", i)
		}
	}
}

// TestUnusableRules: with a rule file that cannot be used nothing new beside or below
// it is reported, but the file is, and it is listed.
func TestUnusableRules(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(x *fixture, at string){
		"large":   func(x *fixture, at string) { x.must(os.WriteFile(at, make([]byte, ignore.MaxBytes+1), 0o600)) },
		"symlink": func(x *fixture, at string) { x.must(os.Symlink("elsewhere", at)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := prepare(t)
			x.mkdir("d/e")
			make(x, x.path("d/"+ignore.Name))
			x.write("d/e/f", "1")
			x.write("f", "1")
			x.start()
			x.recorded("d", "d/"+ignore.Name, "f")
			b := x.w.Blocked()
			if len(b) != 1 || b[0].Path != "d/"+ignore.Name || !strings.Contains(b[0].Reason, "no new file") {
				t.Errorf("blocked: %v", b)
			}
			x.must(os.Remove(x.path("d/" + ignore.Name)))
			x.reported("d/e/f", vfs.File)
			x.flush()
			x.agrees()
			if b := x.w.Blocked(); len(b) != 0 {
				t.Errorf("blocked: %v", b)
			}
		})
	}
}

// fakeHead is a Head.
type fakeHead struct {
	mu     sync.Mutex
	live   map[id.Path]bool
	coming bool
}

func (h *fakeHead) Live(paths []id.Path) (map[id.Path]bool, error) { return h.live, nil }

func (h *fakeHead) Coming(p id.Path) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.coming && p == ignore.Name
}

// TestHead: what the head has is reported though ignored; while the head's rule file is
// on its way, nothing else is.
func TestHead(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	h := &fakeHead{live: map[id.Path]bool{"a.o": true, "out": true}, coming: true}
	x.o.Head = h
	x.mkdir("out")
	x.write("out/f", "1")
	x.write("a.o", "1")
	x.write("b", "1")
	x.write("b.o", "1")
	x.start()
	x.recorded("a.o", "out")
	h.mu.Lock()
	h.coming = false
	h.mu.Unlock()
	x.reported("b", vfs.File)
	x.write(ignore.Name, "*.o\n")
	x.flush()
	x.write("c.o", "1")
	x.write("a.o", "22")
	x.flush()
	x.agreesBut("c.o")
}

// TestRandomRules: after any step, what is on the disk and not recorded is left out by
// the rules on the disk, and what has just been recorded is not.
func TestRandomRules(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	x := prepare(t)
	x.start()
	texts := []string{"*.o\n", "out/\n", "/a\n!x.o\n", "", "*\n!*/\n!*.c\n", "b/**\n", "[ab]\n", ignore.Name + "\n*.c\n"}
	name := func() string { return []string{"a", "b", "x.o", "y.c", "out"}[rng.IntN(5)] }
	path := func() string {
		p := name()
		for range rng.IntN(3) {
			p += "/" + name()
		}
		return p
	}
	var log []string
	for range 120 {
		before := x.index.paths()
		p, q := x.path(path()), x.path(path())
		switch rng.IntN(8) {
		case 0, 1:
			dir := filepath.Dir(p)
			_ = os.MkdirAll(dir, 0o755)
			text := texts[rng.IntN(len(texts))]
			log = append(log, fmt.Sprint("rules ", dir, text, os.WriteFile(filepath.Join(dir, ignore.Name), []byte(text), 0o644)))
		case 2:
			log = append(log, fmt.Sprint("no rules ", p, os.Remove(filepath.Join(filepath.Dir(p), ignore.Name))))
		case 3:
			log = append(log, fmt.Sprint("rename ", p, q, os.Rename(p, q)))
		case 4:
			log = append(log, fmt.Sprint("remove ", p, os.RemoveAll(p)))
		case 5:
			log = append(log, fmt.Sprint("mkdir ", p, os.MkdirAll(p, 0o755)))
		default:
			_ = os.MkdirAll(filepath.Dir(p), 0o755)
			log = append(log, fmt.Sprint("write ", p, os.WriteFile(p, []byte(fmt.Sprint(rng.Uint64())), 0o644)))
		}
		x.flush()
		if x.obeys(before); t.Failed() {
			t.Fatalf("seed %d: %s", seed, strings.Join(log, "\n"))
		}
	}
}

// obeys checks the index against the disk, judged by rules read anew.
func (x *fixture) obeys(before map[id.Path]vfs.Stat) {
	x.t.Helper()
	f, err := vfs.OpenReal(x.root)
	x.must(err)
	defer f.Close()
	fresh := New(x.o)
	recorded := x.index.paths()
	var walk func(d id.Path)
	walk = func(d id.Path) {
		fresh.loadRules(f, d)
		names, err := f.ReadDir(d)
		x.must(err)
		for _, n := range names {
			p := d.Join(n)
			st, err := f.Lstat(p)
			x.must(err)
			if p.Check() != nil {
				continue
			}
			if st.Kind == vfs.Dir {
				walk(p)
			}
			got, had := recorded[p]
			_, old := before[p]
			left := fresh.Leaves(f, p, st)
			switch {
			case !had && !left:
				x.t.Errorf("%s is not recorded", p)
			case had && !got.Same(st):
				x.t.Errorf("%s is recorded as %+v, and is %+v", p, got, st)
			case had && !old && fresh.Rule(p, st.Kind == vfs.Dir).Ignored():
				x.t.Errorf("%s was recorded, though ignored", p)
			}
			delete(recorded, p)
		}
	}
	walk("")
	for p := range recorded {
		x.t.Errorf("%s is recorded, and gone", p)
	}
}
