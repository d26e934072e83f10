package chunks

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/chunks/cdc"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// maxWorkers bounds the goroutines that hash one file, since each holds a block.
	maxWorkers = 4
	// blockBytes is how much of a file is read at once with the small class of
	// chunks: with up to 7 blocks of it and maxWorkers batches, an Ingest stays
	// under 32 MiB.
	blockBytes = 2 << 20
	// outBytes is when a worker writes the records it has collected.
	outBytes = 512 << 10
)

// Buffers of three sizes are pooled: small files, a chunk of the small class and
// a block.
var bufPools = [...]struct {
	size int
	pool sync.Pool
}{{size: 64 << 10}, {size: 256 << 10}, {size: blockBytes + 256<<10}, {size: 2 * MaxChunk}}

// getBuf returns a buffer of at least n bytes; give it back with putBuf.
func getBuf(n int) *[]byte {
	for i := range bufPools {
		if p := &bufPools[i]; n <= p.size {
			if b, ok := p.pool.Get().(*[]byte); ok {
				return b
			}
			b := make([]byte, p.size)
			return &b
		}
	}
	b := make([]byte, n)
	return &b
}

func putBuf(b *[]byte) {
	for i := range bufPools {
		if p := &bufPools[i]; len(*b) == p.size {
			p.pool.Put(b)
		}
	}
}

// Ingest reads the size bytes of r, cuts and hashes them, and keeps the chunks as
// m says; the manifest goes to the packs. It is readable at once and durable
// after Sync. Chunks that are stored are verified once a run and not stored
// again. Memory is bounded, below 32 MiB whatever the size; several may run at
// once. ErrChanged: r is shorter. Whether r changed while it was read is the
// caller's to find out. After an error nothing refers to what was stored.
func (s *Store) Ingest(ctx context.Context, r io.ReaderAt, size int64, m Mode) (File, error) {
	if err := s.writable(); err != nil {
		return File{}, err
	}
	if err := ctx.Err(); err != nil {
		return File{}, context.Cause(ctx)
	}
	switch {
	case size < 0:
		return File{}, fmt.Errorf("ingest %d bytes: negative size", size)
	case size == 0:
		return File{Content: id.Sum(nil)}, nil
	case size <= blockBytes:
		return s.ingestSmall(ctx, r, size, m)
	}
	return s.ingestLarge(ctx, r, size, m, cdc.For(size))
}

// ingestSmall handles a file of one block in the caller's goroutine.
func (s *Store) ingestSmall(ctx context.Context, r io.ReaderAt, size int64, m Mode) (File, error) {
	buf := getBuf(int(size))
	defer putBuf(buf)
	data := (*buf)[:size]
	if err := readBlock(r, data, 0); err != nil {
		return File{}, err
	}
	f := File{Size: size}
	class := cdc.For(size)
	n := class.Cut(data)
	if n == len(data) {
		f.Content = chunkID(data)
		if m.Locate {
			return f, s.AddLocations(m.File, []Row{{ID: f.Content, Len: n}})
		}
		return f, s.put(ctx, key{Chunk, f.Content}, data)
	}
	h := fileHashers.Get().(*blake3.Hasher)
	defer fileHashers.Put(h)
	h.Reset()
	_, _ = h.Write(data)
	h.Sum(f.Content[:0])

	var rows []Row
	for off := 0; off < len(data); off += n {
		n = class.Cut(data[off:])
		rows = append(rows, Row{Offset: int64(off), Len: n})
	}
	if err := s.storeChunks(ctx, data, 0, rows, m, nil); err != nil {
		return File{}, err
	}
	t := s.newTree(ctx)
	for _, r := range rows {
		if err := t.add(r.ID, r.Len); err != nil {
			return File{}, err
		}
	}
	var err error
	if f.Manifest, err = t.finish(); err != nil {
		return File{}, err
	}
	if m.Locate {
		return f, s.AddLocations(m.File, rows)
	}
	return f, nil
}

// newTree is a builder whose nodes go to the packs.
func (s *Store) newTree(ctx context.Context) *treeBuilder {
	return &treeBuilder{put: func(b []byte) (id.Digest, error) {
		d := Sum(Node, b)
		return d, s.put(ctx, key{Node, d}, b)
	}}
}

// chunkID is Sum(Chunk, b), quick for the longest runs of zeros.
func chunkID(b []byte) id.Digest {
	if d, ok := zeroIDs()[len(b)]; ok && cdc.Zeros(b) {
		return d
	}
	return id.Sum(b)
}

// storeChunks sets the IDs of rows, which lie in data, whose first byte is at
// offset base, and packs those that no pack holds unless m is Locate.
func (s *Store) storeChunks(ctx context.Context, data []byte, base int64, rows []Row, m Mode, g *gauge) error {
	b := getBatch()
	defer putBatch(b)
	for i := range rows {
		r := &rows[i]
		c := data[r.Offset-base:][:r.Len]
		r.ID = chunkID(c)
		if m.Locate {
			continue
		}
		k := key{Chunk, r.ID}
		if ok, err := s.stored(k); err != nil {
			return err
		} else if ok || b.has(k) {
			continue
		}
		b.add(k, c, g)
		if len(b.buf) >= outBytes {
			if err := s.flush(ctx, b); err != nil {
				return err
			}
		}
	}
	return s.flush(ctx, b)
}

// readBlock fills b from off.
func readBlock(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("%w: it ends at byte %d", ErrChanged, off+int64(n))
	}
	return fmt.Errorf("read at %d: %w", off, err)
}
