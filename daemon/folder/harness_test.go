package folder

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/propose"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestMain keeps the property tests short unless the command line says otherwise.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "6")
	_ = flag.Set("rapid.shrinktime", "1s")
	os.Exit(m.Run())
}

// patience bounds every wait of these tests; none comes near it when all is well.
const patience = 20 * time.Second

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

type oneDB struct{ db *kv.DB }

func (o oneDB) Acquire() (*kv.DB, func()) { return o.db, func() {} }

// cluster is a few engines in this process: one shared log in place of Raft, one
// state machine a node, and direct reads of each other's chunk stores.
type cluster struct {
	t      tb
	dir    string
	folder id.Folder
	nodes  []*node

	mu      sync.Mutex // guards what follows
	log     []meta.IndexedEntry
	leader  *meta.Machine
	news    chan struct{} // closed and replaced when the log grows or a node is let go
	missing map[id.Digest]bool
	refuse  id.Node // whose next commit is refused
	dbs     []*kv.DB
}

// node is one engine with all that it stands on.
type node struct {
	c       *cluster
	id      id.Node
	root    string
	home    string
	machine *meta.Machine
	stop    context.CancelFunc // of the applier
	applier sync.WaitGroup

	// Guarded by c.mu.
	cut, held bool

	// serving is held shared while another node reads from the chunk store.
	serving sync.RWMutex

	// gate, if not nil, holds pulls of chunks until it is closed; gated gets a value
	// when one is held. Set before the node runs.
	gate, gated chan struct{}
	// gateFrom is how many bytes are pulled before, and gateLeast how many bytes a pull
	// is of that is held.
	gateFrom, gateLeast int
	pulled              atomic.Int64  // bytes of chunks
	slow                time.Duration // of each pull

	// How its next engine is made.
	mode      Mode
	room      func() error
	paused    bool
	onDisk    id.Revision
	least     int // of held deletions
	commitMax int
	calm      time.Duration // that ends a mass deletion
	hasty     int64         // bytes of a stage that is cut short, after a millisecond; 0: as ever
	page      int           // paths that are brought as one; 0: as ever
	only      string
	was       []string // what it kept before

	// Set while it runs.
	engine *Engine
	local  *local.DB
	chunks *chunks.Store
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of the engine's Run, once done is closed
}

func (c *cluster) machine() *meta.Machine {
	c.t.Helper()
	db, err := kv.Open("meta", kv.Options{InMemory: true, NoWAL: true})
	c.ok(err)
	c.dbs = append(c.dbs, db)
	m, err := meta.NewMachine(oneDB{db}, nil)
	c.ok(err)
	return m
}

func (c *cluster) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%v", err)
	}
}

// newCluster makes n nodes that keep one folder, which may have options. close it.
func newCluster(t tb, dir string, n int, options ...map[string]string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: dir, folder: id.Folder{0xf0}, news: make(chan struct{}), missing: make(map[id.Digest]bool)}
	c.leader = c.machine()
	first := id.Node{1}
	env := meta.Envelope{Node: first, Session: id.Session{1}}
	c.must(env, meta.ClusterCmd{ID: id.Cluster{0xcc}, First: meta.NodeRecord{ID: first, Name: "n1", Address: "n1:1"}})
	c.must(env, meta.Session{})
	for i := 2; i <= n; i++ {
		h := id.Digest{byte(i)}
		env.Sequence++
		c.must(env, meta.InviteCmd{Op: meta.InviteAdd, Hash: h, Expires: time.Now().Add(time.Hour)})
		env.Sequence++
		c.must(env, meta.NodeCmd{Op: meta.NodeAdmit, Invite: h, Record: meta.NodeRecord{ID: id.Node{byte(i)}, Name: fmt.Sprintf("n%d", i)}})
	}
	env.Sequence++
	create := meta.FolderCmd{Op: meta.FolderCreate, ID: c.folder, Name: "docs"}
	for _, o := range options {
		create.Options = o
	}
	c.must(env, create)
	for i := 1; i <= n; i++ {
		c.nodes = append(c.nodes, c.newNode(i))
	}
	return c
}

func (c *cluster) must(env meta.Envelope, cmd meta.Command) {
	c.t.Helper()
	b, err := meta.EncodeCommand(cmd)
	c.ok(err)
	out, err := c.propose(env, b)
	c.ok(err)
	if out.Kind == meta.Refused {
		c.t.Fatalf("%T was refused: %s", cmd, out.Reason)
	}
}

// propose is the leader: it appends and answers from its own state machine.
func (c *cluster) propose(env meta.Envelope, body meta.Body) (meta.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if env.Node == c.refuse && env.Lane == c.folder {
		// The same sequence with another body, as after a restored local store: the
		// state machine refuses the body for good, for its path is none.
		c.refuse = id.Node{}
		cmd, err := body.Command()
		if err != nil {
			return meta.Outcome{}, err
		}
		bad := cmd.(meta.CommitCmd)
		bad.Changes = append([]meta.Change{{Op: meta.OpDelete, Path: id.ReservedName}}, bad.Changes...)
		if body, err = meta.EncodeCommand(bad); err != nil {
			return meta.Outcome{}, err
		}
	}
	entries, err := meta.LogEntries(env, body, time.Now())
	if err != nil {
		return meta.Outcome{}, err
	}
	var out meta.Outcome
	for _, e := range entries {
		i := uint64(len(c.log) + 1)
		c.log = append(c.log, meta.IndexedEntry{Index: i, Data: e})
		if err := c.leader.Apply(i, e); err != nil {
			return out, err
		}
		if r, ok := c.leader.Result(i); ok {
			out = r
		}
	}
	c.bump()
	return out, nil
}

// bump wakes the appliers. mu is held.
func (c *cluster) bump() {
	close(c.news)
	c.news = make(chan struct{})
}

func (c *cluster) newNode(i int) *node {
	c.t.Helper()
	n := &node{c: c, id: id.Node{byte(i)}, root: filepath.Join(c.dir, fmt.Sprintf("n%d", i)), home: filepath.Join(c.dir, fmt.Sprintf("home%d", i)), machine: c.machine()}
	c.ok(os.MkdirAll(filepath.Join(n.root, id.ReservedName), 0o700))
	c.ok(os.MkdirAll(n.home, 0o700))
	c.ok(os.WriteFile(MarkerPath(n.root), []byte(c.folder.String()+"\n"), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.applier.Add(1)
	go func() { defer n.applier.Done(); n.apply(ctx) }()
	return n
}

// apply applies the log as it grows, unless the node is cut off or held.
func (n *node) apply(ctx context.Context) {
	for ctx.Err() == nil {
		n.c.mu.Lock()
		news := n.c.news
		var todo []meta.IndexedEntry
		if at := n.machine.AppliedIndex(); !n.cut && !n.held && at < uint64(len(n.c.log)) {
			todo = n.c.log[at:]
		}
		n.c.mu.Unlock()
		if len(todo) > 0 {
			if err := n.machine.ApplyBatch(todo); err != nil {
				panic(err)
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-news:
		}
	}
}

// caught returns when the node has applied all of the log.
func (n *node) caught() {
	n.c.t.Helper()
	news, stop := n.machine.Watch()
	defer stop()
	within(n.c.t, "the log to be applied", func(ctx context.Context) error {
		for {
			n.c.mu.Lock()
			done := n.machine.AppliedIndex() == uint64(len(n.c.log))
			n.c.mu.Unlock()
			if done {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-news:
			}
		}
	})
}

// set changes how the node is reached: cut off, it neither sends nor applies;
// held, it sends but does not apply.
func (n *node) set(cut, held bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.cut, n.held = cut, held
	n.c.bump()
}

// step applies one more entry on a held node.
func (n *node) step() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if at := n.machine.AppliedIndex(); n.held && at < uint64(len(n.c.log)) {
		if err := n.machine.ApplyBatch(n.c.log[at : at+1]); err != nil {
			panic(err)
		}
	}
}

var errCut = errors.New("cut off")

// Propose implements propose.Sender.
func (n *node) Propose(_ context.Context, env meta.Envelope, body meta.Body) (meta.Outcome, error) {
	n.c.mu.Lock()
	cut := n.cut
	n.c.mu.Unlock()
	if cut {
		return meta.Outcome{}, errCut
	}
	return n.c.propose(env, body)
}

// start runs the node's engine.
func (n *node) start() {
	n.c.t.Helper()
	l, err := local.Open(filepath.Join(n.home, "local"), local.Options{})
	n.c.ok(err)
	s, err := chunks.Open(chunks.Options{Dir: filepath.Join(n.home, "packs"), KV: l.KV(), Files: n, Workers: 1})
	n.c.ok(err)
	n.noteKept(l)
	p := propose.New(propose.Options{Self: n.id, Local: l, Machine: n.machine, Sender: n})
	lane, err := p.Lane(n.c.folder)
	n.c.ok(err)
	n.wake = make(chan struct{}, 1)
	e := New(Options{
		ID: n.c.folder, Root: n.root, Self: n.id, Machine: n.machine, Local: l, Chunks: s, Lane: lane,
		Peers: n, Wake: n.wake, Caught: func(context.Context) error { return nil },
		Mode: n.mode, Only: n.subset(), Paused: n.paused, OnDisk: n.onDisk, Room: n.room,
	})
	if n.least != 0 {
		e.least = n.least
	}
	if n.calm != 0 {
		e.calm = n.calm
	}
	if n.hasty != 0 {
		e.haste.least, e.haste.after, e.haste.share = n.hasty, time.Millisecond, 0
	}
	if n.commitMax != 0 {
		e.commitMax = n.commitMax
	}
	if n.page != 0 {
		e.page, e.firstPage = n.page, n.page
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.c.mu.Lock()
	n.engine, n.local, n.chunks = e, l, s
	n.c.mu.Unlock()
	n.cancel, n.done = cancel, make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); _ = p.Run(ctx) }()
	go func() { defer wg.Done(); n.err = e.Run(ctx) }()
	go func() { wg.Wait(); close(n.done) }()
}

// end stops the engine and closes what it stood on; the disk stays.
func (n *node) end() {
	n.c.t.Helper()
	if n.engine == nil {
		return
	}
	n.cancel()
	<-n.done
	n.c.mu.Lock()
	s := n.chunks
	n.chunks = nil
	n.c.mu.Unlock()
	n.serving.Lock() // whoever reads from it has ended
	defer n.serving.Unlock()
	n.c.ok(s.Close())
	n.c.ok(n.local.Close())
	n.engine = nil
	n.c.ok(n.err)
}

func (n *node) restart() { n.c.t.Helper(); n.end(); n.start() }

func (c *cluster) start() *cluster {
	c.t.Helper()
	for _, n := range c.nodes {
		n.start()
	}
	return c
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.end()
		n.stop()
		n.applier.Wait()
	}
	for _, db := range c.dbs {
		_ = db.Close()
	}
}

// startCluster makes and starts n nodes for one test.
func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(t, t.TempDir(), n).start()
	t.Cleanup(c.close)
	return c
}

func within(t tb, what string, fn func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := fn(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// eventually polls until ok says nil; its last error is the reason if it never does.
func eventually(t tb, what string, ok func() error) {
	t.Helper()
	within(t, what, func(ctx context.Context) error {
		for {
			err := ok()
			if err == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

// captured returns when what is on the disk now is in the queue or in history.
func (n *node) captured() {
	n.c.t.Helper()
	within(n.c.t, fmt.Sprintf("capture on %s", n.root), n.engine.watch.Flush)
}

// committed returns when what is on the disk now is in this node's history.
func (n *node) committed() {
	n.c.t.Helper()
	within(n.c.t, fmt.Sprintf("flush of %s", n.root), n.engine.Flush)
}

// head returns the newest revision of the leader's history.
func (c *cluster) head() meta.Commit {
	c.t.Helper()
	v := c.leader.View()
	defer v.Close()
	h, err := v.Head(c.folder)
	c.ok(err)
	return h
}

// follows returns when the node's disk holds the newest revision.
func (n *node) follows() {
	n.c.t.Helper()
	want := n.c.head().Revision
	within(n.c.t, fmt.Sprintf("%s following to revision %d (now %s)", n.root, want, n.state()), func(ctx context.Context) error {
		err := n.engine.WaitFor(ctx, want)
		for n.clearTheWay(err) {
			err = n.engine.WaitFor(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, n.state())
		}
		return nil
	})
}

func (n *node) state() string {
	in, err := n.engine.Info()
	return fmt.Sprintf("phase %s head %d on disk %d local %d waiting %v blocked %v err %v %v", in.Phase, in.Head.Revision, in.OnDisk, in.LocalChanges, in.Waiting, in.Blocked, in.Err, err)
}

// settled lets every node go and returns when nothing is left to do anywhere.
func (c *cluster) settled() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.set(false, false)
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
	for range 50 {
		before := c.head()
		for _, n := range c.nodes {
			n.committed()
		}
		for _, n := range c.nodes {
			n.follows()
		}
		for _, n := range c.nodes { // what rules that have just arrived do not ignore
			n.committed()
		}
		if c.head() == before {
			return
		}
	}
	c.t.Fatalf("the nodes go on proposing")
}

// ctxt is short for tables.
type ctxt = context.Context

// refuseNext makes the leader refuse the node's next proposal in the folder's lane:
// the folder is gone for as long as that takes.
func (c *cluster) refuseNext(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = n.id
}
