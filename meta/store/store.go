// Package store keeps the replicated metadata on disk as generations: each is a
// whole key-value store in a directory of its own, and a small file CURRENT names
// the one that counts. See DESIGN.md.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-sync/lockstep/internal/kv"
)

// closeGrace is how long Close waits for holders. Longer means that a View was
// leaked; the store is then flushed and left open for the process's end, because
// closing it below a reader would crash that reader.
const closeGrace = 10 * time.Second

// ErrClosed is returned by every operation after Close.
var ErrClosed = errors.New("metadata store is closed")

// Options of Open. The zero value suits a real node.
type Options struct {
	// FS replaces the filesystem, for crash tests; nil is the real one.
	FS vfs.FS
	// CacheBytes and MemtableBytes are the key-value store's; 0 means its defaults.
	CacheBytes    int64
	MemtableBytes uint64
	// Log receives errors that have no caller; nil discards them.
	Log *slog.Logger
	// Fatal is told that a key-value store cannot go on: see kv.Options.
	Fatal func(error)

	// step is called between the steps of Open and Restore; an error stops there as
	// a crash would. For tests.
	step func(name string) error
}

// Store is the current generation and those that readers still hold. All methods
// are safe for concurrent use; Restore and Checkpoint exclude each other.
type Store struct {
	dir string
	fs  vfs.FS
	o   Options

	// swap serialises Restore, Checkpoint and Close. Lock order: swap, then mu.
	swap sync.Mutex
	// last is the highest generation number that this process has used, guarded by
	// swap. Never used twice: after a flip that failed CURRENT may name it.
	last uint64

	// mu guards what follows and the refs of every generation.
	mu     sync.Mutex
	cur    *generation
	closed bool
	// idle is closed and replaced whenever the last holder of a generation leaves.
	idle chan struct{}
	// live is the number of generations that are open.
	live int
}

// generation is one directory with its open key-value store.
type generation struct {
	number uint64
	db     *kv.DB
	refs   int
	// retired: a newer one took its place (or Close was called); the last holder
	// closes it, and removes its directory if drop is set.
	retired bool
	drop    bool
}

// Open opens the store in dir and makes it if there is none. What an earlier
// Restore left unfinished is removed.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, fs: o.FS, o: o, idle: make(chan struct{})}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if s.o.Log == nil {
		s.o.Log = slog.New(slog.DiscardHandler)
	}
	if s.o.step == nil {
		s.o.step = func(string) error { return nil }
	}
	number, err := s.locate()
	if err != nil {
		return nil, fmt.Errorf("open metadata store %q: %w", dir, err)
	}
	if err := s.sweep(number); err != nil {
		return nil, fmt.Errorf("open metadata store %q: %w", dir, err)
	}
	g, err := s.openGeneration(number)
	if err != nil {
		return nil, fmt.Errorf("open metadata store %q: %w", dir, err)
	}
	s.cur, s.last = g, number
	return s, nil
}

// openGeneration opens generation number's key-value store.
func (s *Store) openGeneration(number uint64) (*generation, error) {
	db, err := kv.Open(s.genPath(number), kv.Options{
		NoWAL:         true,
		CacheBytes:    s.o.CacheBytes,
		MemtableBytes: s.o.MemtableBytes,
		FS:            s.fs,
		Log:           s.o.Log,
		Fatal:         s.o.Fatal,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.live++
	s.mu.Unlock()
	return &generation{number: number, db: db}, nil
}

// Acquire returns the current generation's key-value store. It stays open and
// unchanged by Restore until release is called, once; release may be called from
// any goroutine. Acquire after Close is a bug and panics.
func (s *Store) Acquire() (db *kv.DB, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		panic("store: Acquire after Close")
	}
	g := s.cur
	g.refs++
	var once sync.Once
	return g.db, func() { once.Do(func() { s.release(g) }) }
}

func (s *Store) release(g *generation) {
	s.mu.Lock()
	g.refs--
	last := g.retired && g.refs == 0
	s.mu.Unlock()
	if last {
		if err := s.end(g); err != nil {
			s.o.Log.Error("close old generation of the metadata store", "generation", g.number, "error", err)
		}
	}
}

// retire marks g as no longer current and ends it if nobody holds it.
func (s *Store) retire(g *generation, drop bool) error {
	s.mu.Lock()
	g.retired, g.drop = true, drop
	last := g.refs == 0
	s.mu.Unlock()
	if last {
		return s.end(g)
	}
	return nil
}

// end closes g, which nobody holds, and removes its directory if it was replaced.
func (s *Store) end(g *generation) error {
	err := g.db.Close()
	if g.drop {
		err = errors.Join(err, s.removeGeneration(g.number))
	}
	s.mu.Lock()
	s.live--
	close(s.idle)
	s.idle = make(chan struct{})
	s.mu.Unlock()
	return err
}

// Flush makes everything committed so far durable.
func (s *Store) Flush() error {
	db, release, err := s.acquireOpen()
	if err != nil {
		return err
	}
	defer release()
	if err := db.Flush(); err != nil {
		return fmt.Errorf("flush metadata store: %w", err)
	}
	return nil
}

// Rest is Flush, and gives back the memory of what was cached: nothing is to be done for a
// while.
func (s *Store) Rest() error {
	db, release, err := s.acquireOpen()
	if err != nil {
		return err
	}
	defer release()
	if err := db.Rest(); err != nil {
		return fmt.Errorf("flush metadata store: %w", err)
	}
	return nil
}

// Checkpoint flushes and writes a consistent, durable copy of the store to dir, by
// hard links where it can. dir must not exist, its parent must. Batches committed
// while it runs may or may not be in the copy.
func (s *Store) Checkpoint(dir string) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	db, release, err := s.acquireOpen()
	if err != nil {
		return err
	}
	defer release()
	// Without a WAL a checkpoint holds only what was flushed.
	if err := db.Flush(); err != nil {
		return fmt.Errorf("flush metadata store: %w", err)
	}
	if err := db.Checkpoint(dir); err != nil {
		return fmt.Errorf("checkpoint metadata store to %q: %w", dir, err)
	}
	return nil
}

// acquireOpen is Acquire for callers that may come after Close.
func (s *Store) acquireOpen() (*kv.DB, func(), error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, nil, ErrClosed
	}
	db, release := s.Acquire()
	return db, release, nil
}

// Close flushes and closes the store after its holders have released it. If they
// do not within ten seconds it flushes, leaves the files open and returns an
// error: nothing is lost then.
func (s *Store) Close() error {
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	cur := s.cur
	s.mu.Unlock()

	ferr := cur.db.Flush()
	err := errors.Join(ferr, s.retire(cur, false))
	deadline := time.NewTimer(closeGrace)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		live, idle := s.live, s.idle
		s.mu.Unlock()
		if live == 0 {
			return err
		}
		select {
		case <-idle:
		case <-deadline.C:
			return errors.Join(err, fmt.Errorf("close metadata store: %d generations are still held", live))
		}
	}
}
