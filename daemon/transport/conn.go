package transport

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Conn is an established connection to or from another node.
type Conn struct {
	*tls.Conn
	raw     net.Conn
	t       *Transport // nil for connections made by DialKey
	node    id.Node
	proto   Proto
	inbound bool
	seq     uint64 // age: a lower one is older; guarded by registry.mu
	once    sync.Once
}

// Node is the verified ID of the other end.
func (c *Conn) Node() id.Node { return c.node }

// Proto is the protocol agreed on.
func (c *Conn) Proto() Proto { return c.proto }

// NodeOf returns the verified ID of the node at the other end of a connection
// that this package made.
func NodeOf(c net.Conn) (id.Node, bool) {
	if m, ok := c.(*Conn); ok {
		return m.node, true
	}
	return id.Node{}, false
}

// Read reads. On a Raft connection each read asks whether the other end is still
// a member, since Raft's requests do not pass through code of ours: what a
// removed node sends is not parsed even if Drop was not called yet.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, refused(err)
	}
	if c.proto == ProtoRaft && c.t != nil && !c.t.members.IsMember(c.node) {
		_ = c.Close()
		return 0, ErrNotMember
	}
	return n, nil
}

// Close closes the connection at once. It sends no close_notify, which could
// block for seconds on a stalled peer: every protocol here marks its own ends.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		if c.t != nil {
			c.t.conns.remove(c)
		}
		err = c.raw.Close()
	})
	return err
}

// registry knows every open connection, so that a removed node is cut off at
// once and shutdown leaves none.
type registry struct {
	mu     sync.Mutex // guards all below
	conns  map[*Conn]struct{}
	seq    uint64
	closed bool
}

// add registers c and closes the oldest of its kind (same direction and
// protocol, same node unless strangers may speak it) beyond limit: after a
// partition the newest connection is the one that works. It reports false after
// closeAll.
func (r *registry) add(c *Conn, limit int) bool {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return false
	}
	if r.conns == nil {
		r.conns = make(map[*Conn]struct{})
	}
	r.seq++
	c.seq = r.seq
	var oldest *Conn
	same := 0
	for o := range r.conns {
		if o.inbound == c.inbound && o.proto == c.proto && (o.node == c.node || !c.proto.membersOnly()) {
			same++
			if oldest == nil || o.seq < oldest.seq {
				oldest = o
			}
		}
	}
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	if same >= limit {
		_ = oldest.Close()
	}
	return true
}

func (r *registry) remove(c *Conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

// closeIf closes the connections that which picks. which is called without the
// lock.
func (r *registry) closeIf(which func(*Conn) bool) (closed int) {
	r.mu.Lock()
	all := make([]*Conn, 0, len(r.conns))
	for c := range r.conns {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		if which(c) {
			_ = c.Close()
			closed++
		}
	}
	return closed
}

func (r *registry) closeAll() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.closeIf(func(*Conn) bool { return true })
}

// meter counts the bytes of a TCP connection, TLS and all.
type meter struct {
	net.Conn
	sent, received *atomic.Uint64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.received.Add(uint64(n))
	return n, err
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.sent.Add(uint64(n))
	return n, err
}

// tune makes a dead peer show within 25 s on an otherwise idle connection.
func tune(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
		})
	}
}
