package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestSlowHandshakesDoNotBlock(t *testing.T) {
	t.Parallel()
	m := &members{}
	a := start(t, m)
	b := start(t, m, func(o *Options) { o.MaxHandshakes = 8 })
	var idle []net.Conn
	for range 40 {
		c, err := net.Dial("tcp", b.ListenAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	c, err := a.DialPeer(context.Background(), b.Self())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange(t, c, accept(t, b.PeerListener()))
	// The first ones were given up for the later ones.
	_ = idle[0].SetReadDeadline(time.Now().Add(testWait))
	if _, err := idle[0].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the oldest handshake was not given up: %v", err)
	}
	b.mu.Lock()
	n := b.young.Len()
	b.mu.Unlock()
	if n > 8 {
		t.Errorf("%d handshakes in progress, want at most 8", n)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	m := &members{}
	b := start(t, m, func(o *Options) { o.HandshakeTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", b.ListenAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(testWait))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("slow handshake was not ended: %v", err)
	}
}

func TestConnectionsOfANodeAreBounded(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	b.maxConns = 4
	var conns []net.Conn
	for range 10 {
		c, err := a.DialPeer(context.Background(), b.Self())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accept(t, b.PeerListener())
		conns = append(conns, c)
	}
	b.conns.mu.Lock()
	n := len(b.conns.conns)
	b.conns.mu.Unlock()
	if n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
	_ = conns[0].SetReadDeadline(time.Now().Add(testWait))
	if _, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest is still open")
	}
}

func TestRunEndsWithConnectionsOpen(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	if _, err := a.DialPeer(context.Background(), b.Self()); err != nil {
		t.Fatal(err)
	}
	accept(t, b.PeerListener())
	// Also one that nobody accepts, and one in its handshake: Cleanup checks that
	// Run ends, goleak that nothing is left.
	if _, err := a.Raft().Dial(raft.ServerAddress(b.Self().String()), 0); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", b.ListenAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
}

// Who holds the transport can still use it when Run was told to end.
func TestHold(t *testing.T) {
	t.Parallel()
	m := &members{}
	b := start(t, m)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Identity: newIdentityT(t), Listener: l, Members: m})
	m.set(a.Self(), l.Addr().String())
	release := a.Hold()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	c, err := a.DialPeer(context.Background(), b.Self())
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, accept(t, b.PeerListener()))
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := a.DialPeer(context.Background(), b.Self()); err == nil {
		t.Error("dialed after the end")
	}
}
