package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// layerBacklog is how many established connections wait for Accept. Beyond it
// new ones are closed: nobody takes them.
const layerBacklog = 64

// layer is the listener of one protocol.
type layer struct {
	addr  net.Addr
	queue chan *Conn
	done  chan struct{}
	once  sync.Once
}

func newLayer(addr net.Addr) *layer {
	return &layer{addr: addr, queue: make(chan *Conn, layerBacklog), done: make(chan struct{})}
}

// offer hands c to Accept, or reports false.
func (l *layer) offer(c *Conn) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener. It returns net.ErrClosed after Close or the end
// of the transport's Run.
func (l *layer) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.done:
			return nil, net.ErrClosed
		case c := <-l.queue:
			if c.proto.membersOnly() && !c.t.members.IsMember(c.node) {
				_ = c.Close() // removed while it waited
				continue
			}
			return c, nil
		}
	}
}

// Close implements net.Listener. It closes what nobody has accepted, not the TCP
// listener, which the other protocols share.
func (l *layer) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return l.addr }

// nodeAddr is a node's ID as a net.Addr: what Raft knows nodes by.
type nodeAddr id.Node

func (a nodeAddr) Network() string { return "lockstep" }
func (a nodeAddr) String() string  { return id.Node(a).String() }

// raftLayer implements raft.StreamLayer. Raft's addresses are node IDs in hex;
// where a node listens is looked up at each dial, so an address may change
// without a change of Raft's configuration.
type raftLayer struct {
	*layer
	t *Transport
}

// Dial implements raft.StreamLayer.
func (l raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, err := id.ParseNode(string(address))
	if err != nil {
		return nil, fmt.Errorf("dial for raft: %w", err)
	}
	ctx := l.t.life
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return l.t.dial(ctx, node, ProtoRaft)
}
