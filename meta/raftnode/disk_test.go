package raftnode

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta/store"
)

func big(n int) string { return strings.Repeat("x", n) }

// TestSnapshotToNewAndLateNode: the log is truncated behind a snapshot; a node that
// was away and one that is new get the snapshot and then the log.
func TestSnapshotToNewAndLateNode(t *testing.T) {
	bubble(t, 4, Timings{MinTrailing: 1, TrailingBytes: 1, SnapshotBytes: 64 << 10}, func(t *testing.T, c *cluster) {
		for _, h := range c.hosts[:3] {
			c.start(h)
		}
		a := c.author(1)
		c.admit(a, c.hosts[:3]...)
		c.wantVoters(3)
		late := c.hosts[1]
		if c.leader() == late {
			late = c.hosts[2]
		}
		c.crash(late)
		var want []string
		for i := range 60 {
			s := big(4<<10) + string(rune('a'+i%26))
			want = append(want, s)
			c.propose(a, textBody(s, 1))
		}
		// Snapshots were triggered by bytes, and the log begins behind them.
		l := c.leader()
		c.eventually("a snapshot by size", func() bool { return l.node.snaps.newest() > 0 })
		ctx := context.Background()
		if err := l.node.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		first, _ := l.log.FirstIndex()
		if first < 20 {
			t.Fatalf("log begins at %d: not truncated, the test shows nothing", first)
		}
		c.start(late)
		c.start(c.hosts[3])
		c.admit(a, c.hosts[3])
		want = append(want, "after")
		c.propose(a, textBody("after", 1))
		c.agreeContent(want)
		if late.node.snaps.newest() == 0 || c.hosts[3].node.snaps.newest() == 0 {
			t.Error("a late node has no snapshot: it got the log instead")
		}
		// Nothing stands in the log that the snapshot made old.
		c.noGap(late)
		// What was installed survives a crash at once.
		c.crash(c.hosts[3])
		c.start(c.hosts[3])
		c.agreeContent(want)
	})
}

// noGap fails if an entry between the log's ends is missing.
func (c *cluster) noGap(h *host) {
	c.t.Helper()
	first, _ := h.log.FirstIndex()
	last, _ := h.log.LastIndex()
	for i := first; i <= last; i++ {
		if err := h.log.GetLog(i, new(raft.Log)); err != nil {
			c.t.Errorf("log of %d to %d: entry %d: %v", first, last, i, err)
		}
	}
}

// TestLogBeforeTheSnapshotIsRemoved: the power went after a snapshot was restored
// and before raft removed the log that it covers.
func TestLogBeforeTheSnapshotIsRemoved(t *testing.T) {
	bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		a := c.author(1)
		for _, s := range texts("x", 5) {
			c.propose(a, textBody(s, 1))
		}
		old := newMemLog()
		if err := old.SetUint64(keyCurrentTerm, 9); err != nil {
			t.Fatal(err)
		}
		for i := uint64(1); i < 4; i++ {
			var l raft.Log
			if err := errors.Join(h.log.GetLog(i, &l), old.StoreLog(&l)); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.node.Snapshot(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.kill(h)
		h.log = old
		c.start(h)
		c.propose(a, textBody("x5", 1))
		c.noGap(h)
		c.agreeContent(texts("x", 6))
	})
}

// TestLogReachesBackToTheFlush is the invariant: at any time, all that the store
// has not flushed is in the log. Power cuts come at random moments under load with
// snapshots by size going on.
func TestLogReachesBackToTheFlush(t *testing.T) {
	bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1, SnapshotBytes: 16 << 10}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		a := c.author(1)
		var want []string
		for round := range 6 {
			for i := range 10 + 7*round {
				s := big(1<<10) + string(rune('a'+i%26))
				want = append(want, s)
				c.propose(a, textBody(s, 1))
			}
			c.eventually("a snapshot by size", func() bool {
				n, _, _ := h.node.logs.sinceSnapshot()
				return n < 16<<10
			})
			c.crash(h)
			c.start(h) // Open refuses if the log does not reach back
			c.agreeContent(want)
		}
		if first, _ := h.log.FirstIndex(); first < 50 {
			t.Errorf("log begins at %d: nothing was truncated", first)
		}
	})
}

// TestNewestSnapshotAheadOfTheStore: the snapshot was received, the power went
// before it was restored. Without the restore at start the entries that it covers
// would be a silent hole.
func TestNewestSnapshotAheadOfTheStore(t *testing.T) {
	bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		a := c.author(1)
		before := h.fs.CrashClone(vfs.CrashCloneCfg{}) // a store with nothing
		for _, s := range texts("x", 20) {
			c.propose(a, textBody(s, 1))
		}
		if err := h.node.Snapshot(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.kill(h)
		old := h.fs
		h.fs = before
		if err := before.RemoveAll("home/raft"); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Clone(old, before, "home/raft", "home/raft", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		c.start(h)
		c.agreeContent(texts("x", 20))
		c.propose(a, textBody("x20", 1))
		c.agreeContent(texts("x", 21))
	})
}

// TestRefusesOldRaftState: log and snapshots of an earlier time under a newer store,
// or none at all.
func TestRefusesOldRaftState(t *testing.T) {
	bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		a := c.author(1)
		for _, s := range texts("x", 5) {
			c.propose(a, textBody(s, 1))
		}
		c.kill(h) // flushes the store
		good := h.log
		h.log = newMemLog()
		if err := c.open(h); !errors.Is(err, ErrStateBehind) {
			t.Errorf("Open without a log: %v, want ErrStateBehind", err)
		}
		h.log = good
		last, _ := good.LastIndex()
		if err := good.DeleteRange(last, last); err != nil {
			t.Fatal(err)
		}
		if err := c.open(h); !errors.Is(err, ErrStateBehind) {
			t.Errorf("Open with an older log: %v, want ErrStateBehind", err)
		}
	})
}

// TestDamagedSnapshotBehindTheStore: the log was truncated and the snapshot behind
// it is damaged. With store and log whole the node needs of it only what one of two
// files says: where the log begins.
func TestDamagedSnapshotBehindTheStore(t *testing.T) {
	cut := func(name string) func(*testing.T, vfs.FS, *snapshot) {
		return func(t *testing.T, fs vfs.FS, s *snapshot) {
			if err := writeFile(fs, s.dir+"/"+name, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		damage []func(*testing.T, vfs.FS, *snapshot)
		want   error
	}{
		{"manifest", []func(*testing.T, vfs.FS, *snapshot){cut(manifestName)}, nil},
		{"copy", []func(*testing.T, vfs.FS, *snapshot){cut(copyName)}, nil},
		{"a file's size", []func(*testing.T, vfs.FS, *snapshot){func(t *testing.T, fs vfs.FS, s *snapshot) {
			cut(stateName+"/"+s.m.Files[0].Name)(t, fs, s)
		}}, nil},
		{"manifest and copy", []func(*testing.T, vfs.FS, *snapshot){cut(manifestName), cut(copyName)}, ErrLogGap},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1}, func(t *testing.T, c *cluster) {
				h := c.hosts[0]
				c.start(h)
				a := c.author(1)
				for _, s := range texts("x", 10) {
					c.propose(a, textBody(s, 1))
				}
				if err := h.node.Snapshot(context.Background()); err != nil {
					t.Fatal(err)
				}
				snap := h.node.snaps.list[0]
				c.kill(h)
				for _, damage := range tc.damage {
					damage(t, h.fs, snap)
				}
				if tc.want != nil {
					if err := c.open(h); !errors.Is(err, tc.want) {
						t.Errorf("Open: %v, want %v", err, tc.want)
					}
					return
				}
				c.start(h)
				c.propose(a, textBody("x10", 1))
				c.agreeContent(texts("x", 11))
				c.eventually("no damaged snapshot", func() bool { return !h.node.snaps.damaged() })
			})
		})
	}
}

// TestDamagedSnapshotIsReplaced: a leader that finds its snapshot damaged when it
// wants to send it takes a new one and sends that.
func TestDamagedSnapshotIsReplaced(t *testing.T) {
	bubble(t, 2, Timings{MinTrailing: 1, TrailingBytes: 1}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		a := c.author(1)
		for _, s := range texts("x", 10) {
			c.propose(a, textBody(s, 1))
		}
		if err := h.node.Snapshot(context.Background()); err != nil {
			t.Fatal(err)
		}
		damage(t, h.fs, h.node.snaps.list[0])
		c.propose(a, textBody("x10", 1))
		c.start(c.hosts[1])
		c.admit(a, c.hosts...)
		c.agreeContent(texts("x", 11))
		if c.hosts[1].node.snaps.newest() == 0 {
			t.Error("the new node got no snapshot")
		}
	})
}

// noCheckpoints fails every checkpoint while it is on, and counts them.
type noCheckpoints struct {
	vfs.FS
	on    atomic.Bool
	tries atomic.Int64
}

func (f *noCheckpoints) RemoveAll(name string) error {
	if strings.Contains(name, "checkpoint-") && f.on.Load() {
		f.tries.Add(1)
		return syscall.ENOSPC
	}
	return f.FS.RemoveAll(name)
}

// TestSnapshotsThatFailBackOff: each try flushes the store; a full disk must not
// make every write of the log one.
func TestSnapshotsThatFailBackOff(t *testing.T) {
	bubble(t, 1, Timings{MinTrailing: 1, TrailingBytes: 1, SnapshotBytes: 1 << 10}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		fs := &noCheckpoints{FS: h.fs}
		fs.on.Store(true)
		h.wrapped = fs
		c.start(h)
		a := c.author(1)
		for range 50 {
			c.propose(a, textBody(big(200), 1))
			time.Sleep(10 * time.Millisecond)
		}
		if n := fs.tries.Load(); n == 0 || n > 2 {
			t.Errorf("%d tries in half a second, want one or two", n)
		}
		fs.on.Store(false)
		c.eventually("a snapshot", func() bool { return h.node.snaps.newest() > 0 })
	})
}

// damage flips a byte in the snapshot's largest file, without changing its size.
func damage(t *testing.T, fs vfs.FS, s *snapshot) {
	t.Helper()
	var pick manifestFile
	for _, f := range s.m.Files {
		if f.Size >= pick.Size {
			pick = f
		}
	}
	path := s.dir + "/" + stateName + "/" + pick.Name
	in, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	b[len(b)/2] ^= 1
	if err := writeFile(fs, path, b); err != nil {
		t.Fatal(err)
	}
}

// TestOnRealDisk runs one node on the real log, store and filesystem, with snapshots
// by size, a hard stop and a restart.
func TestOnRealDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self := id.Node{1}
	var want []string
	for round := range 3 {
		st, err := store.Open(filepath.Join(dir, "meta"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := newFake(st)
		if err != nil {
			t.Fatal(err)
		}
		_, trans := raft.NewInmemTransport(serverAddress(self))
		n, err := Open(Options{
			Dir: filepath.Join(dir, "raft"), Self: self, Store: st, Transport: trans, Bootstrap: true,
			Online: func(id.Node) bool { return true }, machine: m, Log: testLog(),
			Timings: Timings{SnapshotBytes: 32 << 10, MinTrailing: 1, TrailingBytes: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- n.Run(context.Background()) }()
		c := &cluster{t: t, hosts: []*host{{id: self, node: n, m: m}}, up: map[id.Node]bool{self: true}}
		a := c.author(byte(round + 1))
		for i := range 40 {
			s := big(2<<10) + string(rune('a'+i%26))
			want = append(want, s)
			c.propose(a, textBody(s, 1+i%2))
		}
		c.agreeContent(want)
		c.eventually("a snapshot", func() bool { return n.snaps.newest() > 0 })
		if round == 1 {
			if err := n.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		} else if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "raft", "log")); err != nil {
		t.Error(err)
	}
}
