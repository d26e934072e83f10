package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is raft's in-memory log with the Close that a log on disk has. It outlives
// the node: what raft wrote to it is durable.
type memLog struct {
	*raft.InmemStore
	// dead: the power is off, nothing is written any more.
	dead *atomic.Bool
}

func newMemLog() memLog { return memLog{raft.NewInmemStore(), new(atomic.Bool)} }

func (memLog) Close() error { return nil }

var errPowerOff = errors.New("the power is off")

// StoreLogs implements raft.LogStore.
func (m memLog) StoreLogs(l []*raft.Log) error {
	if m.dead.Load() {
		return errPowerOff
	}
	return m.InmemStore.StoreLogs(l)
}

// DeleteRange implements raft.LogStore.
func (m memLog) DeleteRange(lo, hi uint64) error {
	if m.dead.Load() {
		return errPowerOff
	}
	return m.InmemStore.DeleteRange(lo, hi)
}

// GetUint64 reports a missing key as the log on disk does.
func (m memLog) GetUint64(k []byte) (uint64, error) {
	v, err := m.InmemStore.GetUint64(k)
	if err == nil && v == 0 {
		return 0, errors.New("not found")
	}
	return v, err
}

// host is one machine: its disk survives its node.
type host struct {
	id  id.Node
	fs  *vfs.MemFS
	log memLog
	// wrapped is what raft's state is kept through, for tests that make it fail; nil is fs.
	wrapped vfs.FS

	store *store.Store
	m     *fakeMachine  // or
	real  *meta.Machine // in a cluster of real ones
	node  *Node
	trans *raft.InmemTransport
	ran   chan error
	// ctx ends the node's Run.
	cancel context.CancelFunc
	// committed is what the host remembers as committed when it opens.
	committed uint64
}

// cluster is several hosts in one bubble of virtual time.
type cluster struct {
	t     *testing.T
	tim   Timings
	real  bool
	hosts []*host

	mu sync.Mutex
	up map[id.Node]bool
	// late are those that are down and have not been missed yet.
	late map[id.Node]bool
	cut  map[[2]id.Node]bool
}

func bubble(t *testing.T, n int, tim Timings, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, tim: tim, up: map[id.Node]bool{}, cut: map[[2]id.Node]bool{}}
		for i := range n {
			fs := vfs.NewCrashableMem()
			fs.MkdirAll("home", 0o700) // a home is there, durably, before what is in it
			if err := syncDir(fs, ""); err != nil {
				t.Fatal(err)
			}
			c.hosts = append(c.hosts, &host{id: id.Node{byte(i + 1)}, fs: fs, log: newMemLog()})
		}
		defer func() {
			for _, h := range c.hosts {
				if h.node != nil {
					c.kill(h)
				}
			}
		}()
		f(t, c)
	})
}

func testLog() *slog.Logger {
	if os.Getenv("LOCKSTEP_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return nil
}

func (c *cluster) online(n id.Node) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up[n] || c.late[n]
}

func (c *cluster) answers(_ context.Context, n id.Node) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up[n]
}

// unmissed has a host that goes down count as online until it is called with false.
func (c *cluster) unmissed(n id.Node, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = map[id.Node]bool{n: late}
}

func (c *cluster) setUp(n id.Node, up bool) {
	c.mu.Lock()
	c.up[n] = up
	c.mu.Unlock()
}

// open opens a host's store and node without running it.
func (c *cluster) open(h *host) error {
	st, err := store.Open("home/meta", store.Options{FS: h.fs, MemtableBytes: 256 << 10, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	_, trans := raft.NewInmemTransport(serverAddress(h.id))
	o := Options{
		Dir: "home/raft", Self: h.id, Store: st, Transport: trans, Bootstrap: h == c.hosts[0], Committed: h.committed,
		Online: c.online, Answers: c.answers, Timings: c.tim, Log: testLog(),
		fs: h.fs, logs: func() (logBackend, error) { return h.log, nil },
	}
	if h.wrapped != nil {
		o.fs = h.wrapped
	}
	var m *fakeMachine
	if c.real {
		h.real, err = meta.NewMachine(st, nil)
		o.Machine = h.real
	} else {
		m, err = newFake(st)
		o.machine = m
	}
	if err != nil {
		return err
	}
	node, err := Open(o)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	h.store, h.m, h.node, h.trans = st, m, node, trans
	return nil
}

// start opens and runs a host and connects it.
func (c *cluster) start(h *host) {
	c.t.Helper()
	if err := c.open(h); err != nil {
		c.t.Fatal(err)
	}
	for _, o := range c.hosts {
		if o != h && o.node != nil {
			o.trans.Connect(serverAddress(h.id), h.trans)
			h.trans.Connect(serverAddress(o.id), o.trans)
		}
	}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	h.ran = make(chan error, 1)
	go func(n *Node, ran chan error) { ran <- n.Run(ctx) }(h.node, h.ran)
	c.setUp(h.id, true)
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, h := range c.hosts {
		c.start(h)
	}
}

func (c *cluster) disconnect(h *host) {
	c.setUp(h.id, false)
	for _, o := range c.hosts {
		if o != h && o.node != nil {
			o.trans.Disconnect(serverAddress(h.id))
			h.trans.Disconnect(serverAddress(o.id))
		}
	}
}

func (c *cluster) reconnect(h *host) {
	for _, o := range c.hosts {
		if o != h && o.node != nil {
			o.trans.Connect(serverAddress(h.id), h.trans)
			h.trans.Connect(serverAddress(o.id), o.trans)
		}
	}
	c.setUp(h.id, true)
}

// kill stops a host's node as a crash would, except that the store is flushed.
func (c *cluster) kill(h *host) {
	c.t.Helper()
	c.disconnect(h)
	if err := h.node.Close(); err != nil {
		c.t.Error(err)
	}
	if h.ran != nil {
		h.cancel()
		<-h.ran
		h.ran = nil
	}
	if err := h.store.Close(); err != nil {
		c.t.Error(err)
	}
	h.node = nil
}

// crash stops a host's node and drops what its disk had not synced.
func (c *cluster) crash(h *host) {
	c.t.Helper()
	h.log.dead.Store(true)
	after := h.fs.CrashClone(vfs.CrashCloneCfg{})
	c.kill(h)
	h.log.dead.Store(false)
	h.fs = after
}

// shutdown leaves cleanly.
func (c *cluster) shutdown(h *host) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.node.Shutdown(ctx); err != nil {
		c.t.Error(err)
	}
	c.kill(h)
}

// eventually waits in virtual time.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within two minutes: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *cluster) leader() *host {
	c.t.Helper()
	var l *host
	c.eventually("a leader that can commit", func() bool {
		for _, h := range c.hosts {
			if h.node != nil && h.node.IsLeader() && c.online(h.id) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				err := h.node.Barrier(ctx)
				cancel()
				if err == nil {
					l = h
					return true
				}
			}
		}
		return false
	})
	return l
}

// author proposes as one node does: one session, gap-free sequences.
type author struct {
	node    id.Node
	session id.Session
	lane    id.Folder
	last    id.Sequence
}

func (c *cluster) author(n byte) *author {
	c.t.Helper()
	a := &author{node: id.Node{n}, session: id.NewSession()}
	c.eventually("session", func() bool {
		_, err := c.leader().node.Propose(context.Background(), a.env(0), textBody("", 1))
		return err == nil
	})
	return a
}

func (a *author) env(seq id.Sequence) meta.Envelope {
	return meta.Envelope{Node: a.node, Session: a.session, Lane: a.lane, Sequence: seq}
}

// propose proposes the author's next, asking again while the outcome is unknown.
func (c *cluster) propose(a *author, body meta.Body) meta.Outcome {
	c.t.Helper()
	var out meta.Outcome
	c.eventually("proposal", func() bool {
		l := c.leader()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var err error
		out, err = l.node.Propose(ctx, a.env(a.last+1), body)
		var notLeader *NotLeaderError
		if err != nil && !errors.Is(err, ErrUnknown) && !errors.As(err, &notLeader) {
			c.t.Fatal(err)
		}
		return err == nil
	})
	a.last++
	return out
}

func (c *cluster) admit(a *author, hosts ...*host) {
	c.t.Helper()
	for _, h := range hosts {
		c.propose(a, memberBody(h.id, meta.RoleAuto, false))
	}
}

// voters returns the voters as the leader sees them.
func (c *cluster) voters() (voters, learners []id.Node) {
	for _, s := range c.leader().node.Status().Servers {
		if s.Voter {
			voters = append(voters, s.Node)
		} else {
			learners = append(learners, s.Node)
		}
	}
	slices.SortFunc(voters, compareNodes)
	return voters, learners
}

func (c *cluster) wantVoters(n int) {
	c.t.Helper()
	c.eventually(fmt.Sprint(n, " voters"), func() bool { v, _ := c.voters(); return len(v) == n })
}

func texts(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

func grown(t *testing.T, c *cluster) *author {
	t.Helper()
	c.startAll()
	a := c.author(1)
	c.admit(a, c.hosts...)
	c.wantVoters(oddUpTo(len(c.hosts)))
	return a
}

// content drops the empty texts of member changes.
func content(h *host) (out []string) {
	for _, s := range h.m.texts() {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (c *cluster) agreeContent(want []string) {
	c.t.Helper()
	c.eventually("all nodes agree", func() bool {
		for _, h := range c.hosts {
			if h.node != nil && !slices.Equal(content(h), want) {
				return false
			}
		}
		return true
	})
}
