package fetch

import (
	"context"
	"fmt"
	"sync"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// maxShared bounds the chunks that one generation of a Share knows: two of them
// are 16 GiB of a file's chunks, in about 20 MB.
const maxShared = 1 << 17

// Share lets other nodes have the chunks of files that are still being filled: the
// chunk store learns of them only when a file is in its place. It also knows what is
// being pulled, so that another node rather waits for it than pulls it as well.
// It is a hint in memory, bounded: it forgets the oldest. Safe for concurrent use;
// a nil Share shares nothing.
type Share struct {
	mu       sync.Mutex // guards all below, and Source.gone
	cur, old map[id.Digest]shared
	expected map[id.Digest]int
	sources  int
}

// shared is where a chunk lies.
type shared struct {
	src    *Source
	offset int64
	len    int
}

// Source is one file that is being filled or waits to be moved into its place.
type Source struct {
	share *Share
	open  func() (chunks.LocationFile, error)
	gone  bool
}

// NewShare returns an empty one.
func NewShare() *Share {
	return &Share{cur: make(map[id.Digest]shared), expected: make(map[id.Digest]int)}
}

// Source begins to share a file; open opens it for reading. The caller drops it when
// the file is no longer there, or is known by its location.
func (s *Share) Source(open func() (chunks.LocationFile, error)) *Source {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources++
	return &Source{share: s, open: open}
}

// Drop ends the sharing of a file. Nothing is opened afterwards.
func (src *Source) Drop() {
	if src == nil {
		return
	}
	s := src.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.gone {
		return
	}
	src.gone = true
	if s.sources--; s.sources == 0 {
		s.cur, s.old = make(map[id.Digest]shared), nil
	}
}

// add notes that the file holds a chunk.
func (src *Source) add(d id.Digest, offset int64, n int) {
	if src == nil {
		return
	}
	s := src.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.gone {
		return
	}
	if len(s.cur) >= maxShared {
		s.cur, s.old = make(map[id.Digest]shared), s.cur
	}
	s.cur[d] = shared{src, offset, n}
}

// find returns where a chunk lies.
func (s *Share) find(d id.Digest) (shared, bool) {
	if s == nil {
		return shared{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.cur[d]
	if !ok {
		at, ok = s.old[d]
	}
	return at, ok && !at.src.gone
}

// Get returns a chunk, verified. An error that matches chunks.ErrMissing says that it
// is not here.
func (s *Share) Get(ctx context.Context, d id.Digest) ([]byte, error) {
	at, ok := s.find(d)
	if !ok {
		return nil, &chunks.MissingError{Kind: chunks.Chunk, ID: d}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	f, err := at.src.open()
	if err == nil {
		data := make([]byte, at.len)
		err = pack.ReadFull(f, data, at.offset)
		_ = f.Close() // read only: nothing to lose
		if err == nil {
			err = chunks.Verify(chunks.Chunk, d, data)
		}
		if err == nil {
			return data, nil
		}
	}
	return nil, &chunks.MissingError{Kind: chunks.Chunk, ID: d, Err: fmt.Errorf("read a file that is being filled: %w", err)}
}

// Expects reports whether this node is getting a chunk, or has just got it.
func (s *Share) Expects(d id.Digest) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expected[d] > 0
}

// expect notes what is about to be pulled; the function that it returns ends that.
func (s *Share) expect(want []Want) (done func()) {
	if s == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range want {
		s.expected[w.ID]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range want {
			if s.expected[w.ID]--; s.expected[w.ID] <= 0 {
				delete(s.expected, w.ID)
			}
		}
	}
}
