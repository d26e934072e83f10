package chunks

import (
	"context"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// batches are reused: their buffers grow to a few hundred KB.
var batches = sync.Pool{New: func() any { return new(batch) }}

// maxPooled is the largest buffer in bytes that goes back to a pool.
const maxPooled = 2 << 20

func getBatch() *batch { return batches.Get().(*batch) }

func putBatch(b *batch) {
	if cap(b.buf) <= maxPooled {
		b.reset()
		batches.Put(b)
	}
}

// Put verifies that data is object d and packs it unless a pack holds it. data
// stays the caller's. It is readable at once, durable after Sync.
func (s *Store) Put(ctx context.Context, k Kind, d id.Digest, data []byte) error {
	if err := Verify(k, d, data); err != nil {
		return err
	}
	return s.put(ctx, key{k, d}, data)
}

// PutNodes packs manifest nodes after checking that each is one, and returns
// their IDs.
func (s *Store) PutNodes(ctx context.Context, nodes [][]byte) ([]id.Digest, error) {
	ids := make([]id.Digest, len(nodes))
	b := getBatch()
	defer putBatch(b)
	for i, data := range nodes {
		if _, err := DecodeNode(data); err != nil {
			return nil, err
		}
		ids[i] = Sum(Node, data)
		k := key{Node, ids[i]}
		if ok, err := s.stored(k); err != nil {
			return nil, err
		} else if !ok && !b.has(k) {
			b.add(k, data, nil)
		}
		if len(b.buf) >= outBytes {
			if err := s.flush(ctx, b); err != nil {
				return nil, err
			}
		}
	}
	return ids, s.flush(ctx, b)
}

// put packs an object whose ID is known to be right.
func (s *Store) put(ctx context.Context, k key, data []byte) error {
	if ok, err := s.stored(k); ok || err != nil {
		return err
	}
	b := getBatch()
	defer putBatch(b)
	b.add(k, data, nil)
	return s.flush(ctx, b)
}

// stored reports whether a pack holds a sound copy of the object. A copy that
// this run has not written or seen is read and hashed before it is trusted; one
// that is bad is forgotten, so that the good bytes at hand get stored.
func (s *Store) stored(k key) (bool, error) {
	if _, ok := zeroChunks()[k.id]; ok && k.kind == Chunk {
		return true, nil
	}
	p, ok, err := s.lookup(k)
	if err != nil || !ok {
		return false, err
	}
	if s.known.has(k) {
		return true, nil
	}
	tmp := payloads.Get().(*[]byte)
	defer payloads.Put(tmp)
	data, err := s.readPlace(k, p, *tmp)
	if err != nil {
		s.badPlace(k, p, err)
		return false, nil
	}
	*tmp = data
	s.known.add(k)
	return true, nil
}
