package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A proposal whose leader died before answering is applied once.
func TestProposalIsAppliedOnceWhenTheLeaderDies(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	c := shared(t, ctx, 3)
	var written []string
	for round := range 3 {
		var leader *harness.Node
		must(t, harness.Until(ctx, "a leader", func() error {
			if leader = c.Leader(ctx); leader == nil {
				return errors.New("none")
			}
			return nil
		}))
		author := c.Nodes[0]
		if author == leader {
			author = c.Nodes[1]
		}
		// The kill comes at different moments of the proposal's way.
		for i := range 10 {
			p := fmt.Sprintf("round %d/%d", round, i)
			writeFile(t, author, p, []byte(p))
			written = append(written, p)
			time.Sleep(time.Duration(round) * 3 * time.Millisecond) // the spread of the moments, not a wait
		}
		must(t, leader.Kill())
		must(t, harness.Until(ctx, "the survivors to go on", func() error {
			f, err := author.Folder(ctx, folderName)
			if err == nil && (f.LocalChanges > 0 || f.HeadRevision != f.AppliedRevision) {
				err = fmt.Errorf("%d local changes, head %d, on disk %d", f.LocalChanges, f.HeadRevision, f.AppliedRevision)
			}
			return err
		}))
		must(t, leader.Start(ctx))
		everywhere(t, ctx, c, author)
	}
	settled(t, ctx, c)
	for _, p := range written {
		if v := versions(t, ctx, c.Nodes[2], p); len(v) != 1 || v[0].Action != "create" || v[0].Content != hexSum([]byte(p)) {
			t.Errorf("%s: versions %+v", p, v)
		}
	}
	if got := conflicts(t, ctx, c.Nodes[0], "--all"); len(got) > 0 {
		t.Errorf("one writer alone made conflicts: %+v", got)
	}
}

// writer writes to its own directory of a node's tree until stop is closed: new
// files, edits in place and by rename, modes, renamed files and directories,
// removals, now and then a larger file.
func writer(j *harness.Journal, n *harness.Node, seed uint64, stop <-chan struct{}) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	content := func() []byte {
		size := rnd.IntN(20_000)
		if rnd.IntN(40) == 0 {
			size = 1 << 20
		}
		b := make([]byte, size+8)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(rnd.IntN(30)) * time.Millisecond):
		}
		dir := func() string { return fmt.Sprintf("%s/%d", n.Name, rnd.IntN(12)) }
		file := func() string { return fmt.Sprintf("%s/%d", dir(), rnd.IntN(25)) }
		path := file()
		var err error
		switch k := rnd.IntN(14); {
		case k == 0:
			err = j.Remove(n.Tree, path)
		case k == 1 || k == 2:
			err = j.Chmod(n.Tree, path, []fs.FileMode{0o600, 0o640, 0o644, 0o755}[rnd.IntN(4)])
		case k == 3:
			err = j.Rename(n.Tree, path, file())
		case k == 4:
			err = j.Rename(n.Tree, dir(), dir()) // unless that is there
		default:
			err = j.Write(n.Tree, path, content(), k%2 == 0)
		}
		if err != nil {
			return fmt.Errorf("write %d on %s: %w", i, n.Name, err)
		}
	}
}

// Kill -9 of a random node, the leader too, at random moments under load: all
// disks equal, nothing lost against the journal, one history, nothing repaired by
// hand.
func TestKillLoop(t *testing.T) {
	kills := 5
	if os.Getenv("LOCKSTEP_LONG") != "" {
		kills = 50
	}
	kills = envInt(t, "LOCKSTEP_KILLS", kills)
	ctx := within(t, time.Minute+time.Duration(kills)*20*time.Second)
	c := shared(t, ctx, 3)
	j := harness.NewJournal()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	writers := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		wg.Go(func() { writers[i] = writer(j, n, uint64(i), stop) })
	}
	defer wg.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()

	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	leaders := 0
	for i := range kills {
		select {
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-time.After(time.Duration(rnd.IntN(1500)) * time.Millisecond): // the random moment
		}
		victim := c.Nodes[rnd.IntN(len(c.Nodes))]
		if leader := c.Leader(ctx); leader != nil && i%3 == 0 {
			victim = leader
			leaders++
		}
		must(t, victim.Kill())
		time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond) // how long it is down
		must(t, victim.Start(ctx))
		t.Logf("kill %d of %d: %s", i+1, kills, victim.Name)
	}
	end()
	wg.Wait()
	must(t, errors.Join(writers...))

	must(t, c.WaitEqual(ctx))
	head := settled(t, ctx, c)
	must(t, c.WaitEqual(ctx)) // and they stay so when nothing is left to do
	for _, n := range c.Nodes {
		if bad := j.Check(snapshot(t, n)); len(bad) > 0 {
			t.Errorf("%s against the journal: %s", n.Name, harness.Summary(bad))
		}
	}
	for _, n := range c.Nodes {
		if got := conflicts(t, ctx, n, "--all"); len(got) > 0 {
			t.Errorf("%s: a path has one writer, and there are conflicts: %+v", n.Name, got)
		}
	}
	copies := snapshot(t, c.Nodes[0]).Find(func(p string, _ harness.Entry) bool { return strings.Contains(p, "(conflict ") })
	if len(copies) > 0 {
		t.Errorf("conflict copies: %q", copies)
	}
	t.Logf("%d kills (%d of the leader), %d files in the journal, head %d, history hash %s",
		kills, leaders, j.Len(), head.HeadRevision, head.HistoryHash)
}

// A node killed in mid-transfer shows nothing of the file, and comes back.
func TestKillInMidTransfer(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "first", []byte("1"))
	everywhere(t, ctx, c, a)
	if err := b.Limit(8 << 20); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	big := make([]byte, 24<<20)
	rnd := rand.NewChaCha8([32]byte{7})
	if _, err := rnd.Read(big); err != nil {
		t.Fatal(err)
	}
	before := b.WireIn()
	writeFile(t, a, "big", big)
	must(t, harness.Until(ctx, "the middle of the transfer", func() error {
		if got := b.WireIn() - before; got < 4<<20 {
			return fmt.Errorf("%d bytes", got)
		}
		return nil
	}))
	must(t, b.Kill())
	if _, err := os.Lstat(at(b, "big")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead node's disk shows the file: %v", err)
	}
	must(t, b.Limit(0))
	must(t, b.Start(ctx))
	everywhere(t, ctx, c, a)
}
