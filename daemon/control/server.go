package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// waitGrace is how much longer than its own timeout a wait may take before its
	// context ends.
	waitGrace = 5 * time.Second
	// shutdownGrace is how long requests under way may go on when the node stops.
	shutdownGrace = 2 * time.Second
)

// Server serves a Service to the programs of this machine.
type Server struct {
	svc Service
	log *slog.Logger
	mux *http.ServeMux
}

// NewServer makes a server. It serves nothing before Run.
func NewServer(svc Service, log *slog.Logger) *Server {
	s := &Server{svc: svc, log: log, mux: http.NewServeMux()}
	s.routes()
	return s
}

// Run serves l until ctx ends, then closes it, lets requests under way end for a
// short while and cuts off the rest. It returns when all have ended.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var g errgroup.Group
	stop := make(chan struct{})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-stop:
		}
		grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
		return nil
	})
	err := srv.Serve(l)
	close(stop)
	g.Wait()
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve the control socket: %w", err)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) routes() {
	s.mux.HandleFunc("POST /v1/status", plain(s, s.svc.Status))
	s.mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.svc.Status(r.Context(), StatusRequest{})
		s.reply(w, v, err)
	})
	s.mux.HandleFunc("POST /v1/folder/add", plain(s, s.svc.FolderAdd))
	s.mux.HandleFunc("POST /v1/folder/rm", plain(s, s.svc.FolderRemove))
	s.mux.HandleFunc("POST /v1/folder/forget", plain(s, s.svc.FolderForget))
	s.mux.HandleFunc("POST /v1/folder/set", plain(s, s.svc.FolderSet))
	s.mux.HandleFunc("POST /v1/folder/pause", plain(s, s.svc.FolderPause))
	s.mux.HandleFunc("POST /v1/folder/move", plain(s, s.svc.FolderMove))
	s.mux.HandleFunc("POST /v1/folder/allow", plain(s, s.svc.FolderAllow))
	s.mux.HandleFunc("POST /v1/folder/revert", plain(s, s.svc.FolderRevert))
	s.mux.HandleFunc("GET /v1/folder", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.svc.Folders(r.Context())
		s.reply(w, nonNil(v), err)
	})
	s.mux.HandleFunc("GET /v1/node", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.svc.Nodes(r.Context())
		s.reply(w, nonNil(v), err)
	})
	s.mux.HandleFunc("POST /v1/node/rm", plain(s, func(ctx context.Context, r NodeRemoveRequest) (NodeRemoveResult, error) {
		v, err := s.svc.NodeRemove(ctx, r)
		v.Only, v.History = nonNil(v.Only), nonNil(v.History)
		return v, err
	}))
	s.mux.HandleFunc("POST /v1/node/role", plain(s, s.svc.NodeRole))
	s.mux.HandleFunc("POST /v1/node/lead", plain(s, s.svc.NodeLead))
	s.mux.HandleFunc("POST /v1/invite", plain(s, s.svc.Invite))
	s.mux.HandleFunc("POST /v1/wait", plain(s, s.wait))
	s.mux.HandleFunc("POST /v1/log", stream(s, s.svc.Log))
	s.mux.HandleFunc("POST /v1/rollback", stream(s, s.svc.Rollback))
	s.mux.HandleFunc("POST /v1/conflicts", stream(s,
		func(ctx context.Context, r ConflictsRequest, emit func(Conflict) error) (struct{}, error) {
			return struct{}{}, s.svc.Conflicts(ctx, r, emit)
		}))
	s.mux.HandleFunc("POST /v1/conflicts/show", plain(s, s.svc.ConflictShow))
	s.mux.HandleFunc("POST /v1/conflicts/resolve", s.resolve)
	s.mux.HandleFunc("POST /v1/ignored", s.ignored())
	s.mux.HandleFunc("POST /v1/cat", s.cat)
	s.mux.HandleFunc("POST /v1/why", plain(s, s.why))
	s.mux.HandleFunc("POST /v1/events", s.events)
	s.mux.HandleFunc("POST /v1/doctor", plain(s, s.doctor))
	s.historyRoutes()

	s.mux.HandleFunc("GET /v1/debug/trace", s.trace)
	s.profileRoutes()

	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, Errorf(CodeUsage, "the daemon knows no request %s %s", r.Method, r.URL.Path).
			WithHint("are the command and the daemon of the same version?"))
	})
}

// plain serves a method with one request and one response.
func plain[Req, Resp any](s *Server, do func(context.Context, Req) (Resp, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, ok := decode[Req](s, w, r)
		if !ok {
			return
		}
		v, err := do(r.Context(), req)
		s.reply(w, v, err)
	}
}

// stream serves a method that emits a list and ends with a result.
func stream[Req, Item, Resp any](s *Server, do func(context.Context, Req, func(Item) error) (Resp, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, ok := decode[Req](s, w, r)
		if !ok {
			return
		}
		out := newStreamWriter(w)
		res, err := do(r.Context(), req, func(it Item) error { return out.item(it) })
		if err != nil && out.n == 0 {
			s.fail(w, err) // nothing is out yet: a plain error
			return
		}
		out.finish(res, err)
	}
}

func (s *Server) wait(ctx context.Context, r WaitRequest) (WaitResult, error) {
	if r.Timeout <= 0 {
		return WaitResult{}, Errorf(CodeUsage, "wait: timeout %s: want more than nothing", r.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout+waitGrace)
	defer cancel()
	v, err := s.svc.Wait(ctx, r)
	v.Folders, v.Dropped, v.Warnings = nonNil(v.Folders), nonNil(v.Dropped), nonNil(v.Warnings)
	return v, err
}

// cat streams a version's bytes: CatInfo in a header, the outcome in a trailer.
func (s *Server) cat(w http.ResponseWriter, r *http.Request) {
	req, ok := decode[CatRequest](s, w, r)
	if !ok {
		return
	}
	var sent *countingWriter
	var want int64
	err := s.svc.Cat(r.Context(), req, func(info CatInfo) io.Writer {
		want = info.Size
		raw, _ := json.Marshal(info) // no value in it can fail
		h := w.Header()
		h.Set("Content-Type", typeBytes)
		h.Set(catInfoHeader, asciiJSON(raw))
		h.Set("Trailer", catResultTrailer)
		w.WriteHeader(http.StatusOK)
		sent = &countingWriter{w: w}
		return sent
	})
	if sent == nil {
		if err == nil {
			err = errors.New("cat: the node found nothing and gave no error")
		}
		s.fail(w, err)
		return
	}
	if err == nil && sent.n != want {
		err = fmt.Errorf("cat: the node sent %d bytes of %d", sent.n, want)
	}
	result := "ok"
	if err != nil {
		raw, _ := json.Marshal(asError(err))
		result = asciiJSON(raw)
	}
	w.Header().Set(catResultTrailer, result)
}

func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t := Target{Folder: q.Get("folder")}
	if t.Folder != "" {
		t.Rel = RawPath(q.Get("path"))
	} else {
		t.Local = RawPath(q.Get("path"))
	}
	v, err := s.svc.Trace(r.Context(), TraceRequest{Target: t})
	s.reply(w, nonNil(v), err)
}

func (s *Server) reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		s.fail(w, err)
		return
	}
	if st, ok := v.(Status); ok {
		v = normal(st)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Write(raw) // the client has gone if this fails
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	e := asError(err)
	raw, _ := json.Marshal(e)
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(httpStatus(e.Code))
	w.Write(raw)
}

// decode reads a request strictly: an unknown field is an error, for it means
// that the command is newer than the daemon and asks for what this one would not do.
func decode[Req any](s *Server, w http.ResponseWriter, r *http.Request) (req Req, ok bool) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		s.fail(w, Errorf(CodeUsage, "decode request %s: %w", r.URL.Path, err))
		return req, false
	}
	return req, true
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// normal replaces nil lists by empty ones: JSON lists are arrays, never null.
func normal(st Status) Status {
	st.Cluster.Nodes = nonNil(st.Cluster.Nodes)
	st.Folders, st.Elsewhere = nonNil(st.Folders), nonNil(st.Elsewhere)
	for i := range st.Folders {
		f := &st.Folders[i]
		f.Blocked, f.Held, f.Nodes, f.Sources = nonNil(f.Blocked), nonNil(f.Held), nonNil(f.Nodes), nonNil(f.Sources)
		f.Kept = nonNil(f.Kept)
		f.Summary = Summarize(*f, st.Cluster, time.Now())
	}
	return st
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// asciiJSON escapes what is not ASCII, for HTTP headers hold nothing else.
func asciiJSON(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for _, r := range string(raw) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return string(out)
}
