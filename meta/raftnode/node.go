// Package raftnode runs the metadata state machine under hashicorp/raft: log,
// snapshots, membership, proposals. See DESIGN.md.
package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/store"
)

// ErrStopped is returned by operations on a node that has been shut down.
var ErrStopped = errors.New("raft node is stopped")

// Timings are the intervals of a node; zero fields take DefaultTimings'.
type Timings struct {
	// Heartbeat is how long a follower waits for its leader; a leader's lease is as
	// long. Heartbeats go out every tenth of it.
	Heartbeat time.Duration
	// Commit is how late an idle follower may hear of a commit index without nudge.
	Commit time.Duration
	// Nudge is how long a commit is last in flight before the leader appends an
	// empty entry behind it; negative switches it off.
	Nudge time.Duration
	// Stable is how long a node must be online to be given a vote.
	Stable time.Duration
	// Manage is how often the leader looks at the membership.
	Manage time.Duration
	// LogWrite is the deadline of a write of the log.
	LogWrite time.Duration
	// SnapshotBytes is the log's size at which a snapshot is taken; SnapshotAge takes
	// one after that time if anything was logged.
	SnapshotBytes int64
	SnapshotAge   time.Duration
	// TrailingBytes is about how much of the log is kept behind a snapshot, at least
	// MinTrailing entries: a follower that is less behind needs no snapshot.
	TrailingBytes int64
	MinTrailing   uint64
}

// DefaultTimings suit real networks: an idle cluster sends five small messages a
// second and writes nothing.
func DefaultTimings() Timings {
	return Timings{
		Heartbeat:     2 * time.Second,
		Commit:        time.Second,
		Nudge:         time.Millisecond,
		Stable:        3 * time.Second,
		Manage:        500 * time.Millisecond,
		LogWrite:      20 * time.Second,
		SnapshotBytes: 64 << 20,
		SnapshotAge:   24 * time.Hour,
		TrailingBytes: 64 << 20,
		MinTrailing:   256,
	}
}

// Options of Open.
type Options struct {
	// Dir holds the log and the snapshots. It must be on the filesystem of the
	// store's directory, else snapshots are copied instead of linked.
	Dir string
	// Self is this node: its raft ID and address.
	Self id.Node
	// Machine is the state machine on Store.
	Machine *meta.Machine
	// Store is the state machine's. The caller closes it after the node.
	Store *store.Store
	// Stream connects the members; its addresses are node IDs in hex. The node
	// closes it.
	Stream raft.StreamLayer
	// Transport replaces Stream, for tests.
	Transport Transport
	// Bootstrap starts a new cluster with this node as its only voter if there is no
	// state at all; with state it does nothing.
	Bootstrap bool
	// Online reports whether a member answers now. Required.
	Online func(id.Node) bool
	// Answers asks a member for a sign of life now, until ctx ends. Online may hold for
	// some seconds of one that was killed. Optional: without it Online is believed.
	Answers func(ctx context.Context, node id.Node) bool
	// Committed is the highest log index that this node knew to be committed when it
	// stopped, 0 if it does not know: what is in its log up to there is applied
	// before raft runs.
	Committed uint64
	// Applied returns the last applied index that a member reported. Optional: with
	// it, a member gets a vote only when it has nearly caught up.
	Applied func(id.Node) uint64
	Log     *slog.Logger
	Timings Timings

	// machine, logs and fs replace the real ones in tests.
	machine machine
	logs    func() (logBackend, error)
	fs      vfs.FS
}

// logBackend is a log on disk with its small table of votes and terms.
type logBackend interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// Node is this daemon's member of the Raft group. All methods are safe for
// concurrent use.
type Node struct {
	self   id.Node
	o      Options
	t      Timings
	log    *slog.Logger
	m      machine
	fsm    *fsm
	logs   *logStore
	disk   logBackend
	snaps  *snapshots
	trans  *injector
	raft   *raft.Raft
	slots  chan struct{} // bounds proposals in flight
	large  chan struct{} // holds a token while a large body is checked
	nudges chan uint64   // newest index that followers wait for, 0 if only the applied index moved

	// fatal is closed after failure is set: the node must stop.
	fatal   chan struct{}
	failure error
	failing sync.Once

	// stop is closed when the node must not start anything new; stopped when raft
	// has ended.
	stop     chan struct{}
	stopOnce sync.Once
	stopped  chan struct{}
	closing  sync.Once
	closeErr error

	// change holds a token while a membership change is under way. leaving stops
	// those of the manager.
	change  chan struct{}
	leaving atomic.Bool

	// mu guards ran (set by Run, closed when it has ended), refuse, inflight (whose Add must not race with Wait) and moved, which
	// is closed and replaced whenever the applied index moves.
	mu       sync.Mutex
	ran      chan struct{}
	moved    chan struct{}
	refuse   bool
	inflight sync.WaitGroup
	asking   map[id.Node]bool // who has not answered tell yet; guarded by mu
	told     sync.WaitGroup   // requests of tell; its Add must not race with Wait either
}

// Open starts raft from what is in o.Dir. It refuses with ErrStateBehind or
// ErrLogGap when log, snapshots and store do not fit together.
func Open(o Options) (*Node, error) {
	n, err := newNode(o)
	if err != nil {
		return nil, fmt.Errorf("open raft %q: %w", o.Dir, err)
	}
	if err := n.start(); err != nil {
		err = fmt.Errorf("open raft %q: %w", o.Dir, err)
		return nil, errors.Join(err, n.disk.Close(), n.trans.Close())
	}
	return n, nil
}

func newNode(o Options) (*Node, error) {
	n := &Node{
		self: o.Self, o: o, t: o.Timings.withDefaults(), log: o.Log, m: o.machine,
		slots:   make(chan struct{}, maxInFlight),
		large:   make(chan struct{}, 1),
		nudges:  make(chan uint64, 1),
		change:  make(chan struct{}, 1),
		fatal:   make(chan struct{}),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		moved:   make(chan struct{}),
		asking:  make(map[id.Node]bool),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.m == nil {
		n.m = adapted{o.Machine}
	}
	if n.o.fs == nil {
		n.o.fs = vfs.Default
	}
	if n.o.Online == nil {
		return nil, errors.New("Options.Online is required")
	}
	if err := n.o.fs.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	n.snaps, err = openSnapshots(n.o.fs, filepath.Join(o.Dir, "snapshots"), n.log)
	if err != nil {
		return nil, err
	}
	open := o.logs
	if open == nil {
		open = func() (logBackend, error) { return openBolt(filepath.Join(o.Dir, "log")) }
	}
	if n.disk, err = open(); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	if err := n.syncNames(); err != nil {
		return nil, errors.Join(err, n.disk.Close())
	}
	n.logs = newLogStore(n.disk, n.t.LogWrite, n.t.SnapshotBytes)
	n.logs.onBroken = n.fail
	n.fsm = &fsm{
		m: n.m, store: o.Store, fs: n.o.fs, scratch: n.snaps.dir, log: n.log,
		fail: n.fail, applied: n.onApplied,
	}
	n.logs.durable, n.logs.restored = n.fsm.durable.Load, n.fsm.restored.Load
	t := o.Transport
	if t == nil {
		t = newNetworkTransport(o.Stream, newRaftLogger(n.log))
	}
	n.trans = newInjector(t)
	return n, nil
}

// syncNames makes the directory, the log's file and the snapshots' directory
// durable as names: their content is synced by who writes it.
func (n *Node) syncNames() error {
	for _, dir := range []string{n.o.Dir, filepath.Dir(n.o.Dir)} {
		if err := syncDir(n.o.fs, dir); err != nil {
			return fmt.Errorf("sync %q: %w", dir, err)
		}
	}
	return nil
}

// openBolt opens the log on disk. The freelist is not written: it would cost as
// much as the entries after each truncation, and is rebuilt at open.
func openBolt(path string) (logBackend, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        time.Second,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
}

// start checks what is on disk, brings the store up to the newest snapshot and
// starts raft.
func (n *Node) start() error {
	if n.o.Bootstrap {
		if err := n.bootstrap(); err != nil {
			return err
		}
	}
	if err := n.reconcileState(); err != nil {
		return err
	}
	n.logs.counting(true)
	r, err := raft.NewRaft(n.config(), n.fsm, n.logs, n.disk, n.snaps, n.trans)
	n.logs.counting(false)
	if err != nil {
		return err
	}
	n.raft = r
	n.standAtOnce()
	return nil
}

// fail records the first error after which the node must stop.
func (n *Node) fail(err error) {
	n.failing.Do(func() {
		n.failure = err
		close(n.fatal)
	})
}

// Run does the node's own work: nudges, snapshots, membership. It blocks until ctx
// ends, Shutdown is called, or the node must stop, which is the error it returns;
// then raft has ended. Run is called once.
func (n *Node) Run(ctx context.Context) error {
	ran := make(chan struct{})
	defer close(ran)
	n.mu.Lock()
	n.ran = ran
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.nudge(ctx) })
	g.Go(func() error { return n.takeSnapshots(ctx) })
	g.Go(func() error { return n.manage(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.stop:
			cancel()
			return nil
		case <-n.fatal:
			return n.failure
		}
	})
	err := g.Wait()
	return errors.Join(err, n.close())
}

// Close stops raft without handing anything over: for the cluster it is as if the
// node had crashed. It returns when everything has ended.
func (n *Node) Close() error {
	n.stopOnce.Do(func() { close(n.stop) })
	n.mu.Lock()
	ran := n.ran
	n.mu.Unlock()
	if ran != nil {
		<-ran
	}
	return n.close()
}

// close ends raft, then its transport and log.
func (n *Node) close() error {
	n.closing.Do(func() {
		n.stopOnce.Do(func() { close(n.stop) })
		n.drain()
		err := n.raft.Shutdown().Error() // closes the transport
		n.told.Wait()
		n.closeErr = errors.Join(err, n.disk.Close())
		close(n.stopped)
	})
	<-n.stopped
	return n.closeErr
}
