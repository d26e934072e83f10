package materialize

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestCrashWithMissingContent: a stage that was not filled to its end is nobody's
// version. A crash of a commit that leaves it out must not make Recover take it
// for something of the user's: it would be put at the path, or given back and
// committed, half written (B08).
func TestCrashWithMissingContent(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vfs.MemOptions{
		"linux": {}, "reused inodes": {ReuseInodes: true}, "no exchange": {NoExchange: true, NoLeases: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, o)
			gone := func(n string) meta.Entry {
				e := w.file("nobody has "+n, 0o644, 5)
				w.missing[e.Content] = true
				return e
			}
			was := map[id.Path]meta.Entry{
				"a": w.file("old a", 0o644, 1), "d": dirEntry(0o755), "d/h": w.file("old h", 0o644, 1), "k": dirEntry(0o755), "z": w.file("old z", 0o644, 1),
			}
			want := map[id.Path]meta.Entry{
				"a": w.file("new a", 0o644, 2), "d": dirEntry(0o755), "d/h": gone("h"), "d/new": gone("new"), "k": gone("k"),
				"sub": dirEntry(0o755), "sub/gone": gone("sub"), "sub/there": w.file("there", 0o644, 2),
			}
			s := &scenario{world: w, old: was, want: want}
			for _, p := range (&model{entries: was}).paths(false) {
				w.make(p, was[p])
			}
			w.must(w.user.SyncAll())
			s.items = w.diff(was, want, nil)
			all := crashes(w.mem, nil, nil, func() { w.run(s.items) })
			for _, cr := range all {
				r := s.on(t, cr)
				got, then, now := tree(r.t, r.user), r.wanted(was), r.wanted(want)
				for _, p := range allPaths(got, then, now) {
					if g := got[p]; g != then[p] && g != now[p] || strings.Contains(g, "part") {
						r.t.Errorf("%q is %q, neither %q nor %q", p, g, then[p], now[p])
					}
				}
				r.clean()
				if len(r.returned) > 0 {
					r.t.Errorf("given back without reason: %q", r.returned)
				}
			}
			t.Logf("%d crashes", len(all))
		})
	}
}

// TestRecoverWithoutTheDirectory: the user replaced a file while it was exchanged,
// the process was killed, and the user then moved the directory away. Recover must
// not fail, now and at each start, for the lack of it; his bytes are given back.
func TestRecoverWithoutTheDirectory(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vfs.MemOptions{"linux": {}, "no exchange": {NoExchange: true, NoLeases: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tried := 0
			for at := range 120 {
				s := newScenario(t, o)
				staged, err := s.x.Stage(context.Background(), s.items)
				s.must(err)
				n, wrote := 0, false
				var all []crashed
				s.mem.Hook(func(c vfs.Call) error {
					if n == at {
						_, wrote = actions["replace"](s.user.(*vfs.Mem), "d/x")
					}
					n++
					if c.Op.Changes() && wrote && n < at+12 {
						all = append(all, crashed{mem: s.mem.Crash(vfs.Kill, 0), label: fmt.Sprintf("at %d, killed before %d: %v", at, n-1, c)})
					}
					return nil
				})
				s.commit(staged)
				s.mem.Hook(nil)
				for _, cr := range all {
					if !cr.holds(t) {
						continue
					}
					if err := cr.mem.Plain().Rename("d", "away", vfs.NoReplace); err != nil {
						continue
					}
					tried++
					r := s.on(t, cr) // fails the test if Recover does
					r.advance(200e9)
					_, err := r.x.Sweep(context.Background())
					r.must(err)
					if !cr.holds(t) && !strings.Contains(strings.Join(r.returned, "\n"), userBytes) {
						r.t.Errorf("the user's bytes are gone; given back: %q", r.returned)
					}
				}
			}
			if tried == 0 {
				t.Error("no case was tried")
			}
			t.Logf("%d cases", tried)
		})
	}
}
