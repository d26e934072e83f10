package chunks

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks/cdc"
)

// block is one stretch of a file on its way through the pipeline.
type block struct {
	buf  *[]byte
	data []byte // from the first byte not yet cut
	base int64  // its offset in the file
	old  int    // so many bytes at its begin were in the block before
	rows []Row  // the chunks that begin and end in data
	done chan struct{}
	uses atomic.Int32 // of buf: the content hash and the chunks
}

// pipeline ingests one large file. The caller's goroutine reads and cuts; one
// hashes the content in order; workers hash and pack chunks; one builds the
// manifest in order. A fixed number of blocks goes round.
type pipeline struct {
	s     *Store
	r     io.ReaderAt
	size  int64
	m     Mode
	class cdc.Class
	gauge gauge

	free    chan *[]byte
	content chan *block
	work    chan *block
	order   chan *block
}

func (s *Store) ingestLarge(ctx context.Context, r io.ReaderAt, size int64, m Mode, class cdc.Class) (File, error) {
	p := &pipeline{s: s, r: r, size: size, m: m, class: class}
	workers := min(s.o.Workers, maxWorkers)
	blocks, length := workers+3, blockBytes+p.class.Max
	if p.class.Max > 1<<20 {
		// Four blocks of 8 MiB would pass the bound, three do not.
		workers, blocks, length = min(workers, 2), 3, 2*MaxChunk
	}
	p.free = make(chan *[]byte, blocks)
	for range blocks {
		p.free <- getBuf(length)
	}
	p.content = make(chan *block, blocks)
	p.work = make(chan *block, blocks)
	// Blocks wait here without their buffers, so this bounds only rows.
	p.order = make(chan *block, 2*blocks)

	f := File{Size: size}
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return p.read(ctx) })
	eg.Go(func() error { p.hash(&f); return nil })
	for range workers {
		eg.Go(func() error { return p.pack(ctx) })
	}
	eg.Go(func() (err error) { f.Manifest, err = p.build(ctx); return err })
	err := eg.Wait()
	for range len(p.free) {
		putBuf(<-p.free)
	}
	if err != nil {
		return File{}, err
	}
	return f, nil
}

// read fills blocks, cuts them and sends them on. The bytes behind the last cut
// of a block begin the next one.
func (p *pipeline) read(ctx context.Context) error {
	defer close(p.content)
	defer close(p.work)
	defer close(p.order)
	var carry []byte // a copy: the block that it was in may be released meanwhile
	for off := int64(0); off < p.size; {
		var buf *[]byte
		select {
		case buf = <-p.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b := &block{buf: buf, base: off - int64(len(carry)), old: len(carry), done: make(chan struct{})}
		n := copy(*buf, carry)
		n += int(min(int64(len(*buf)-n), p.size-off))
		b.data = (*buf)[:n]
		if err := readBlock(p.r, b.data[b.old:], off); err != nil {
			return err
		}
		off = b.base + int64(n)
		at := p.cut(b, off == p.size)
		carry = append(carry[:0], b.data[at:]...)
		b.uses.Store(2)
		p.content <- b // never blocks: there are no more blocks than room
		p.work <- b
		select {
		case p.order <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// cut finds the chunks of b and returns where the last one ends.
func (p *pipeline) cut(b *block, last bool) int {
	at := 0
	for at < len(b.data) && (last || len(b.data)-at >= p.class.Max) {
		n := p.class.Cut(b.data[at:])
		b.rows = append(b.rows, Row{Offset: b.base + int64(at), Len: n})
		at += n
	}
	return at
}

func (p *pipeline) release(b *block) {
	if b.uses.Add(-1) == 0 {
		b.data = nil
		p.free <- b.buf
	}
}

// hash makes the content hash.
func (p *pipeline) hash(f *File) {
	h := fileHashers.Get().(*blake3.Hasher)
	defer fileHashers.Put(h)
	h.Reset()
	for b := range p.content {
		_, _ = h.Write(b.data[b.old:])
		p.release(b)
	}
	h.Sum(f.Content[:0])
}

// pack hashes chunks and packs them.
func (p *pipeline) pack(ctx context.Context) error {
	for b := range p.work {
		err := p.s.storeChunks(ctx, b.data, b.base, b.rows, p.m, &p.gauge)
		p.release(b)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		close(b.done)
	}
	return nil
}

// build makes the manifest and records locations.
func (p *pipeline) build(ctx context.Context) (root [32]byte, err error) {
	t := p.s.newTree(ctx)
	l := locator{s: p.s, file: p.m.File}
	defer l.discard()
	for b := range p.order {
		select {
		case <-b.done:
		case <-ctx.Done():
			return root, context.Cause(ctx)
		}
		for _, r := range b.rows {
			if err := t.add(r.ID, r.Len); err != nil {
				return root, err
			}
			if p.m.Locate {
				if err := l.add(r); err != nil {
					return root, err
				}
			}
		}
	}
	if ctx.Err() != nil {
		return root, context.Cause(ctx)
	}
	if err := l.flush(); err != nil {
		return root, err
	}
	return t.finish()
}
