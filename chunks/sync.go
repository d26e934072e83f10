package chunks

import (
	"context"
	"errors"
	"fmt"
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

// syncRound makes durable what is there now: packs, their directory, then the
// index rows, in this order.
func (s *Store) syncRound() error {
	if err := s.writable(); err != nil {
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}
	type dirty struct {
		*packWriter
		end    int64
		sealed bool
	}
	var packs []dirty
	s.app.mu.Lock()
	for _, w := range s.app.sealed {
		packs = append(packs, dirty{w, w.end, true})
	}
	if w := s.app.active; w != nil && w.end > w.synced {
		packs = append(packs, dirty{w, w.end, false})
	}
	s.app.sealed = nil
	newDir := s.app.newDir
	s.app.newDir = false
	s.mu.Lock()
	s.syncing, s.fresh = s.fresh, make(map[key]place)
	rows := s.unsyncedRows
	s.unsyncedRows = false
	s.mu.Unlock()
	s.app.mu.Unlock()
	if len(packs) == 0 && !rows && !newDir {
		s.mu.Lock()
		s.syncing = nil // empty: an object is only written with its pack
		s.mu.Unlock()
		return nil
	}

	if err := failpoint.Hit("chunks.pack.written"); err != nil {
		return s.breakDown(err)
	}
	for _, p := range packs {
		if err := p.f.Sync(); err != nil {
			return s.breakDown(fmt.Errorf("sync pack %q: %w", packName(p.n), err))
		}
	}
	if newDir {
		if err := s.o.fs.SyncDir(s.o.Dir); err != nil {
			return s.breakDown(fmt.Errorf("sync directory %q: %w", s.o.Dir, err))
		}
	}
	if err := failpoint.Hit("chunks.pack.synced"); err != nil {
		return s.breakDown(err)
	}
	b := s.kv.NewBatch()
	for k, p := range s.syncing { // only this round writes the map
		b.Set(packKey(k), p.encode())
	}
	for _, p := range packs {
		b.Set(markKey(p.n), markValue(p.end))
	}
	// Pack rows need no sync of their own: Open finds what they would say behind
	// the watermark, which is in the same batch. Location rows have no other source.
	if rows {
		// An empty batch would not reach the log, nor sync what is in it already.
		b.Set([]byte(keyFormat), []byte{formatIndex})
	}
	s.rowMu.Lock()
	err := b.Commit(rows)
	s.rowMu.Unlock()
	if err != nil {
		return s.breakDown(fmt.Errorf("write chunk index: %w", err))
	}
	if err := failpoint.Hit("chunks.index.written"); err != nil {
		return s.breakDown(err)
	}
	s.mu.Lock()
	s.syncing = nil
	s.mu.Unlock()
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	for _, p := range packs {
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

// breakDown ends all writing: after a failed fsync the kernel may have dropped
// the bytes and will say that all is well next time. Objects stay readable.
func (s *Store) breakDown(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	s.log.Error("chunk store cannot write any more", "error", err)
	return fmt.Errorf("%w: %w", ErrBroken, err)
}
