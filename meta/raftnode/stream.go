package raftnode

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// trackedStream remembers the connections of a stream layer, because raft's
// transport leaves them open, and their readers waiting, when it is closed.
type trackedStream struct {
	raft.StreamLayer

	// mu guards conns, nil after Close.
	mu    sync.Mutex
	conns map[*trackedConn]struct{}
}

func trackStream(s raft.StreamLayer) *trackedStream {
	return &trackedStream{StreamLayer: s, conns: map[*trackedConn]struct{}{}}
}

// Accept implements net.Listener.
func (s *trackedStream) Accept() (net.Conn, error) { return s.track(s.StreamLayer.Accept()) }

// Dial implements raft.StreamLayer.
func (s *trackedStream) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.track(s.StreamLayer.Dial(a, timeout))
}

func (s *trackedStream) track(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, stream: s}
	s.mu.Lock()
	open := s.conns != nil
	if open {
		s.conns[t] = struct{}{}
	}
	s.mu.Unlock()
	if !open {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	return t, nil
}

// Close closes the listener and every connection.
func (s *trackedStream) Close() error {
	err := s.StreamLayer.Close()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		// They carry nothing that is still wanted.
		_ = c.Conn.Close()
	}
	return err
}

type trackedConn struct {
	net.Conn
	stream *trackedStream
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}
