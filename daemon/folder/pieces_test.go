package folder

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/meta"
)

// smallCommits starts nodes whose commits hold about ten changes, and no brake.
func smallCommits(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(t, t.TempDir(), n)
	for _, n := range c.nodes {
		n.commitMax, n.least = 1500, 1<<30
	}
	t.Cleanup(c.close)
	return c.start()
}

// pieces returns how many commits the node has in its queue, none over the limit.
func (n *node) pieces() (count int) {
	n.c.t.Helper()
	n.c.ok(n.local.Queue(n.c.folder, 1, func(it local.Item) error {
		b, err := meta.UnmarshalBody(it.Body)
		if err != nil {
			return err
		}
		cmd, err := b.Command()
		if err != nil {
			return err
		}
		size, changes := 0, cmd.(meta.CommitCmd).Changes
		for _, ch := range changes {
			size += ch.MaxSize()
		}
		if size > n.commitMax && len(changes) > 1 {
			return fmt.Errorf("a commit of %d changes has %d bytes", len(changes), size)
		}
		count++
		return nil
	}))
	return count
}

// TestDeletionInPieces: what is deleted path by path and does not fit into one commit
// goes in several, in order, and what others did meanwhile stays.
func TestDeletionInPieces(t *testing.T) {
	for _, k := range []struct {
		name string
		do   step
		gone []string
		has  string
	}{
		{"removed", func(n *node) { n.remove("t") }, []string{"t/0", "t/4/f4"}, ""},
		{"a file in its place", func(n *node) { n.remove("t"); n.write("t", "a file") }, nil, ""},
		{"files renamed out of it", func(n *node) {
			for i := range 40 {
				n.mkdir(fmt.Sprintf("u/%d", i%7))
				n.rename(fmt.Sprintf("t/%d/f%d", i%10, i), fmt.Sprintf("u/%d/g%d", i%7, i))
			}
			n.remove("t")
			n.write("u/new", "new")
		}, []string{"t/0", "t/9/f59"}, "u/3/g3"},
		{"all but a few", func(n *node) {
			for i := 1; i < 10; i++ {
				n.remove(fmt.Sprintf("t/%d", i))
			}
			n.write("t/0/f0", "edited")
		}, []string{"t/1", "t/9"}, "t/0/f0"},
	} {
		for _, how := range []string{"goes on", "killed between", "refused"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				if how != "killed between" { // failpoints are the process's
					t.Parallel()
				}
				c := smallCommits(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.many(100)
				a.write("t/3/theirs", "0")
				c.settled()
				b.set(true, false)
				for i := range 10 { // no change can stand for a directory now
					b.write(fmt.Sprintf("t/%d/more", i), "x")
				}
				b.captured()
				before := b.pieces()
				var frozen string
				if how == "killed between" {
					onceAt(t, "folder/piece", func() { frozen = b.freeze() })
				}
				k.do(b)
				b.captured()
				if n := b.pieces() - before; n < 3 {
					t.Fatalf("%d commits", n)
				}
				a.write("t/3/theirs", "a")
				a.write("t/5/unseen", "a")
				a.committed()
				switch how {
				case "killed between":
					b.died(frozen)
					b.start()
				case "refused":
					c.refuseNext(b)
				}
				c.done()
				for _, p := range k.gone {
					if how != "refused" { // then some of it comes back
						a.gone(p)
					}
				}
				disk := render(a.disk())
				if n := strings.Count(disk, ` "a" `); n != 2 {
					t.Errorf("%d files are as they were made meanwhile\n%s%s", n, disk, c.story())
				}
				if k.has != "" {
					if _, err := os.Stat(a.path(k.has)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// TestAllowedInPieces: what is allowed in several commits, others' edits in between, is
// allowed as far as it was queued when the node was killed; the rest is held on.
func TestAllowedInPieces(t *testing.T) {
	c := smallCommits(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.least = 20
	b.restart()
	a.many(100)
	a.write("stays", "0")
	c.settled()
	b.set(true, false)
	for i := range 10 {
		b.write(fmt.Sprintf("t/%d/more", i), "x")
	}
	b.captured()
	b.remove("t")
	held := func(least, most int) {
		t.Helper()
		eventually(t, "held deletions", func() error {
			in, err := b.engine.Info()
			if err == nil && (in.Held == nil || in.Held.Deletes > most || in.Held.Deletes < least) {
				err = fmt.Errorf("held: %+v", in.Held)
			}
			return err
		})
	}
	held(110, 110)
	before := b.pieces()
	var frozen string
	onceAt(t, "folder/piece", func() { frozen = b.freeze() })
	b.allow()
	if n := b.pieces() - before; n < 3 {
		t.Fatalf("%d commits", n)
	}
	b.died(frozen)
	b.start()
	a.write("t/9/f99", "edited")
	a.committed()
	b.set(false, false)
	held(20, 109)
	b.allow()
	c.done()
	a.gone("t/0")
	a.has("stays", "0")
	b.has("t/9/f99", "edited")
	c.conflicts(0)
}

// TestHugeDeletion deletes 200,000 paths, path by path, and adds as many before: real
// commits are near their limit.
func TestHugeDeletion(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: set LOCKSTEP_LONG=1 to delete 200,000 files path by path")
	}
	const dirs, files = 200, 1000
	c := newCluster(t, t.TempDir(), 1)
	a := c.nodes[0]
	a.least, a.commitMax = 1<<30, commitBytes
	t.Cleanup(c.close)
	for i := range dirs {
		d := fmt.Sprintf("tree/of/two hundred directories/each of which has a thousand files/%03d", i)
		a.mkdir(d)
		for k := range files {
			c.ok(os.WriteFile(a.path(fmt.Sprintf("%s/file %d", d, k)), nil, 0o644))
		}
	}
	long := func(what string, f func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		began := time.Now()
		if err := f(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%s: %s, %d commits, %d MiB of heap", what, time.Since(began).Round(10*time.Millisecond), a.pieces(), m.HeapAlloc>>20)
	}
	c.start()
	long("add", a.engine.Flush)
	a.set(true, false)
	a.write("tree/of/more", "x") // no change can stand for the directory now
	a.captured()
	began := time.Now()
	a.remove("tree")
	t.Logf("rm -r: %s", time.Since(began).Round(10*time.Millisecond))
	long("delete", a.engine.watch.Flush)
	a.set(false, false)
	long("commit", a.engine.Flush)
	if tree := c.tree(); len(tree) != 0 {
		t.Errorf("%d paths are left", len(tree))
	}
}
