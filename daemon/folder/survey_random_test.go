package folder

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// takeAway copies a's tree to b's, as a machine that then is away.
func takeAway(a, b *node) {
	a.c.t.Helper()
	a.c.ok(filepath.WalkDir(a.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a.root, p)
		if err != nil || rel == "." {
			return err
		}
		if rel == id.ReservedName {
			return filepath.SkipDir
		}
		to := b.path(rel)
		switch {
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	}))
}

// returnRun: one machine's tree is copied at some time, its user goes on, and another
// machine comes with the copy.
func returnRun(t *rapid.T, dir string, edited bool, prefer string) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	c := newCluster(t, dir, 2)
	defer c.close()
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	count, texts := 0, make(map[string]bool)
	work := func(n *node, most int) {
		u := &user{n: n, rng: rng, count: &count, texts: texts}
		for range rng.IntN(most) {
			t.Logf("%s: %s", filepath.Base(n.root), u.act())
			if n.engine != nil && rng.IntN(3) == 0 {
				u.capture()
			}
		}
		if n.engine != nil {
			u.capture()
			n.committed()
			return
		}
		for _, p := range u.fresh { // what is there when the survey begins must not be lost
			in, err := os.Lstat(n.path(p))
			if data, rerr := os.ReadFile(n.path(p)); err == nil && rerr == nil && in.Mode().IsRegular() {
				texts[string(data)] = true
			}
		}
	}
	work(a, 25)
	takeAway(a, b)
	work(a, 25)
	if edited {
		work(b, 8)
	}
	before := c.head()
	b.caught()
	b.survey(func(s *Survey, _ *local.DB) {
		_, err := s.Run(context.Background())
		c.ok(err)
		if prefer == "mine" {
			c.ok(s.PreferMine())
		}
	})
	b.start()
	c.settled()
	if now := c.head(); !edited && now != before {
		t.Fatalf("what history has made revisions %d to %d\n%s", before.Revision+1, now.Revision, c.story())
	}
	c.done()
	for text := range texts {
		c.inHistory(text)
	}
	if !edited {
		c.conflicts(0)
	}
}

// TestRandomReturns: whatever one machine did while another was away with a copy of its
// tree, the one that returns makes no commit and no conflict, and both disks end equal;
// where its user went on too, no bytes are lost.
func TestRandomReturns(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		edited bool
		prefer string
	}{{false, ""}, {true, ""}, {true, "mine"}} {
		t.Run(fmt.Sprintf("edited %v prefer %s", k.edited, k.prefer), func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			rapid.Check(t, func(rt *rapid.T) {
				dir, err := os.MkdirTemp(base, "")
				if err != nil {
					rt.Fatalf("%v", err)
				}
				returnRun(rt, dir, k.edited, k.prefer)
			})
		})
	}
}
