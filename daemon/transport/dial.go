package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// DialPeer opens a connection for peer requests to a member, at the address that
// the membership names now. The key is checked: it can only reach that node.
// It returns within the dial timeout, or when ctx ends.
func (t *Transport) DialPeer(ctx context.Context, node id.Node) (net.Conn, error) {
	return t.dial(ctx, node, ProtoPeer)
}

func (t *Transport) dial(ctx context.Context, node id.Node, proto Proto) (net.Conn, error) {
	if !t.members.IsMember(node) {
		return nil, fmt.Errorf("dial node %s: %w", node.Short(), ErrNotMember)
	}
	addr, ok := t.members.Address(node)
	if !ok || addr == "" {
		return nil, fmt.Errorf("dial node %s: %w", node.Short(), ErrNoAddress)
	}
	// A dial ends with the transport, too.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()

	c, err := dialKey(ctx, t, t.identity, addr, node, proto)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", node.Short(), err)
	}
	if !t.conns.add(c, t.maxConns) {
		_ = c.Close()
		return nil, fmt.Errorf("dial node %s: %w", node.Short(), net.ErrClosed)
	}
	// Removed meanwhile, before Drop could see the connection.
	if !t.members.IsMember(node) {
		_ = c.Close()
		return nil, fmt.Errorf("dial node %s: %w", node.Short(), ErrNotMember)
	}
	return c, nil
}

// DialKey connects to addr and returns only if the node there holds the key
// want; otherwise the error matches ErrWrongKey, or ErrRefused if that node
// refused. It needs no membership: a node that joins has none yet.
func DialKey(ctx context.Context, i *Identity, addr string, want id.Node, proto Proto) (*Conn, error) {
	return dialKey(ctx, nil, i, addr, want, proto)
}

func dialKey(ctx context.Context, t *Transport, i *Identity, addr string, want id.Node, proto Proto) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tune(raw)
	if t != nil {
		raw = t.meter(raw)
	}
	tc := tls.Client(raw, clientConfig(i, want, proto))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("handshake with %s: %w", addr, refused(err))
	}
	return &Conn{Conn: tc, raw: raw, t: t, node: want, proto: proto}, nil
}
