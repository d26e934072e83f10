package chunks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
)

// syncGroup lets concurrent callers of Sync share one fsync.
type syncGroup struct {
	mu   sync.Mutex
	next *syncRound // what callers join; nil: nobody waits
	run  sync.Mutex // held by the round that runs
}

type syncRound struct {
	done    chan struct{} // closed when err is set
	err     error
	callers int // guarded by syncGroup.mu; for tests
}

// Sync makes durable everything that was added by calls that had returned
// before. Concurrent callers share one round. After it failed the store only
// reads: see ErrBroken. A caller whose ctx ends may leave while the round goes on.
func (s *Store) Sync(ctx context.Context) error {
	g := &s.group
	g.mu.Lock()
	r := g.next
	if r != nil {
		r.callers++
		g.mu.Unlock()
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r = &syncRound{done: make(chan struct{}), callers: 1}
	g.next = r
	g.mu.Unlock()

	g.run.Lock()
	g.mu.Lock()
	g.next = nil // later callers may have added what this round does not see
	g.mu.Unlock()
	r.err = s.syncRound()
	g.run.Unlock()
	close(r.done)
	return r.err
}

// dirtyPack is a pack with bytes below end that a round makes durable.
type dirtyPack struct {
	*packWriter
	end    int64
	sealed bool
}

// unsynced is what one round makes durable.
type unsynced struct {
	packs  []dirtyPack
	newDir bool // a pack was made
	rows   bool // location rows were written
}

// collect takes what is there now; fresh becomes syncing.
func (s *Store) collect() (u unsynced) {
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	for _, w := range s.app.sealed {
		u.packs = append(u.packs, dirtyPack{w, w.end, true})
	}
	if w := s.app.active; w != nil && w.end > w.synced {
		u.packs = append(u.packs, dirtyPack{w, w.end, false})
	}
	s.app.sealed = nil
	u.newDir, s.app.newDir = s.app.newDir, false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncing, s.fresh = s.fresh, make(map[key]place)
	u.rows, s.unsyncedRows = s.unsyncedRows, false
	return u
}

// syncRound makes durable what is there now: packs, their directory, then the
// index rows, in this order.
func (s *Store) syncRound() error {
	if err := s.writable(); err != nil {
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}
	u := s.collect()
	if len(u.packs) > 0 || u.rows || u.newDir {
		if err := s.persist(u); err != nil {
			return s.breakDown(err)
		}
	}
	s.mu.Lock()
	s.remember(s.syncing)
	s.syncing = nil
	s.mu.Unlock()
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	for _, p := range u.packs {
		p.synced = p.end
		if p.sealed {
			if err := p.f.Close(); err != nil {
				// It was synced; some systems report late write errors here.
				s.log.Warn("close pack", "pack", packName(p.n), "error", err)
			}
		}
	}
	return nil
}

// maxRecent bounds the places that are remembered after their rows were written, about
// 100 bytes each: what was just committed is what other nodes ask for now.
const maxRecent = 1 << 15

// remember keeps the places of the newest rounds. mu is held.
func (s *Store) remember(places map[key]place) {
	switch n := len(places); {
	case n == 0 || n > 2*maxRecent:
	case n+len(s.recent) > maxRecent:
		s.recent = places
	default:
		maps.Copy(s.recent, places)
	}
}

// Rest gives back the memory of what is only remembered: nothing is to be done for a
// while.
func (s *Store) Rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = make(map[key]place)
}

// persist does the writing of a round.
func (s *Store) persist(u unsynced) error {
	if err := failpoint.Hit("chunks.pack.written"); err != nil {
		return err
	}
	for _, p := range u.packs {
		if err := p.f.Sync(); err != nil {
			return fmt.Errorf("sync pack %q: %w", packName(p.n), err)
		}
	}
	if u.newDir {
		if err := s.o.fs.SyncDir(s.o.Dir); err != nil {
			return fmt.Errorf("sync directory %q: %w", s.o.Dir, err)
		}
	}
	if err := failpoint.Hit("chunks.pack.synced"); err != nil {
		return err
	}
	b := s.kv.NewBatch()
	for k, p := range s.syncing { // only the round that runs writes the map
		b.Set(packKey(k), p.encode())
	}
	for _, p := range u.packs {
		b.Set(markKey(p.n), markValue(p.end))
	}
	if u.rows {
		// An empty batch would not reach the log, nor sync what is in it already.
		b.Set([]byte(keyFormat), []byte{formatIndex})
	}
	// Pack rows need no sync of their own: Open finds what they would say behind
	// the watermark, which is in the same batch. Location rows have no other source.
	s.rowMu.Lock()
	err := b.Commit(u.rows)
	s.rowMu.Unlock()
	if err != nil {
		return fmt.Errorf("write chunk index: %w", err)
	}
	return failpoint.Hit("chunks.index.written")
}

// breakDown ends all writing: after a failed fsync the kernel may have dropped
// the bytes and will say that all is well next time. Objects stay readable.
func (s *Store) breakDown(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	s.log.Error("chunk store cannot write any more", "error", err)
	return fmt.Errorf("%w: %w", ErrBroken, err)
}
