package watcher

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// user does random things to a tree.
type user struct {
	x   *fixture
	rng *rand.Rand
	n   int
}

func (u *user) name() string { return string(rune('a' + u.rng.IntN(5))) }

// path is a random path of one to four components, existing or not.
func (u *user) path() string {
	p := u.name()
	for range u.rng.IntN(4) {
		p += "/" + u.name()
	}
	return p
}

// act does one thing; most fail, for lack of what they need.
func (u *user) act() {
	u.n++
	at := u.x.path(u.path())
	switch u.rng.IntN(10) {
	case 0, 1, 2:
		_ = os.WriteFile(at, fmt.Append(nil, u.n), 0o644)
	case 3, 4, 5:
		if os.MkdirAll(at, 0o755) == nil {
			_ = os.WriteFile(filepath.Join(at, "z"), fmt.Append(nil, u.n), 0o644)
		}
	case 6, 7:
		_ = os.Rename(at, u.x.path(u.path()))
	case 8:
		_ = os.RemoveAll(at)
	case 9:
		_ = os.Chmod(at, 0o700|os.FileMode(u.rng.IntN(8)))
	}
}

// consistent reports whether the index holds exactly what is on the disk.
func (x *fixture) consistent() bool {
	f, err := vfs.OpenReal(x.root)
	if err != nil {
		return false
	}
	defer f.Close()
	got := x.index.paths()
	n := 0
	var walk func(d id.Path) bool
	walk = func(d id.Path) bool {
		names, err := f.ReadDir(d)
		if err != nil {
			return false
		}
		for _, name := range names {
			p := d.Join(name)
			if p.Check() != nil {
				continue
			}
			st, err := f.Lstat(p)
			if err != nil || !got[p].Same(st) {
				return false
			}
			n++
			if st.Kind == vfs.Dir && !walk(p) {
				return false
			}
		}
		return true
	}
	return walk("") && n == len(got)
}

// Whatever a user does, how fast and in which order: by events alone, without a
// scan, the index comes to hold what is on the disk.
func TestRandomChangesAreAllSeen(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("LOCKSTEP_LONG") != "" {
		rounds = 200
	}
	seed := rand.Uint64()
	x := prepare(t).start()
	scans := x.w.Status().LastScan
	u := &user{x: x, rng: rand.New(rand.NewPCG(seed, 1))}
	for round := range rounds {
		for range 20 + u.rng.IntN(400) {
			u.act()
		}
		x.until(fmt.Sprintf("seed %d, round %d", seed, round), func([]Batch) bool { return x.consistent() })
		if len(x.index.paths()) > 1000 {
			x.must(os.RemoveAll(x.path("a")))
		}
	}
	if got := x.w.Status(); got.LastScan != scans || got.Overflows != 0 {
		t.Errorf("there was a scan: %+v", got)
	}
}
