package transport

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// handshakeTimeout bounds dialing and a handshake on either side.
	handshakeTimeout = 10 * time.Second
	// defaultHandshakes bounds handshakes in progress. Beyond it the oldest is
	// given up, never the newest: an honest one takes milliseconds, so who fills
	// the table with slow ones loses those first.
	defaultHandshakes = 128
	// defaultConns bounds the connections of one node and protocol each way, and
	// of all join requests together. Raft holds up to a handful, peers 12.
	defaultConns = 32
	// sweepEvery is how often connections of nodes that are no longer members are
	// looked for, should Drop not have been called.
	sweepEvery = time.Second
	// lingerTime and lingerBytes bound how long a refused connection is kept, so
	// that its alert is not lost in a TCP reset.
	lingerTime  = time.Second
	lingerBytes = 64 << 10
	// holdTime is how long the end of Run waits for those who hold the transport.
	holdTime = time.Second
)

// Members is the membership as this node knows it. It is asked often, for every
// read of a Raft connection too: an answer must cost no more than a map look-up.
// Its methods are called from many goroutines.
type Members interface {
	// Address is where a node can be reached, as host:port. It need not be the
	// address that the node listens on.
	Address(id.Node) (string, bool)
	// IsMember reports whether the node is in the cluster now.
	IsMember(id.Node) bool
}

// Options of New. Identity, Listener and Members are required.
type Options struct {
	Identity *Identity
	// Listener is owned by the transport from New on; Run closes it.
	Listener net.Listener
	Members  Members
	Log      *slog.Logger // nil discards
	// MaxHandshakes in progress; 0 means 128.
	MaxHandshakes int
	// HandshakeTimeout of an accepted connection; 0 means 10 s.
	HandshakeTimeout time.Duration
}

// Transport is a node's network. Make it with New, serve with Run.
type Transport struct {
	identity *Identity
	listener net.Listener
	members  Members
	log      *slog.Logger

	maxHandshakes int
	maxConns      int
	timeout       time.Duration

	server *tls.Config
	layers map[Proto]*layer
	conns  registry

	life context.Context // ends with Run
	end  context.CancelFunc

	mu    sync.Mutex // guards young and held
	young *list.List // of net.Conn: handshakes in progress, oldest first
	held  map[chan struct{}]struct{}

	handshakes     sync.WaitGroup
	sent, received atomic.Uint64
}

// New makes a transport; nothing is accepted before Run.
func New(o Options) *Transport {
	t := &Transport{
		identity:      o.Identity,
		listener:      o.Listener,
		members:       o.Members,
		log:           o.Log,
		maxHandshakes: o.MaxHandshakes,
		maxConns:      defaultConns,
		timeout:       o.HandshakeTimeout,
		young:         list.New(),
		held:          make(map[chan struct{}]struct{}),
		layers:        make(map[Proto]*layer),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.log = t.log.With("component", "transport")
	if t.maxHandshakes <= 0 {
		t.maxHandshakes = defaultHandshakes
	}
	if t.timeout <= 0 {
		t.timeout = handshakeTimeout
	}
	t.server = serverConfig(o.Identity, t.admit)
	for _, p := range []Proto{ProtoRaft, ProtoPeer, ProtoJoin} {
		t.layers[p] = newLayer(nodeAddr(o.Identity.ID()))
	}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// Identity returns this node's identity.
func (t *Transport) Identity() *Identity { return t.identity }

// Self returns this node's ID.
func (t *Transport) Self() id.Node { return t.identity.ID() }

// IsMember asks the membership.
func (t *Transport) IsMember(node id.Node) bool { return t.members.IsMember(node) }

// ListenAddr is the TCP address bound. Others may have to use another one: what
// this node advertises.
func (t *Transport) ListenAddr() net.Addr { return t.listener.Addr() }

// Raft returns the stream layer for Raft. Its Addr, and the addresses that it
// dials, are node IDs in hex.
func (t *Transport) Raft() raft.StreamLayer { return raftLayer{t.layers[ProtoRaft], t} }

// PeerListener returns the connections of members that make peer requests. Each
// is one that NodeOf knows; the server checks IsMember again at each request.
func (t *Transport) PeerListener() net.Listener { return t.layers[ProtoPeer] }

// JoinListener returns the connections of whoever asks to join: authenticated as
// to their key, but strangers.
func (t *Transport) JoinListener() net.Listener { return t.layers[ProtoJoin] }

// Wire returns the bytes sent and received since New, headers and TLS included,
// those of Raft and of refused handshakes too.
func (t *Transport) Wire() (sent, received uint64) { return t.sent.Load(), t.received.Load() }

// Drop closes every connection to and from node. Call it after the membership
// has ceased to name it; connections that are being set up meanwhile are closed
// by their own check.
func (t *Transport) Drop(node id.Node) {
	if n := t.conns.closeIf(func(c *Conn) bool { return c.node == node }); n > 0 {
		t.log.Info("dropped connections", "node", node, "count", n)
	}
}

// Hold lets its caller use the transport for up to a second after Run was told to
// end: to say farewell, say. release is called once.
func (t *Transport) Hold() (release func()) {
	done := make(chan struct{})
	t.mu.Lock()
	t.held[done] = struct{}{}
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		delete(t.held, done)
		t.mu.Unlock()
		close(done)
	}
}

// awaitHolders waits for all releases, at most holdTime.
func (t *Transport) awaitHolders() {
	late := time.NewTimer(holdTime)
	defer late.Stop()
	for {
		var next chan struct{}
		t.mu.Lock()
		for next = range t.held {
			break
		}
		t.mu.Unlock()
		if next == nil {
			return
		}
		select {
		case <-next:
		case <-late.C:
			return
		}
	}
}

// Run accepts connections until ctx ends. It then closes the listener and every
// connection, and returns when all that it started has ended. Its error is nil
// if ctx ended. A transport runs once.
func (t *Transport) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = t.listener.Close() })
	swept := make(chan struct{})
	go func() { defer close(swept); t.sweep() }()

	err := t.accept(ctx)
	stop()
	t.awaitHolders()
	t.end()
	_ = t.listener.Close()
	t.closeYoung()
	t.handshakes.Wait()
	for _, l := range t.layers {
		_ = l.Close()
	}
	t.conns.closeAll()
	<-swept
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept returns when the listener fails for good. Out of file descriptors, it
// waits and goes on.
func (t *Transport) accept(ctx context.Context) error {
	var wait time.Duration
	for {
		raw, err := t.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return err
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			t.log.Warn("accept failed", "err", err, "retry_in", wait)
			select {
			case <-ctx.Done():
				return err
			case <-time.After(wait):
			}
			continue
		}
		wait = 0
		tune(raw)
		e := t.addYoung(raw)
		t.handshakes.Go(func() { t.handshake(raw, e) })
	}
}

// addYoung notes a handshake in progress and gives up the oldest if there are too
// many.
func (t *Transport) addYoung(raw net.Conn) *list.Element {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.young.Len() >= t.maxHandshakes {
		oldest := t.young.Front()
		_ = oldest.Value.(net.Conn).Close()
		t.young.Remove(oldest)
	}
	return t.young.PushBack(raw)
}

func (t *Transport) removeYoung(e *list.Element) {
	t.mu.Lock()
	t.young.Remove(e) // a no-op if it was given up
	t.mu.Unlock()
}

func (t *Transport) closeYoung() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.young.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close()
	}
}

func (t *Transport) meter(c net.Conn) net.Conn {
	return &meter{Conn: c, sent: &t.sent, received: &t.received}
}

// handshake authenticates one accepted connection and hands it to its protocol.
func (t *Transport) handshake(raw net.Conn, e *list.Element) {
	defer t.removeYoung(e)
	ctx, cancel := context.WithTimeout(t.life, t.timeout)
	defer cancel()
	tc := tls.Server(t.meter(raw), t.server)
	if err := tc.HandshakeContext(ctx); err != nil {
		t.log.Debug("handshake failed", "remote", raw.RemoteAddr(), "err", err)
		linger(raw)
		return
	}
	node, proto, err := peerOf(tc.ConnectionState())
	if err != nil { // VerifyConnection has said so before; this is the second lock
		_ = raw.Close()
		return
	}
	c := &Conn{Conn: tc, raw: raw, t: t, node: node, proto: proto, inbound: true}
	if !t.conns.add(c, t.maxConns) {
		_ = c.Close()
		return
	}
	// From here on Drop sees the connection; a removal before that is seen here.
	if err := t.admit(node, proto); err != nil {
		_ = c.Close()
		return
	}
	if !t.layers[proto].offer(c) {
		t.log.Warn("nobody takes connections", "proto", proto, "node", node)
		_ = c.Close()
	}
}

// admit decides whether node may speak proto here.
func (t *Transport) admit(node id.Node, proto Proto) error {
	if proto.membersOnly() && !t.members.IsMember(node) {
		return fmt.Errorf("node %s: %w", node.Short(), ErrNotMember)
	}
	return nil
}

// sweep closes connections of nodes that are no longer members.
func (t *Transport) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.life.Done():
			return
		case <-tick.C:
		}
		t.conns.closeIf(func(c *Conn) bool { return t.admit(c.node, c.proto) != nil })
	}
}

// linger closes a refused connection so that the alert arrives: closing with
// unread bytes would reset the connection and may destroy it on the way.
func linger(raw net.Conn) {
	defer raw.Close()
	tcp, ok := raw.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return
	}
	_ = tcp.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, tcp, lingerBytes)
}
