// Package peers is how members talk to each other: objects pulled in batches,
// proposals sent to the leader, and heartbeats that say who is there and how far
// it is. It is HTTP/1.1 over the transport's authenticated connections.
//
// All methods of Peers are safe for concurrent use.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// streamsPerMember is how many requests for objects one member serves this node
	// at a time, over as many connections: more gain nothing (measured: four fill
	// two cores with TLS).
	streamsPerMember = 4
	// memoryInFlight bounds the objects that were read and not yet handed over, of
	// all pulls together.
	memoryInFlight = 16 << 20
	// idleConn is how long an unused connection is kept: long enough that a user
	// who edits now and then never waits for a handshake.
	idleConn = 5 * time.Minute

	heartbeatEvery = time.Second
	// missedBeats is how many heartbeat intervals a member may be silent before it
	// counts as offline.
	missedBeats = 3.5
	stallAfter  = 10 * time.Second
	hedgeAfter  = 3 * time.Second
)

// Backend is the node behind the peer protocol. Its methods are called from many
// goroutines.
type Backend interface {
	// Object returns a chunk or manifest node as it is stored: zstd says that data
	// is compressed. An error that matches chunks.ErrMissing says that it is not
	// here, and ErrSoon beside it that it will be; any other, that it cannot be read
	// now. data is not changed.
	Object(ctx context.Context, kind chunks.Kind, d id.Digest) (data []byte, zstd bool, err error)
	// Propose is called with another node's proposal. If this node does not lead,
	// the error matches ErrNotLeader and leader is who does, zero if not known.
	Propose(ctx context.Context, from id.Node, env meta.Envelope, body meta.Body) (out meta.Outcome, leader id.Node, err error)
	// Heartbeat is told each heartbeat of another node, and returns this node's
	// own. It must not block: the answer goes back at once.
	Heartbeat(from id.Node, h Heartbeat) Heartbeat
	// State returns this node's own heartbeat. Peers sets Node and Leaving.
	State() Heartbeat
	// Head returns the newest revision of a folder that this node knows.
	Head(f id.Folder) id.Revision
}

// ErrSoon is matched by an error of Backend.Object where this node is getting the
// object: who asked may rather ask again than get it elsewhere.
var ErrSoon = errors.New("not here yet")

// Members lists the cluster; the transport's Members answers for each.
type Members interface {
	// Nodes returns the members, with or without this node. The slice is not
	// changed.
	Nodes() []id.Node
}

// Options of New. Transport, Backend and Members are required.
type Options struct {
	Transport *transport.Transport
	Backend   Backend
	Members   Members
	Log       *slog.Logger // nil discards
	// LimitUp and LimitDown bound the objects that this node sends and receives, all
	// members together, in bytes a second; 0 is no bound. Nothing else waits for them.
	LimitUp, LimitDown int64

	// For tests; zero means the usual.
	HeartbeatEvery, StallAfter, HedgeAfter time.Duration
	// Decode undoes compression and verifies; nil means chunks.Decode.
	Decode func(k chunks.Kind, d id.Digest, data []byte, zstd bool, n int, buf []byte) ([]byte, error)
}

// Peers is one node's side of the peer protocol.
type Peers struct {
	transport *transport.Transport
	backend   Backend
	list      Members
	log       *slog.Logger

	every, stallAfter, hedgeAfter time.Duration
	decode                        func(chunks.Kind, id.Digest, []byte, bool, int, []byte) ([]byte, error)

	// Objects, proposals and heartbeats have connections of their own, so that
	// none of them waits for another.
	objects, proposals, beats *http.Transport
	memory                    *semaphore.Weighted
	up, down                  *throttle // nil: no limit
	shrinker                  shrinker

	mu       sync.Mutex // guards all below
	links    map[id.Node]*link
	serving  map[id.Node]int
	traffic  map[id.Folder]*counters
	watchers map[chan struct{}]struct{}
	kick     chan struct{} // closed and replaced by Kick
}

// New makes the node's side; Run serves and sends heartbeats. Pull and Propose
// work from the first heartbeat on.
func New(o Options) *Peers {
	p := &Peers{
		transport: o.Transport, backend: o.Backend, list: o.Members, log: o.Log,
		every: o.HeartbeatEvery, stallAfter: o.StallAfter, hedgeAfter: o.HedgeAfter, decode: o.Decode,
		memory: semaphore.NewWeighted(memoryInFlight),
		up:     newUpload(o.LimitUp), down: newDownload(o.LimitDown),
		links:    make(map[id.Node]*link),
		serving:  make(map[id.Node]int),
		traffic:  make(map[id.Folder]*counters),
		watchers: make(map[chan struct{}]struct{}),
		kick:     make(chan struct{}),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("component", "peers")
	setDefault(&p.every, heartbeatEvery)
	setDefault(&p.stallAfter, stallAfter)
	setDefault(&p.hedgeAfter, hedgeAfter)
	if p.decode == nil {
		p.decode = chunks.Decode
	}
	p.objects = p.client(streamsPerMember)
	p.proposals = p.client(streamsPerMember)
	p.beats = p.client(1)
	return p
}

func setDefault(d *time.Duration, usual time.Duration) {
	if *d <= 0 {
		*d = usual
	}
}

// client makes an HTTP client whose host names are node IDs. The connections that
// it gets are encrypted and authenticated already.
func (p *Peers) client(idle int) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			node, err := id.ParseNode(host)
			if err != nil {
				return nil, err
			}
			return p.transport.DialPeer(ctx, node)
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleConn,
		MaxResponseHeaderBytes: 8 << 10,
		// The protocol is HTTP/1.1 alone.
		Protocols: http1(),
	}
}

func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// Run serves the other members and sends heartbeats until ctx ends. It then tells
// the others that this node leaves, and returns when everything it started has
// ended. Its error is nil if ctx ended.
func (p *Peers) Run(ctx context.Context) error {
	defer p.transport.Hold()() // for the farewell
	// Requests end with ctx, but the farewell must go out: the server and the
	// connections close after it.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.serve(gctx) })
	g.Go(func() error { p.beat(gctx); return nil })
	err := g.Wait()
	p.farewell()
	p.objects.CloseIdleConnections()
	p.proposals.CloseIdleConnections()
	p.beats.CloseIdleConnections()
	p.stopTimers()
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve peers: %w", err)
	}
	return nil
}
