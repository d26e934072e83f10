package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// readTimeout is how long a joiner may take to send its request, writeTimeout
	// to take the answer.
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	// admitTimeout bounds the decision, which waits for a commit.
	admitTimeout = 20 * time.Second
	// parallel is how many requests are decided at a time; each may cost the
	// cluster a log entry.
	parallel = 4
	// burst requests may come at once; after that, perSecond.
	burst     = 20
	perSecond = 10
	// partTime is how long the server waits for the joiner to hang up first, so
	// that the answer is not lost in a reset.
	partTime = time.Second
)

// Admit decides about a join request.
type Admit interface {
	// Admit lets the node from, whose key is verified, into the cluster, and
	// returns what it must know. It returns when the admission is applied here.
	// A refusal matches one of this package's errors; the text of one that wraps
	// ErrBadRequest is sent along.
	//
	// It must be idempotent: the same node with the same secret, admitted before,
	// gets the answer again, because the first may have been lost.
	// It is called from several goroutines.
	Admit(ctx context.Context, from id.Node, r AdmitRequest) (Response, error)
}

// Precheck may be implemented by an Admit: a cheap look, with no log entry, at
// whether an invite with this hash may be used by node. Its refusals do not count
// against the rate of requests, so strangers without a token cannot keep those
// with one out.
type Precheck interface {
	Precheck(node id.Node, secretHash id.Digest) error
}

// ServerOptions of NewServer. Listener, Cluster and Admit are required.
type ServerOptions struct {
	// Listener gives connections that transport.NodeOf knows: its JoinListener.
	Listener net.Listener
	Cluster  id.Cluster
	Admit    Admit
	Log      *slog.Logger // nil discards
}

// Server answers join requests.
type Server struct {
	o     ServerOptions
	log   *slog.Logger
	slots chan struct{}
	rate  bucket
}

// NewServer makes a server; Run serves.
func NewServer(o ServerOptions) *Server {
	s := &Server{o: o, log: o.Log, slots: make(chan struct{}, parallel)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("component", "join")
	return s
}

// Run serves until ctx or the listener ends, and returns when every request has
// ended. Its error is nil if ctx ended or the listener was closed.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = s.o.Listener.Close() })
	var wg sync.WaitGroup
	// In reverse: no more connections, cancel the requests, wait for them.
	defer wg.Wait()
	defer cancel()
	defer stop()
	for {
		c, err := s.o.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept join requests: %w", err)
		}
		wg.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			s.serve(ctx, c)
		})
	}
}

// serve answers one connection's one request. How many there are is bounded by
// the transport.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	node, ok := transport.NodeOf(c)
	if !ok {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(readTimeout))
	var w wireRequest
	var answer wireResponse
	err := readFrame(c, &w, MaxRequest)
	if err != nil && !errors.Is(err, ErrBadRequest) {
		return // it hung up or was too slow: nobody is there to be told
	}
	if err == nil {
		answer, err = s.decide(ctx, node, w, c.RemoteAddr())
	}
	if err != nil {
		answer = wireResponse{Code: codeOf(err), Cluster: s.o.Cluster}
		if errors.Is(err, ErrBadRequest) {
			answer.Message = printable(err.Error())
		}
		if errors.Is(err, ErrUndecided) {
			s.log.Warn("join not decided: the node may be admitted later", "node", node, "name", w.Name, "remote", c.RemoteAddr())
		} else {
			s.log.Warn("join refused", "node", node, "remote", c.RemoteAddr(), "err", err)
		}
	} else {
		s.log.Info("node admitted", "node", node, "name", answer.Name, "remote", c.RemoteAddr())
	}
	_ = c.SetDeadline(time.Now().Add(writeTimeout))
	if err := writeFrame(c, answer, MaxResponse); err != nil {
		s.log.Warn("join answer not sent", "node", node, "err", err)
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(partTime))
	_, _ = c.Read(make([]byte, 1))
}

func (s *Server) decide(ctx context.Context, node id.Node, w wireRequest, remote net.Addr) (wireResponse, error) {
	r, err := w.decode()
	if err != nil {
		return wireResponse{}, err
	}
	if w.Cluster != s.o.Cluster {
		return wireResponse{}, ErrWrongCluster
	}
	if a, err := netip.ParseAddrPort(remote.String()); err == nil {
		r.Observed = a.Addr().Unmap()
	}
	if p, ok := s.o.Admit.(Precheck); ok {
		if err := p.Precheck(node, r.Secret.Hash()); err != nil {
			return wireResponse{}, err
		}
	}
	if !s.rate.take(time.Now()) {
		return wireResponse{}, ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return wireResponse{}, ErrBusy
	}
	a, err := s.o.Admit.Admit(ctx, node, r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && codeOf(err) == "failed" {
			err = fmt.Errorf("%w: %w", ErrUndecided, err)
		}
		return wireResponse{}, err
	}
	return wireResponse{Code: codeOK, Cluster: s.o.Cluster, Name: a.Name, Nodes: encodeNodes(a.Nodes)}, nil
}

// bucket is a token bucket over burst and perSecond.
type bucket struct {
	mu    sync.Mutex // guards the rest
	level float64    // what was taken and has not flowed back
	last  time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = max(0, b.level-now.Sub(b.last).Seconds()*perSecond)
	b.last = now
	if b.level+1 > burst {
		return false
	}
	b.level++
	return true
}
