package raftnode

import (
	"context"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is how long the same raft error is kept quiet. raft reports an
// unreachable peer at every heartbeat; once a minute is enough to explain a log.
const repeatAfter = time.Minute

// everyday are raft's errors that are none: a node that is off, not up yet, or has gone.
// Who is online is for the links to say.
var everyday = map[string]bool{
	"failed to decode incoming command":       true,
	"failed to flush response":                true,
	"failed to appendEntries to":              true,
	"failed to heartbeat to":                  true,
	"failed to start pipeline replication to": true,
	"failed to pipeline appendEntries":        true,
	"failed to make requestVote RPC":          true,
}

// raftLogger passes raft's log on to slog, quiet at info: what raft calls info or
// warn describes its normal life (elections, absent peers) and goes to debug; its
// errors go to warn, each message at most once a minute, but for everyday ones.
type raftLogger struct {
	log  *slog.Logger
	name string
	seen *seenErrors
}

// seenErrors remembers when each message was last let through.
type seenErrors struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newRaftLogger(l *slog.Logger) *raftLogger {
	return &raftLogger{log: l, seen: &seenErrors{last: map[string]time.Time{}}}
}

// pass reports whether msg may be shown at warn now. raft's messages are constants,
// so the map stays small.
func (s *seenErrors) pass(msg string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.last[msg]; ok && now.Sub(last) < repeatAfter {
		return false
	}
	s.last[msg] = now
	return true
}

// Log implements hclog.Logger.
func (r *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Error && !everyday[msg] && r.seen.pass(msg, time.Now()) {
		to = slog.LevelWarn
	}
	if !r.log.Enabled(context.Background(), to) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = slog.AnyValue([]any(f[1:]))
		}
	}
	r.log.Log(context.Background(), to, "raft: "+msg, args...)
}

// Trace and the rest implement hclog.Logger.
func (r *raftLogger) Trace(msg string, args ...any) { r.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (r *raftLogger) Debug(msg string, args ...any) { r.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (r *raftLogger) Info(msg string, args ...any) { r.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (r *raftLogger) Warn(msg string, args ...any) { r.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (r *raftLogger) Error(msg string, args ...any) { r.Log(hclog.Error, msg, args...) }

func (r *raftLogger) debugOn() bool { return r.log.Enabled(context.Background(), slog.LevelDebug) }

// IsTrace implements hclog.Logger.
func (r *raftLogger) IsTrace() bool { return r.debugOn() }

// IsDebug implements hclog.Logger.
func (r *raftLogger) IsDebug() bool { return r.debugOn() }

// IsInfo implements hclog.Logger.
func (r *raftLogger) IsInfo() bool { return r.debugOn() }

// IsWarn implements hclog.Logger.
func (r *raftLogger) IsWarn() bool { return r.debugOn() }

// IsError implements hclog.Logger.
func (r *raftLogger) IsError() bool { return true }

// ImpliedArgs implements hclog.Logger.
func (r *raftLogger) ImpliedArgs() []any { return nil }

// With implements hclog.Logger.
func (r *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{log: r.log.With(args...), name: r.name, seen: r.seen}
}

// Name implements hclog.Logger.
func (r *raftLogger) Name() string { return r.name }

// Named implements hclog.Logger.
func (r *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{log: r.log, name: name, seen: r.seen}
}

// ResetNamed implements hclog.Logger.
func (r *raftLogger) ResetNamed(name string) hclog.Logger { return r.Named(name) }

// SetLevel implements hclog.Logger; the level is slog's.
func (r *raftLogger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (r *raftLogger) GetLevel() hclog.Level {
	if r.debugOn() {
		return hclog.Debug
	}
	return hclog.Error
}

// StandardLogger implements hclog.Logger.
func (r *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)
}

// StandardWriter implements hclog.Logger.
func (r *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return r.StandardLogger(nil).Writer()
}
