package materialize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// scenario is a plan of one item or more of each sort.
type scenario struct {
	*world
	old, want map[id.Path]meta.Entry
	moves     map[id.Path]id.Path
	items     []Item
}

const old = "old bytes of the file "

func newScenario(t testing.TB, o vfs.MemOptions) *scenario {
	w := newWorld(t, o)
	f := func(name string) meta.Entry { return w.file(old+name, 0o644, 1000) }
	g := func(name string) meta.Entry { return w.file("new bytes of "+name, 0o600, 2000) }
	s := &scenario{world: w,
		old: map[id.Path]meta.Entry{
			"f": f("f"), "g": f("g"), "d": dirEntry(0o755), "d/x": f("dx"), "m": f("m"), "p": dirEntry(0o755), "p/q": f("pq"),
			"s1": f("s1"), "s2": f("s2"), "k": f("k"), "j": dirEntry(0o755), "j/a": f("ja"), "l": linkEntry("old"), "t": f("t"),
			"out": dirEntry(0o755), "out/x": f("out"), "out/q": f("outq"),
		},
		want: map[id.Path]meta.Entry{
			"f": g("f"), "h": g("h"), "d": dirEntry(0o755), "d/x": g("dx"), "d/y": g("dy"), "n": f("m"), "r": dirEntry(0o755), "r/q": f("pq"),
			"s1": f("s2"), "s2": f("s1"), "k": dirEntry(0o755), "k/z": g("kz"), "j": g("j"), "l": linkEntry("new"), "t": w.file(old+"t", 0o755, 1500),
			"out": dirEntry(0o755), "out/x": f("out"), "out/q": f("outq"),
		},
		moves: map[id.Path]id.Path{"n": "m", "r": "p", "r/q": "p/q", "s1": "s2", "s2": "s1"},
	}
	for _, p := range (&model{entries: s.old}).paths(false) {
		w.make(p, s.old[p])
	}
	w.must(w.user.SyncAll())
	s.items = w.diff(s.old, s.want, s.moves)
	return s
}

const userBytes = "USERBYTES"

// actions are what a user may do to a path at any moment. Each reports whether it
// put userBytes somewhere. They never block.
var actions = map[string]func(m *vfs.Mem, p id.Path) (end func(), wrote bool){
	"replace": func(m *vfs.Mem, p id.Path) (func(), bool) {
		return nil, userFile(m, "usertmp") && m.Rename("usertmp", p, vfs.Replace) == nil
	},
	"write": func(m *vfs.Mem, p id.Path) (func(), bool) {
		w, err := m.OpenWriter(p)
		if err != nil {
			return nil, false
		}
		w.WriteAt([]byte(userBytes), 0)
		w.Close()
		return nil, true
	},
	"open": func(m *vfs.Mem, p id.Path) (func(), bool) {
		w, err := m.OpenWriter(p)
		if err != nil {
			return nil, false
		}
		return func() { w.WriteAt([]byte(userBytes), 0); w.Close() }, true
	},
	"delete": func(m *vfs.Mem, p id.Path) (func(), bool) { _ = removeAll(m, p); return nil, false },
	"create": func(m *vfs.Mem, p id.Path) (func(), bool) { return nil, userFile(m, p) },
	"directory": func(m *vfs.Mem, p id.Path) (func(), bool) {
		_ = removeAll(m, p)
		return nil, m.Mkdir(p, 0o755) == nil && userFile(m, p.Join("mine"))
	},
	"child": func(m *vfs.Mem, p id.Path) (func(), bool) { return nil, userFile(m, p.Join("mine")) },
	"away": func(m *vfs.Mem, p id.Path) (func(), bool) {
		_ = m.Rename(p, "away", vfs.NoReplace)
		return nil, false
	},
	"symlink": func(m *vfs.Mem, p id.Path) (func(), bool) {
		_ = m.Rename(p, "away", vfs.NoReplace)
		_ = m.Symlink("out", p)
		return nil, false
	},
}

func userFile(m *vfs.Mem, p id.Path) bool {
	h, err := m.Create(p, 0o644)
	if err != nil {
		return false
	}
	_, err = h.WriteAt([]byte(userBytes), 0)
	return err == nil && h.Close() == nil
}

// TestRaces does each action to each path before each operation of a commit.
// Whatever happens, no byte of the user's is lost, none is
// hidden behind a recorded stat, and nothing else is touched.
func TestRaces(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vfs.MemOptions{
		"linux": {}, "reused inodes": {ReuseInodes: true}, "no leases": {NoLeases: true}, "no exchange": {NoExchange: true, NoLeases: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stride := 19
			if longTests() {
				stride = 1
			}
			runs := 0
			for action := range actions {
				for _, p := range racePaths {
					for at := runs % stride; ; at += stride {
						if !oneRace(t, o, action, p, at) {
							break
						}
						runs++
					}
				}
			}
			t.Logf("%d races", runs)
		})
	}
}

var racePaths = []id.Path{"f", "g", "h", "d", "d/x", "d/y", "m", "n", "p", "p/q", "r", "r/q", "s1", "s2", "k", "k/z", "j", "j/a", "l", "t"}

// oneRace reports whether the commit has an operation number at.
func oneRace(t *testing.T, o vfs.MemOptions, action string, p id.Path, at int) bool {
	s := newScenario(t, o)
	staged, err := s.x.Stage(context.Background(), s.items)
	s.must(err)
	n, wrote := 0, false
	var end func()
	var op vfs.Call
	s.mem.Hook(func(c vfs.Call) error {
		if n == at {
			op = c
			end, wrote = actions[action](s.user.(*vfs.Mem), p)
		}
		n++
		return nil
	})
	res := s.commit(staged)
	s.mem.Hook(nil)
	if end != nil {
		end()
	}
	s.t = labelled{t, fmt.Sprintf("%s %s at %d, before %v", action, p, at, op)}
	s.check(res, wrote)
	return n > at
}

// labelled says in each failure which case it is.
type labelled struct {
	testing.TB
	label string
}

func (l labelled) Errorf(f string, a ...any) { l.TB.Helper(); l.TB.Errorf(l.label+": "+f, a...) }
func (l labelled) Fatal(a ...any) {
	l.TB.Helper()
	l.TB.Fatal(append([]any{l.label + ": "}, a...)...)
}

func (s *scenario) check(res map[id.Path]Result, wrote bool) {
	s.t.Helper()
	for range 3 {
		s.advance(2 * time.Minute)
		_, err := s.x.Sweep(context.Background())
		s.must(err)
	}
	got := tree(s.t, s.user)
	all := strings.Join(s.returned, "\n")
	for _, c := range got {
		all += "\n" + c
	}
	if wrote && !strings.Contains(all, userBytes) {
		s.t.Errorf("the user's bytes are lost")
	}
	for p, r := range res {
		st := s.stat(p)
		switch {
		case r.State == Done && !r.Dirty && st.Same(r.Stat):
			if want := s.wanted(map[id.Path]meta.Entry{p: r.Want})[p]; got[p] != want {
				s.t.Errorf("%q is recorded as %q and is %q", p, want, got[p])
			}
		case r.State != Done && st.Same(r.Expect):
			if was := s.wanted(map[id.Path]meta.Entry{p: r.Was})[p]; got[p] != was {
				s.t.Errorf("%q (%v) was recorded as %q and is %q", p, r.State, was, got[p])
			}
		}
		if r.State == Failed {
			s.t.Errorf("%q failed: %v", p, r.Err)
		}
	}
	for _, p := range []id.Path{"out/x", "out/q"} {
		if want := s.wanted(s.old)[p]; got[p] != want {
			s.t.Errorf("outside: %q is %q", p, got[p])
		}
	}
	for _, p := range []id.Path{"out/y", "out/z"} {
		if got[p] != "" {
			s.t.Errorf("outside: %q was made", p)
		}
	}
	if err := s.x.DropLeftovers(); err != nil {
		s.t.Error(err)
	}
	walk(s.t, s.user, reserved, func(p id.Path, _ vfs.Stat) {
		if p != tmpDir && p != keptDir {
			s.t.Errorf("left over: %q", p)
		}
	})
}

// TestOpenForWriting: who has a file open for writing keeps it, and all else goes on.
func TestOpenForWriting(t *testing.T) {
	t.Parallel()
	for _, p := range []id.Path{"f", "g", "d/x", "m", "s1", "k", "t"} {
		s := newScenario(t, vfs.MemOptions{})
		wr, err := s.mem.OpenWriter(p)
		s.must(err)
		res := s.run(s.items)
		if res[p].State != Busy && res[p].State != Raced {
			t.Errorf("%q: %v %v", p, res[p].State, res[p].Err)
		}
		if got, want := s.stat(p), s.items[indexOf(s.items, p)].Expect; got.Ino != want.Ino {
			t.Errorf("%q was replaced while open for writing", p)
		}
		if p != "f" && res["f"].State != Done {
			t.Errorf("%q open: f is %v", p, res["f"].State)
		}
		wr.WriteAt([]byte(userBytes), 0)
		wr.Close()
		s.check(res, true)
	}
}

func indexOf(items []Item, p id.Path) int {
	for i := range items {
		if items[i].Path == p {
			return i
		}
	}
	return -1
}

// TestOutsideRootOfParent: a parent that becomes a symlink is never followed.
func TestParentBecomesSymlink(t *testing.T) {
	t.Parallel()
	s := newScenario(t, vfs.MemOptions{})
	staged, err := s.x.Stage(context.Background(), s.items)
	s.must(err)
	s.must(s.user.Rename("d", "away", vfs.NoReplace))
	s.must(s.user.Symlink("out", "d"))
	res := s.commit(staged)
	for _, p := range []id.Path{"d/x", "d/y"} {
		if res[p].State != Raced || !errors.Is(res[p].Err, vfs.ErrEscape) && !errors.Is(res[p].Err, fs.ErrNotExist) {
			t.Errorf("%q: %v %v", p, res[p].State, res[p].Err)
		}
	}
	s.check(res, false)
}
