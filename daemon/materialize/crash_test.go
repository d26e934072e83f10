package materialize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// crashed is the disk as the next start finds it after a crash before op.
type crashed struct {
	mem      *vfs.Mem
	label    string
	recorded map[id.Path]Result // what record had had by then
	wrote    bool               // the user had put his bytes somewhere
}

// holds reports whether the user's bytes are anywhere on the disk.
func (cr crashed) holds(t testing.TB) (found bool) {
	m := cr.mem.Plain()
	walk(t, m, "", func(p id.Path, st vfs.Stat) {
		found = found || st.Kind == vfs.File && strings.Contains(content(t, m, p), userBytes)
	})
	return found
}

var crashModes = map[string]vfs.CrashMode{"kill": vfs.Kill, "power cut": vfs.PowerCut, "power cut, some": vfs.PowerCutSome}

// crashes runs f and collects a crash before each operation of it that changes something.
func crashes(mem *vfs.Mem, recorded *map[id.Path]Result, before func(n int), f func()) []crashed {
	var out []crashed
	n := 0
	mem.Hook(func(c vfs.Call) error {
		if before != nil {
			before(n)
		}
		n++
		if !c.Op.Changes() {
			return nil
		}
		for name, mode := range crashModes {
			seeds := 1
			if mode == vfs.PowerCutSome {
				seeds = 3
			}
			for seed := range seeds {
				cr := crashed{mem: mem.Crash(mode, uint64(seed)), label: fmt.Sprintf("%s (%d) before %d: %v", name, seed, n-1, c)}
				if recorded != nil {
					cr.recorded = *recorded
				}
				out = append(out, cr)
			}
		}
		return nil
	})
	f()
	mem.Hook(nil)
	return out
}

// on is s on another disk, after a restart and Recover.
func (s *scenario) on(t testing.TB, cr crashed) *scenario {
	t.Helper()
	w := &world{t: labelled{t, cr.label}, mem: cr.mem, fs: cr.mem, user: cr.mem.Plain(), store: newStore()}
	w.bytes = s.bytes
	w.restart()
	w.must(w.x.Recover(context.Background()))
	return &scenario{world: w, old: s.old, want: s.want, moves: s.moves}
}

// TestCrashAnywhere crashes a commit before each operation. After
// Recover each path is old or new, what was recorded is so, and the work can be
// done again to its end, with nothing left over and nothing given back without reason.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vfs.MemOptions{
		"linux": {}, "reused inodes": {ReuseInodes: true}, "no exchange": {NoExchange: true, NoLeases: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, o)
			var recorded map[id.Path]Result
			all := crashes(s.mem, &recorded, nil, func() {
				staged, err := s.x.Stage(context.Background(), s.items)
				s.must(err)
				_, err = s.x.Commit(context.Background(), staged, nil, func(rs []Result) error {
					recorded = map[id.Path]Result{}
					for _, r := range rs {
						recorded[r.Path] = r
					}
					return nil
				})
				s.must(err)
			})
			t.Logf("%d crashes", len(all))
			for i, cr := range all {
				if !longTests() && i%4 != 0 {
					continue
				}
				s.afterCrash(t, cr)
			}
		})
	}
}

func (s *scenario) afterCrash(t *testing.T, cr crashed) {
	t.Helper()
	// Crashes within Recover first: each leaves a disk that Recover can deal with.
	if strings.HasPrefix(cr.label, "kill") {
		again := *s
		inner := cr.mem.Crash(vfs.Kill, 0)
		w := &world{t: t, mem: inner, fs: inner, user: inner.Plain(), store: newStore()}
		w.bytes = s.bytes
		w.restart()
		list := crashes(inner, nil, nil, func() { w.must(w.x.Recover(context.Background())) })
		for i, c2 := range list {
			if i%11 == 0 {
				c2.label = cr.label + ", then in Recover " + c2.label
				c2.recorded = cr.recorded
				again.recovered(t, c2)
			}
		}
	}
	s.recovered(t, cr)
}

func (s *scenario) recovered(t *testing.T, cr crashed) {
	t.Helper()
	r := s.on(t, cr)
	got := tree(r.t, r.user)
	was, will := r.wanted(s.old), r.wanted(s.want)
	disk := map[id.Path]meta.Entry{}
	for _, p := range allPaths(got, was, will) {
		switch got[p] {
		case will[p]:
			disk[p] = s.want[p]
		case was[p]:
			disk[p] = s.old[p]
		default:
			r.t.Errorf("%q is %q, neither %q nor %q", p, got[p], was[p], will[p])
		}
		if disk[p].Kind == meta.Absent {
			delete(disk, p)
		}
	}
	for p, res := range cr.recorded {
		if st := r.stat(p); !st.SameIgnoringCTime(res.Stat) {
			r.t.Errorf("%q was recorded as %+v and is %+v", p, res.Stat, st)
		}
	}
	moves := map[id.Path]id.Path{}
	for to, from := range s.moves {
		if disk[from] == s.old[from] && disk[to] == s.old[to] {
			moves[to] = from
		}
	}
	r.allDone(r.run(r.diff(disk, s.want, moves)))
	sameTree(r.t, tree(r.t, r.user), will)
	r.clean()
	if len(r.returned) > 0 {
		r.t.Errorf("given back without reason: %q", r.returned)
	}
}

func allPaths(trees ...map[id.Path]string) []id.Path {
	seen := map[id.Path]bool{}
	var out []id.Path
	for _, tr := range trees {
		for p := range tr {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

// TestCrashInRace: a user's action and then a kill, at any two operations: his
// bytes are still there after Recover and Sweep.
func TestCrashInRace(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vfs.MemOptions{"linux": {}, "no exchange": {NoExchange: true, NoLeases: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stride, n := 61, 0
			if longTests() {
				stride = 3
			}
			for _, action := range []string{"replace", "write", "create", "directory", "child"} {
				for _, p := range racePaths {
					for at := n % stride; at < 120; at += stride {
						crashInRace(t, o, action, p, at)
						n++
					}
				}
			}
		})
	}
}

func crashInRace(t *testing.T, o vfs.MemOptions, action string, p id.Path, at int) {
	s := newScenario(t, o)
	staged, err := s.x.Stage(context.Background(), s.items)
	s.must(err)
	n, wrote := 0, false
	var all []crashed
	s.mem.Hook(func(c vfs.Call) error {
		if n == at {
			_, wrote = actions[action](s.user.(*vfs.Mem), p)
		}
		n++
		// The moments until the race has been dealt with are the interesting ones.
		if c.Op.Changes() && wrote && n < at+12 {
			all = append(all, crashed{mem: s.mem.Crash(vfs.Kill, 0), label: fmt.Sprintf("%s %s at %d, killed before %d: %v", action, p, at, n-1, c), wrote: true})
		}
		return nil
	})
	s.commit(staged)
	s.mem.Hook(nil)
	for _, cr := range all {
		if cr.holds(t) { // a writer that still waited for a lease has written nothing
			s.on(t, cr).check(nil, true)
		}
	}
}

// TestErrorAnywhere lets each operation of a commit fail once. The
// results say what is, and nothing is lost.
func TestErrorAnywhere(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for at := 1; ; at++ {
			s := newScenario(t, vfs.MemOptions{})
			staged, err := s.x.Stage(context.Background(), s.items)
			s.must(err)
			ops := s.mem.Ops()
			s.mem.Fail("", "", at, cause)
			res, err := s.x.Commit(context.Background(), staged, nil, nil)
			end := s.mem.Ops()-ops < at
			s.mem.ClearFaults()
			s.t = labelled{t, fmt.Sprintf("%v at operation %d", cause, at)}
			if err != nil {
				if !errors.Is(err, cause) {
					s.t.Errorf("another error: %v", err)
				}
				s.restart()
				s.must(s.x.Recover(context.Background()))
			}
			got, was, will := tree(t, s.user), s.wanted(s.old), s.wanted(s.want)
			for _, p := range allPaths(got, was, will) {
				if p != "t" && got[p] != was[p] && got[p] != will[p] {
					s.t.Errorf("%q is %q", p, got[p])
				}
			}
			for _, r := range res {
				if err == nil && r.State == Done && got[r.Path] != will[r.Path] {
					s.t.Errorf("%q is %q though done", r.Path, got[r.Path])
				}
			}
			s.advance(200e9)
			_, err = s.x.Sweep(context.Background())
			s.must(err)
			if len(s.returned) > 0 {
				s.t.Errorf("given back without reason: %q", s.returned)
			}
			if end {
				t.Logf("%v: %d operations", cause, at)
				break
			}
		}
	}
}

// TestCrashWithReadOnlyDirectory: a read-only directory that has to be written to for
// a while moves, itself or with one above it. It is read-only wherever the commit, or
// a crash, leaves it.
func TestCrashWithReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	type entries map[id.Path]meta.Entry
	w := newWorld(t, vfs.MemOptions{})
	f := w.file("x", 0o644, 1)
	for name, tc := range map[string]struct {
		old, want entries
		moves     map[id.Path]id.Path
	}{
		"to where a symlink was": {
			entries{"a": dirEntry(0o505), "a/a": dirEntry(0o555), "b": linkEntry("x")},
			entries{"a": dirEntry(0o505), "b": dirEntry(0o555)},
			map[id.Path]id.Path{"b": "a/a"},
		},
		"with one above it": {
			entries{"b": dirEntry(0o755), "b/a": dirEntry(0o555), "b/a/a": f},
			entries{"c": dirEntry(0o755), "c/a": dirEntry(0o555), "c/a/a": dirEntry(0o755)},
			map[id.Path]id.Path{"c": "b", "c/a": "b/a"},
		},
	} {
		for _, noExchange := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/no exchange %v", name, noExchange), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, vfs.MemOptions{EnforceModes: true, NoExchange: noExchange})
				w.file("x", 0o644, 1)
				s := &scenario{world: w, old: tc.old, want: tc.want, moves: tc.moves}
				for _, p := range (&model{entries: s.old}).paths(false) {
					if e := s.old[p]; e.Kind == meta.Dir {
						w.make(p, dirEntry(0o700))
					} else {
						w.make(p, e)
					}
				}
				for _, p := range (&model{entries: s.old}).paths(true) {
					w.must(w.user.Chmod(p, s.old[p].Mode))
				}
				w.must(w.user.SyncAll())
				all := crashes(s.mem, nil, nil, func() { w.allDone(w.run(w.diff(s.old, s.want, s.moves))) })
				sameTree(t, tree(t, w.user), w.wanted(s.want))
				for _, cr := range all {
					s.recovered(t, cr)
				}
			})
		}
	}
}
