package control

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

const (
	// blockRate is the blocked time in nanoseconds that is sampled once on average:
	// everything that waits 10 us is seen, and taking a profile hardly slows the daemon.
	blockRate = 10_000
	// mutexFraction is which share of contended unlocks is seen: all, for they are few.
	mutexFraction = 1
	// waitSeconds is how long block and mutex profiles are taken, if the request does
	// not say.
	waitSeconds = "10"
)

// recording counts the requests for which the runtime records where goroutines wait.
// Otherwise it does not: it costs each goroutine that blocks.
type recording struct {
	set func(on bool)

	mu sync.Mutex // guards n
	n  int
}

var (
	blocked   = &recording{set: func(on bool) { runtime.SetBlockProfileRate(pick(on, blockRate)) }}
	contended = &recording{set: func(on bool) { runtime.SetMutexProfileFraction(pick(on, mutexFraction)) }}
)

func pick(on bool, n int) int {
	if on {
		return n
	}
	return 0
}

func (r *recording) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.n > 0
	r.n += n
	if now := r.n > 0; now != before {
		r.set(now)
	}
}

// profileRoutes serve what the runtime tells of itself. Profiles of some seconds hold
// what happened in them.
func (s *Server) profileRoutes() {
	s.mux.HandleFunc("GET /v1/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = r.URL.Path[len("/v1"):] // pprof.Index insists on its own prefix
		pprof.Index(w, r)
	})
	s.mux.HandleFunc("GET /v1/debug/pprof/block", recorded("block", blocked))
	s.mux.HandleFunc("GET /v1/debug/pprof/mutex", recorded("mutex", contended))
	s.mux.HandleFunc("GET /v1/debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("GET /v1/debug/pprof/trace", pprof.Trace)
	s.mux.HandleFunc("GET /v1/debug/pprof/cmdline", pprof.Cmdline)
	s.mux.HandleFunc("GET /v1/debug/pprof/symbol", pprof.Symbol)
}

// recorded serves a profile for which the runtime records as long as the request takes.
func recorded(name string, rec *recording) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("seconds") == "" {
			q.Set("seconds", waitSeconds)
			r.URL.RawQuery = q.Encode()
		}
		rec.add(1)
		defer rec.add(-1)
		pprof.Handler(name).ServeHTTP(w, r)
	}
}
