package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// servingPerMember bounds the requests of one member in progress. Ours make at
	// most 4 + 4 + 1 at a time, and may repeat some of them on new connections.
	servingPerMember = 32
	// slowest is how long a member may take to send a request.
	slowest = 30 * time.Second
	// slowestTaker is how long it may take for the next 64 KiB of an answer: at 1 KiB
	// a second its system makes room for as much once a minute.
	slowestTaker = 2 * time.Minute
	// frameBuffer is what an answer collects before it is encrypted and sent.
	frameBuffer = 128 << 10
)

type nodeKey struct{}

// serve answers the other members until ctx ends.
func (p *Peers) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+objectsPath, p.serveObjects)
	mux.HandleFunc("POST "+proposePath, p.servePropose)
	mux.HandleFunc("POST "+heartbeatPath, p.serveHeartbeat)
	mux.HandleFunc("POST "+reachPath, p.serveReach)
	// Requests end with ctx, by its cancellation and by the close of connections.
	s := &http.Server{
		Handler:           p.members(mux),
		ReadHeaderTimeout: slowest,
		IdleTimeout:       2 * idleConn, // the client closes first
		MaxHeaderBytes:    8 << 10,
		Protocols:         http1(),
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			node, _ := transport.NodeOf(c)
			return context.WithValue(ctx, nodeKey{}, node)
		},
	}
	var busy gate
	s.Handler = busy.guard(s.Handler)
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	err := s.Serve(p.transport.PeerListener())
	stop()
	_ = s.Close()
	busy.close() // Close does not wait for handlers
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// gate lets handlers run until it is closed, and then waits for them.
type gate struct {
	mu     sync.Mutex // guards closed, and that nothing enters after it
	closed bool
	inside sync.WaitGroup
}

func (g *gate) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		if g.closed {
			g.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		g.inside.Add(1)
		g.mu.Unlock()
		defer g.inside.Done()
		h.ServeHTTP(w, r)
	})
}

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}

// members lets only the requests of current members through, and bounds how many
// each has in progress.
func (p *Peers) members(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		node, _ := r.Context().Value(nodeKey{}).(id.Node)
		if node.IsZero() || !p.transport.IsMember(node) {
			w.Header().Set("Connection", "close")
			http.Error(w, "not a member", http.StatusForbidden)
			return
		}
		if !p.enter(node) {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		defer p.leave(node)
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(slowest))
		_ = control.SetWriteDeadline(time.Now().Add(slowest))
		next.ServeHTTP(w, r)
	})
}

func (p *Peers) enter(node id.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving[node] >= servingPerMember {
		return false
	}
	p.serving[node]++
	return true
}

func (p *Peers) leave(node id.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving[node]--; p.serving[node] == 0 {
		delete(p.serving, node)
	}
}

// readBody reads a request's body of at most limit bytes, or answers the request.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		return nil, false
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, "request cut short", http.StatusBadRequest)
		}
		return nil, false
	}
	// net/http goes on reading to notice a lost connection: that may take as long
	// as the answer does.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return data, true
}

func caller(r *http.Request) id.Node {
	node, _ := r.Context().Value(nodeKey{}).(id.Node)
	return node
}

func (p *Peers) serveHeartbeat(w http.ResponseWriter, r *http.Request) {
	data, ok := readBody(w, r, maxHeartbeat)
	if !ok {
		return
	}
	from := caller(r)
	h, err := decodeHeartbeat(from, data)
	if err != nil {
		http.Error(w, "bad heartbeat", http.StatusBadRequest)
		return
	}
	now := time.Now()
	p.clockOf(from, h.Sent, now, now)
	p.heard(from, h, true)
	answer := p.backend.Heartbeat(from, h)
	answer.Node, answer.Leaving, answer.Sent = p.transport.Self(), false, time.Now()
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "no heartbeat", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body)
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, frameBuffer) }}

func (p *Peers) serveObjects(w http.ResponseWriter, r *http.Request) {
	data, ok := readBody(w, r, maxWantsBody)
	if !ok {
		return
	}
	folder, err := id.ParseFolder(r.URL.Query().Get("folder"))
	if err != nil {
		http.Error(w, "no folder", http.StatusBadRequest)
		return
	}
	want, err := decodeWants(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := p.counters(folder)
	c.received.Add(uint64(len(data)) + requestOverhead)
	c.sent.Add(requestOverhead)

	out := writers.Get().(*bufio.Writer)
	defer func() { out.Reset(nil); writers.Put(out) }()
	q := r.URL.Query()
	rate, _ := strconv.ParseInt(q.Get(rateQuery), 10, 64) // what is no number is not known
	a := &answer{p: p, ctx: r.Context(), out: out, c: c, soon: q.Has(soonQuery), rate: rate, paced: paced{w, p.up, r.Context()}}
	out.Reset(a.paced)
	for i := range want {
		// A member that is removed in mid-answer gets no more.
		if r.Context().Err() != nil || !p.transport.IsMember(caller(r)) {
			panic(http.ErrAbortHandler)
		}
		if err := a.next(i, want[i]); err != nil {
			panic(http.ErrAbortHandler) // the other side sees a cut stream, not an end
		}
	}
	if out.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// answer is one answer to a request for objects.
type answer struct {
	p     *Peers
	ctx   context.Context
	out   *bufio.Writer // to paced
	c     *counters
	soon  bool  // the other side knows frameSoon and frameWait
	rate  int64 // bytes a second that it gets from here, 0: not known
	paced paced
}

// next sends an object. Under a limit few answers send at a time, in turns, so that
// no one of them is silent for long; who waits for its turn hears so.
func (a *answer) next(i int, w Want) error {
	up := a.p.up
	if up == nil {
		return a.send(i, w)
	}
	for !up.turn(a.ctx) {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if a.soon {
			if _, err := a.out.Write(frame{state: frameWait}.append(nil)); err != nil {
				return err
			}
		}
		if err := a.out.Flush(); err != nil {
			return err
		}
	}
	defer up.turns.Release(1)
	if err := a.send(i, w); err != nil {
		return err
	}
	return a.out.Flush()
}

// send writes one frame.
func (a *answer) send(index int, w Want) error {
	p, ctx, out, c := a.p, a.ctx, a.out, a.c
	data, zstd, err := p.backend.Object(ctx, w.Kind, w.ID)
	f := frame{state: frameRaw, index: index, size: len(data)}
	switch {
	case errors.Is(err, ErrSoon) && a.soon:
		f.state, data = frameSoon, nil
	case errors.Is(err, chunks.ErrMissing), errors.Is(err, ErrSoon):
		f.state, data = frameMissing, nil
	case err != nil || len(data) == 0 || len(data) > MaxObject:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.log.Warn("object not served", "kind", w.Kind, "object", w.ID, "bytes", len(data), "err", err)
		f.state, data = frameFailed, nil
	case zstd:
		f.state = frameZstd
	default:
		// Packs hold what compresses well compressed, files do not.
		if less, ok := p.shrinker.shrink(data, p.up != nil, a.rate); ok {
			f.state, data = frameZstd, less
		}
	}
	f.size = len(data)
	if _, err := out.Write(f.append(out.AvailableBuffer())); err != nil {
		return err
	}
	if _, err := out.Write(data); err != nil {
		return err
	}
	c.sent.Add(uint64(frameHead + len(data)))
	if data != nil {
		c.objectsOut.Add(1)
	}
	return nil
}
