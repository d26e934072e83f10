package folder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// user does random things on one node's disk.
type user struct {
	n             *node
	rng           *rand.Rand
	count         *int
	texts         map[string]bool // what was written and captured
	fresh         []string        // paths written since the last capture
	only          bool            // whether it keeps a part of the folder at times
	others, rules bool            // whether others write too; whether rule files and names that they ignore are made too
}

func (u *user) name() string { return string(rune('a' + u.rng.IntN(4))) }

func (u *user) path() string {
	p := u.name()
	for range u.rng.IntN(3) {
		p = filepath.Join(p, u.name())
	}
	return p
}

// act does one thing; many fail, for lack of what they need.
func (u *user) act() string {
	p, q := u.path(), u.path()
	if u.rules {
		switch u.rng.IntN(10) {
		case 9:
			return u.forget()
		case 0:
			p = filepath.Join(filepath.Dir(p), ignore.Name)
			text := []string{"*.o\n", "*.o\nc\n", "/d/\n", "", "*\n!*/\n!a\n"}[u.rng.IntN(5)]
			return fmt.Sprint("rules ", p, " ", text, os.WriteFile(u.n.path(p), []byte(text), 0o644))
		case 1:
			p = filepath.Join(filepath.Dir(p), ignore.Name)
			return fmt.Sprint("no rules ", p, os.Remove(u.n.path(p)))
		case 2, 3:
			p += ".o"
		case 4:
			q += ".o"
		}
	}
	at, to := u.n.path(p), u.n.path(q)
	switch u.rng.IntN(12) {
	case 0, 1, 2, 3, 4:
		*u.count++
		text := fmt.Sprintf("%d by %s", *u.count, filepath.Base(u.n.root))
		_ = os.MkdirAll(filepath.Dir(at), 0o755)
		if os.WriteFile(at, []byte(text), 0o644) == nil {
			u.fresh = append(u.fresh, p)
		}
		return "write " + p + " " + text
	case 5:
		return fmt.Sprint("mkdir ", p, os.MkdirAll(at, 0o755))
	case 6, 7, 8:
		return fmt.Sprint("rename ", p, " ", q, os.Rename(at, to))
	case 9:
		return fmt.Sprint("remove ", p, os.RemoveAll(at))
	case 10:
		return fmt.Sprint("chmod ", p, os.Chmod(at, 0o700))
	default:
		return fmt.Sprint("symlink ", p, os.Symlink(q, at))
	}
}

// forget ends the tracking of something that is tracked and ignored, if there is
// something, and the node is in touch.
func (u *user) forget() string {
	if !u.others { // what un-ignored leftovers of a single writer's become are two sides
		return "nothing"
	}
	var all []id.Path
	u.n.c.ok(u.n.local.Below(u.n.c.folder, "", func(p id.Path, r local.Row) error {
		if u.n.engine.watch.Rule(p, r.Stat.Kind == vfs.Dir).Ignored() {
			all = append(all, p)
		}
		return nil
	}))
	if len(all) == 0 {
		return "nothing to forget"
	}
	p := all[u.rng.IntN(len(all))]
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, n, err := u.n.engine.Forget(ctx, p, false)
	return fmt.Sprint("forget ", p, " ", n, err)
}

// capture waits until the node has taken what is on its disk, and notes the bytes
// that may not be lost from then on: those that it found there.
func (u *user) capture() {
	texts := make(map[string]string)
	for _, p := range u.fresh {
		in, err := os.Lstat(u.n.path(p))
		if b, rerr := os.ReadFile(u.n.path(p)); err == nil && rerr == nil && in.Mode().IsRegular() {
			texts[p] = string(b)
		}
	}
	u.fresh = nil
	u.n.captured()
	for p, text := range texts {
		_, had, err := u.n.local.Get(u.n.c.folder, id.Path(p))
		u.n.c.ok(err)
		if had || !u.rules && !u.only { // what is ignored is not promised
			u.texts[text] = true
		}
	}
}

// takes reports whether what the user does is committed: else it is later, or never.
func (u *user) takes() bool { return !u.n.paused && u.n.mode != ModeReceive }

// answers says what is to become of deletions that are held, or of changes that are
// kept here.
func (u *user) answers() string {
	u.n.c.t.Helper()
	if u.n.paused {
		return "nothing"
	}
	what := "nothing was held"
	within(u.n.c.t, "an answer", func(ctx context.Context) error {
		var err error
		if u.rng.IntN(2) == 0 {
			_, err = u.n.engine.Allow(ctx, "user", false)
			what = "allow"
		} else if u.takes() {
			_, err = u.n.engine.Revert(ctx, false)
			what = "revert"
		}
		if errors.Is(err, ErrNothingHeld) {
			err, what = nil, "nothing was held"
		}
		return err
	})
	return what
}

// switches lets the folder rest, or go one way or both, as the user says.
func (u *user) switches() string {
	if u.takes() {
		u.capture()
	}
	u.n.mode = []Mode{ModeBoth, ModeBoth, ModeSend, ModeReceive}[u.rng.IntN(4)]
	u.n.paused = u.rng.IntN(3) == 0
	u.n.restart()
	return fmt.Sprintf("mode %s paused %v", u.n.mode, u.n.paused)
}

func randomRun(t *rapid.T, dir string, nodes, writers int, rules, modes, only bool) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	mode := rapid.SampledFrom([]string{"copy", "history"}).Draw(t, "conflicts")
	c := newCluster(t, dir, nodes, map[string]string{"conflicts": mode})
	if rapid.Bool().Draw(t, "commits overtake stages") {
		for _, n := range c.nodes {
			n.hasty, n.slow = 1, 3*time.Millisecond
		}
	}
	page := rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(t, "page")
	for _, n := range c.nodes {
		n.page = page
	}
	small := rapid.SampledFrom([]int{0, 0, 500, 1500}).Draw(t, "largest commit")
	for _, n := range c.nodes {
		n.commitMax = small
	}
	c.start()
	defer c.close()
	count, texts := 0, make(map[string]bool)
	var users []*user
	for _, n := range c.nodes[:writers] {
		if modes {
			n.least = 2
			n.restart()
		}
		users = append(users, &user{n: n, rng: rng, count: &count, texts: texts, others: writers > 1, rules: rules, only: only})
	}
	steps := rapid.IntRange(5, 40).Draw(t, "steps")
	for range steps {
		u := users[rng.IntN(len(users))]
		switch k := rng.IntN(20); {
		case k < 12:
			t.Logf("%s: %s", filepath.Base(u.n.root), u.act())
		case k == 12 && modes:
			t.Logf("%s: %s", filepath.Base(u.n.root), u.switches())
		case (k == 12 || k == 13) && only:
			t.Logf("%s: %s", filepath.Base(u.n.root), u.keepsOther())
		case k == 13 && modes:
			t.Logf("%s: %s", filepath.Base(u.n.root), u.answers())
		case k < 15 && !u.takes():
		case k < 15:
			u.capture()
			t.Logf("%s: capture", filepath.Base(u.n.root))
		case k == 15:
			if u.takes() {
				u.capture()
			}
			u.n.restart()
			t.Logf("%s: restart", filepath.Base(u.n.root))
		case k == 16:
			n := c.nodes[rng.IntN(nodes)]
			n.step()
			t.Logf("%s: step", filepath.Base(n.root))
		default:
			n := c.nodes[rng.IntN(nodes)]
			cut, held := rng.IntN(3) == 0, rng.IntN(3) == 0
			n.set(cut, held)
			t.Logf("%s: cut %v held %v", filepath.Base(n.root), cut, held)
		}
	}
	for _, u := range users {
		if u.n.paused || u.n.mode != "" {
			u.n.paused = false
			u.n.setMode("")
		}
		u.capture()
		for (modes || only) && !strings.HasPrefix(u.answers(), "nothing") {
		}
	}
	for _, u := range users {
		u.n.least = 0
		u.n.restart()
	}
	c.done()
	for _, u := range users {
		if u.n.only != "" { // what it did not keep is what the others kept
			u.n.keep("")
			c.done()
		}
	}
	for text := range texts {
		c.inHistory(text)
	}
	if writers == 1 && !only { // what is written outside is another version when it is kept again
		c.conflicts(0)
	}
}

// TestRandomEdits: whatever users do on one or several nodes, with deliveries,
// partitions, restarts, pauses and other modes in between: all disks end equal, what was captured is in
// history, a second run does nothing, and one writer alone makes no conflict.
func TestRandomEdits(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		nodes, writers int
		rules, modes   bool
		only           bool
	}{
		{2, 1, false, false, false}, {2, 2, false, false, false}, {3, 3, false, false, false}, {2, 1, true, false, false}, {3, 3, true, false, false},
		{2, 1, false, true, false}, {2, 2, false, true, false}, {3, 3, false, true, false},
		{2, 1, false, false, true}, {3, 2, false, false, true}, {3, 2, true, false, true}, {2, 2, false, true, true},
	} {
		t.Run(fmt.Sprintf("%d of %d write, ignore rules %v, modes %v, only %v", k.writers, k.nodes, k.rules, k.modes, k.only), func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			rapid.Check(t, func(rt *rapid.T) {
				dir, err := os.MkdirTemp(base, "")
				if err != nil {
					rt.Fatalf("%v", err)
				}
				randomRun(rt, dir, k.nodes, k.writers, k.rules, k.modes, k.only)
			})
		})
	}
}
