package node

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// benchCluster runs three nodes in this process, all voters, with everything that a
// daemon has: logs and stores on disk, TLS on loopback. The first one leads.
func benchCluster(b *testing.B) []*Node {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	dir := b.TempDir()
	var nodes []*Node
	var ended []chan error
	b.Cleanup(func() {
		cancel()
		for _, e := range ended {
			if err := <-e; err != nil {
				b.Error(err)
			}
		}
	})
	for i := range 3 {
		h := filepath.Join(dir, fmt.Sprint(i))
		var err error
		if i == 0 {
			err = Init(InitOptions{Home: h, Name: "n0", Listen: "127.0.0.1:0"})
		} else {
			var inv control.Invite
			if inv, err = (service{nodes[0]}).Invite(ctx, control.InviteRequest{Role: "voter"}); err == nil {
				err = Join(ctx, JoinOptions{Home: h, Token: inv.Token, Name: fmt.Sprint("n", i), Listen: "127.0.0.1:0"})
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		made, ready, end := make(chan *Node, 1), make(chan string, 1), make(chan error, 1)
		o := RunOptions{Home: h, made: func(n *Node) { made <- n }, Ready: func(a string) { ready <- a }}
		go func() { end <- Run(ctx, o) }()
		select {
		case <-ready:
		case err := <-end:
			b.Fatal(err)
		}
		ended, nodes = append(ended, end), append(nodes, <-made)
	}
	benchUntil(b, "three voters", func() bool { return voters(nodes[0]) == 3 })
	return nodes
}

// benchUntil polls for what no channel tells.
func benchUntil(b *testing.B, what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			b.Fatalf("timed out: %s", what)
		}
	}
}

func voters(n *Node) (v int) {
	for _, s := range n.raft.Status().Servers {
		if s.Voter {
			v++
		}
	}
	return v
}

// BenchmarkProposeApply: commits of new files, without any files, as the folder engine
// makes them: a durable batch of the command and the rows of its paths, proposed in
// the folder's lane, until all three voters have applied it. ahead is how many commits
// of a lane are queued before the first is answered; lanes, how many folders are
// written at once.
func BenchmarkProposeApply(b *testing.B) {
	nodes := benchCluster(b)
	for _, c := range []struct{ puts, ahead, lanes, author int }{
		{1000, 1, 1, 0},
		{1000, 8, 1, 0},
		{1000, 8, 1, 1},
		{10000, 2, 1, 0},
		{1, 1, 1, 0},
		{1, 64, 1, 0},
		{1, 64, 1, 1},
		{1, 16, 32, 0},
	} {
		name := fmt.Sprintf("puts=%d/ahead=%d/lanes=%d/by=%s", c.puts, c.ahead, c.lanes, []string{"leader", "follower"}[c.author])
		b.Run(name, func(b *testing.B) { benchPropose(b, nodes, nodes[c.author], c.puts, c.ahead, c.lanes) })
	}
}

func benchPropose(b *testing.B, nodes []*Node, author *Node, puts, ahead, lanes int) {
	b.ReportAllocs()
	type writer struct {
		folder id.Folder
		n      int
	}
	ws := make([]writer, min(lanes, b.N))
	for i := range ws {
		ws[i] = writer{id.NewFolder(), b.N/len(ws) + min(1, max(0, b.N%len(ws)-i))}
		out, err := author.propose.Do(b.Context(), meta.FolderCmd{Op: meta.FolderCreate, ID: ws[i].folder, Name: "b" + ws[i].folder.String()})
		if err != nil || out.Kind != meta.Accepted {
			b.Fatal(out, err)
		}
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for _, w := range ws {
		all.Go(func() {
			if err := benchLane(b, author, w.folder, w.n, puts, ahead); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		if err := n.raft.AppliedReached(b.Context(), author.machine.AppliedIndex()); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N*puts)/b.Elapsed().Seconds(), "changes/s")
	for _, n := range nodes {
		benchCheck(b, n, ws[0].folder, ws[0].n)
	}
}

// benchCheck checks that a node has all commits.
func benchCheck(b *testing.B, n *Node, f id.Folder, commits int) {
	b.Helper()
	v := n.machine.View()
	defer v.Close()
	if h, err := v.Head(f); err != nil || h.Revision != id.Revision(commits) {
		b.Errorf("revision %d of %s, want %d (%v)", h.Revision, n.cfg.Name, commits, err)
	}
}

// benchLane queues commits, at most so many ahead of what the author has applied, and
// takes those that it has out of its queue with its next one, as the engine does.
func benchLane(b *testing.B, author *Node, f id.Folder, commits, puts, ahead int) error {
	lane, err := author.propose.Lane(f)
	if err != nil {
		return err
	}
	changed, stop := author.machine.Watch()
	defer stop()
	last := func() (id.Sequence, error) {
		v := author.machine.View()
		defer v.Close()
		l, err := v.Lane(author.self, f)
		return l.Last, err
	}
	done := id.Sequence(0)
	for i := range commits + ahead {
		want := id.Sequence(max(0, min(commits, i+1-ahead)))
		applied := done
		for applied < want {
			if applied, err = last(); err != nil {
				return err
			}
			if applied < want {
				select {
				case <-changed:
				case <-b.Context().Done():
					return b.Context().Err()
				}
			}
		}
		batch := author.local.NewBatch()
		for ; done < applied; done++ {
			batch.Dequeue(f, done+1)
		}
		if i >= commits {
			if err := batch.Commit(false); err != nil {
				return err
			}
			continue
		}
		tx := lane.Begin()
		cmd := meta.CommitCmd{Folder: f, Origin: meta.OriginEdit, Acked: done, Changes: make([]meta.Change, puts)}
		for k := range cmd.Changes {
			n := i*puts + k
			sum := id.Sum(fmt.Append(nil, n))
			ch := meta.Change{Op: meta.OpPut, Path: id.Path(fmt.Sprintf("src-%d/file-%d.go", n/1000, n)), Mask: meta.FieldsAll,
				Entry: meta.Entry{Kind: meta.File, Mode: 0o644, Size: int64(n), MTime: 1_700_000_000_000_000_000 + int64(n)*1_234_567, Content: sum}}
			cmd.Changes[k] = ch
			batch.Put(f, ch.Path, local.Row{
				Stat:  vfs.Stat{Kind: vfs.File, Size: ch.Entry.Size, MTime: ch.Entry.MTime, CTime: ch.Entry.MTime, Ino: uint64(n + 1), Mode: 0o644},
				Entry: ch.Entry, Base: meta.Base{Own: tx.Sequence()},
			}, nil)
		}
		if err := tx.Commit(batch, cmd); err != nil {
			return err
		}
	}
	return nil
}
