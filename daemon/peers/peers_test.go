package peers

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testWait = 10 * time.Second

// members is a membership that tests change.
type members struct {
	mu   sync.Mutex
	addr map[id.Node]string
}

func (m *members) Address(n id.Node) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.addr[n]
	return a, ok
}

func (m *members) IsMember(n id.Node) bool { _, ok := m.Address(n); return ok }

func (m *members) Nodes() (all []id.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.addr {
		all = append(all, n)
	}
	return all
}

func (m *members) set(n id.Node, addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.addr == nil {
		m.addr = make(map[id.Node]string)
	}
	m.addr[n] = addr
}

func (m *members) remove(n id.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.addr, n)
}

// fake is a node's backend.
type fake struct {
	mu      sync.Mutex
	objects map[id.Digest][]byte
	zstd    map[id.Digest]bool
	state   Heartbeat
	heard   map[id.Node]Heartbeat
	// object, if set, comes before objects.
	object  func(ctx context.Context, d id.Digest) ([]byte, bool, error)
	propose func(from id.Node, env meta.Envelope, body meta.Body) (meta.Outcome, id.Node, error)
	served  atomic.Int64
}

func (f *fake) Object(ctx context.Context, _ chunks.Kind, d id.Digest) ([]byte, bool, error) {
	f.served.Add(1)
	f.mu.Lock()
	object := f.object
	f.mu.Unlock()
	if object != nil {
		return object(ctx, d)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if data, ok := f.objects[d]; ok {
		return data, f.zstd[d], nil
	}
	return nil, false, chunks.ErrMissing
}

func (f *fake) Propose(_ context.Context, from id.Node, env meta.Envelope, body meta.Body) (meta.Outcome, id.Node, error) {
	f.mu.Lock()
	propose := f.propose
	f.mu.Unlock()
	return propose(from, env, body)
}

// onObject and onPropose set what the backend does from now on.
func (f *fake) onObject(do func(context.Context, id.Digest) ([]byte, bool, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.object = do
}

func (f *fake) onPropose(do func(id.Node, meta.Envelope, meta.Body) (meta.Outcome, id.Node, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.propose = do
}

func (f *fake) Heartbeat(from id.Node, h Heartbeat) Heartbeat {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heard == nil {
		f.heard = make(map[id.Node]Heartbeat)
	}
	f.heard[from] = h
	return f.state
}

func (f *fake) Head(folder id.Folder) id.Revision {
	s, _ := f.State().folder(folder)
	return s.Revision
}

func (f *fake) State() Heartbeat {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *fake) set(h Heartbeat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = h
}

func (f *fake) put(objects ...[]byte) (want []Want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		f.objects = make(map[id.Digest][]byte)
	}
	for _, o := range objects {
		d := id.Sum(o)
		f.objects[d] = o
		want = append(want, Want{Kind: chunks.Chunk, ID: d, Len: len(o)})
	}
	return want
}

// node is one running node.
type node struct {
	*Peers
	t    *transport.Transport
	back *fake
	stop func()
}

func (n *node) id() id.Node { return n.t.Self() }

const testBeat = 200 * time.Millisecond

func start(t testing.TB, m *members, change ...func(*Options)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	who, err := transport.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{back: &fake{}}
	n.t = transport.New(transport.Options{Identity: who, Listener: l, Members: m})
	o := Options{Transport: n.t, Backend: n.back, Members: m, HeartbeatEvery: testBeat}
	for _, f := range change {
		f(&o)
	}
	n.Peers = New(o)
	m.set(who.ID(), l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	wg.Go(func() { _ = n.t.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(n.stop)
	return n
}

// until waits for ok, looking again whenever n's watchers are told.
func until(t testing.TB, n *node, what string, ok func() bool) {
	t.Helper()
	ch, cancel := n.Watch()
	defer cancel()
	deadline := time.After(testWait)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-ch:
		case <-poll.C:
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		}
	}
}

func connected(t testing.TB, n *node, others ...*node) {
	t.Helper()
	for _, o := range others {
		until(t, n, "online", func() bool { return n.Online(o.id()) })
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	connected(t, b, a)
	ch, cancel := a.Watch()
	defer cancel()
	select {
	case <-ch:
	default:
	}
	want := Heartbeat{Version: "1", AppliedIndex: 7, Folders: []FolderState{{Folder: id.NewFolder(), Revision: 3, Hash: id.Digest{9}, Applied: 2}}}
	b.back.set(want)
	b.Kick()
	select {
	case <-ch:
	case <-time.After(testWait):
		t.Fatal("no token after a folder's head changed")
	}
	until(t, a, "b's state", func() bool {
		h, ok := a.Last(b.id())
		return ok && h.AppliedIndex == 7 && len(h.Folders) == 1 && h.Folders[0] == want.Folders[0] && h.Node == b.id()
	})
	if a.LastSeen(b.id()).IsZero() || a.LastError(b.id()) != nil {
		t.Errorf("last seen %v, error %v", a.LastSeen(b.id()), a.LastError(b.id()))
	}
	until(t, a, "backend told", func() bool {
		a.back.mu.Lock()
		defer a.back.mu.Unlock()
		return a.back.heard[b.id()].AppliedIndex == 7
	})
	// A clean stop is heard of at once, not after missed beats.
	b.stop()
	if a.Online(b.id()) {
		t.Error("online after it said that it leaves")
	}
	if !a.Online(a.id()) {
		t.Error("a node is online to itself")
	}
}

// A node that dies without a word goes offline, and the watchers are told.
func TestSilentMemberGoesOffline(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	connected(t, a, b)
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing: a partition
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m.set(a.id(), l.Addr().String()) // b cannot reach a either
	m.set(b.id(), l.Addr().String())
	a.t.Drop(b.id())
	b.t.Drop(a.id())
	until(t, a, "offline", func() bool {
		a.t.Drop(b.id()) // what was being dialed just now
		b.t.Drop(a.id())
		return !a.Online(b.id())
	})
	until(t, a, "an error", func() bool { return a.LastError(b.id()) != nil })
}

func TestRemovedMember(t *testing.T) {
	t.Parallel()
	ma, mb := &members{}, &members{}
	a, b := start(t, ma), start(t, mb)
	ma.set(b.id(), b.t.ListenAddr().String())
	mb.set(a.id(), a.t.ListenAddr().String())
	connected(t, a, b)
	want := b.back.put([]byte("for members only"))
	if missing, err := a.Pull(t.Context(), id.Folder{1}, nil, want, func(int, []byte) error { return nil }); err != nil || len(missing) != 0 {
		t.Fatal(missing, err)
	}
	mb.remove(a.id())
	// Even without Drop, and on a connection that is open: each request is checked.
	_, err := a.post2(t.Context(), b.id())
	if err == nil {
		t.Error("a request of a removed member was answered")
	}
	until(t, a, "refusal", func() bool { return errors.Is(a.LastError(b.id()), transport.ErrRefused) })
	if b.Online(a.id()) {
		t.Error("a removed member is online")
	}
}

// post2 sends a heartbeat and returns its answer.
func (n *node) post2(ctx context.Context, to id.Node) (Heartbeat, error) {
	return n.sendState(ctx, to, false)
}

func TestOversizedRequests(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	b.back.onPropose(func(id.Node, meta.Envelope, meta.Body) (meta.Outcome, id.Node, error) {
		t.Error("Propose was called")
		return meta.Outcome{}, id.Node{}, nil
	})
	for path, size := range map[string]int{
		objectsPath + "?folder=" + id.Folder{}.String(): maxWantsBody + 1,
		objectsPath:   10,
		heartbeatPath: maxHeartbeat + 1,
		proposePath:   200,
		"/v1/other":   1,
	} {
		body := make([]byte, size)
		if _, err := a.callBytes(t.Context(), b.id(), path, body); !errors.Is(err, ErrStatus) && !isReset(err) {
			t.Errorf("%s with %d bytes: %v, want ErrStatus", path, size, err)
		}
	}
	// The server goes on.
	if _, err := a.post2(t.Context(), b.id()); err != nil {
		t.Error(err)
	}
}
