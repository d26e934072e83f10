package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// locator writes location rows of one file in bounded batches.
type locator struct {
	s    *Store
	file uint64
	b    *kv.Batch
}

func (l *locator) add(r Row) error {
	if IsZero(r.ID, r.Len) {
		return nil // known everywhere
	}
	if l.b == nil {
		l.b = l.s.kv.NewBatch()
	}
	l.b.Set(fileKey(l.file, r.Offset), fileValue(r))
	l.b.Set(locationKey(r.ID, l.file, r.Offset), lengthValue(r.Len))
	if l.b.Len() >= rowBatchBytes {
		return l.flush()
	}
	return nil
}

func (l *locator) flush() error {
	if l.b == nil {
		return nil
	}
	b := l.b
	l.b = nil
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("record locations in file %d: %w", l.file, err)
	}
	l.s.mu.Lock()
	l.s.unsyncedRows = true
	l.s.mu.Unlock()
	return nil
}

func (l *locator) discard() {
	if l.b != nil {
		l.b.Discard()
	}
}

// AddLocations records that file number n holds these chunks. Rows that the file
// has stay; call DropFile first for a file that was replaced. Durable after Sync;
// it is a hint all the same, since every read is verified.
func (s *Store) AddLocations(n uint64, rows []Row) error {
	if err := s.writable(); err != nil {
		return err
	}
	l := locator{s: s, file: n}
	defer l.discard()
	for _, r := range rows {
		var err error
		if r.bounded(&err); err != nil {
			return err
		}
		if err := l.add(r); err != nil {
			return err
		}
	}
	return l.flush()
}

// AddFile records that file number n holds f, with bounded memory. The manifest
// must be here.
func (s *Store) AddFile(ctx context.Context, n uint64, f File) error {
	if err := s.writable(); err != nil {
		return err
	}
	l := locator{s: s, file: n}
	defer l.discard()
	for r, err := range s.Rows(ctx, f, nil) {
		if err != nil {
			return err
		}
		if err := l.add(r); err != nil {
			return err
		}
	}
	return l.flush()
}

// maxSingly is how many rows are deleted one by one. Each range makes every later read
// of the store slower until it is flushed: thousands of small files, removed at once,
// would take minutes.
const maxSingly = 64

// dropFileRows removes the rows of file n, whatever is in them.
func (s *Store) dropFileRows(b *kv.Batch, n uint64) (err error) {
	lo := filePrefix(n)
	it, err := s.kv.Iter(lo, kv.PrefixEnd(lo))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for i := 0; it.Next(); i++ {
		if i == maxSingly {
			b.DeleteRange(lo, kv.PrefixEnd(lo))
			return nil
		}
		b.Delete(slices.Clone(it.Key()))
	}
	return nil
}

// fileRows walks the locations recorded in file n, in order of their offset.
func (s *Store) fileRows(n uint64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		lo := filePrefix(n)
		it, err := s.kv.Iter(lo, kv.PrefixEnd(lo))
		if err != nil {
			yield(Row{}, err)
			return
		}
		for it.Next() {
			r, err := decodeFileRow(it.Key(), it.Value())
			if err != nil {
				s.log.Error("chunk index", "file", n, "error", err)
				continue
			}
			if !yield(r, nil) {
				_ = it.Close() // the consumer has its own error or enough
				return
			}
		}
		if err := it.Close(); err != nil {
			yield(Row{}, err)
		}
	}
}

// DropFile forgets all locations in file number n: the file is gone or was
// replaced. What only it held is then missing here: see Rescue.
func (s *Store) DropFile(n uint64) error {
	b := s.kv.NewBatch()
	defer func() { b.Discard() }()
	for r, err := range s.fileRows(n) {
		if err != nil {
			return fmt.Errorf("drop locations in file %d: %w", n, err)
		}
		b.Delete(locationKey(r.ID, n, r.Offset))
		if b.Len() >= rowBatchBytes {
			full := b
			b = s.kv.NewBatch()
			if err := full.Commit(false); err != nil {
				return fmt.Errorf("drop locations in file %d: %w", n, err)
			}
		}
	}
	if err := s.dropFileRows(b, n); err != nil {
		return fmt.Errorf("drop locations in file %d: %w", n, err)
	}
	full := b
	b = s.kv.NewBatch()
	if err := full.Commit(false); err != nil {
		return fmt.Errorf("drop locations in file %d: %w", n, err)
	}
	return nil
}

// DropFiles is DropFile for many files at once: their rows are deleted one by one,
// for thousands of deleted ranges would slow every read of the index down.
func (s *Store) DropFiles(ns []uint64) error {
	b := s.kv.NewBatch()
	defer func() { b.Discard() }()
	flush := func() error {
		full := b
		b = s.kv.NewBatch()
		if err := full.Commit(false); err != nil {
			return fmt.Errorf("drop locations in %d files: %w", len(ns), err)
		}
		return nil
	}
	for _, n := range ns {
		for r, err := range s.fileRows(n) {
			if err != nil {
				return fmt.Errorf("drop locations in file %d: %w", n, err)
			}
			b.Delete(locationKey(r.ID, n, r.Offset))
			b.Delete(fileKey(n, r.Offset))
			if b.Len() >= rowBatchBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// Retire is for a file that is about to go: Rescue, Sync and DropFile. Files that are
// being retired at the same time share a Sync, and do not rely on each other for a chunk
// that two of them hold. r is nil where nothing can be read any more.
func (s *Store) Retire(ctx context.Context, n uint64, r io.ReaderAt) error {
	s.mu.Lock()
	s.retiring[n]++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.retiring[n]--; s.retiring[n] == 0 {
			delete(s.retiring, n)
		}
	}()
	if r != nil {
		if err := s.Rescue(ctx, n, r); err != nil {
			return err
		}
		if err := s.Sync(ctx); err != nil {
			return err
		}
	}
	return s.DropFile(n)
}

// Rescue packs the chunks whose only sound place is file number n, read from r,
// before that file goes. Then Sync, then the file may go, then DropFile. Chunks
// that r no longer holds are left out and make the error ErrChanged; all others
// are packed. Memory is bounded.
func (s *Store) Rescue(ctx context.Context, n uint64, r io.ReaderAt) error {
	elsewhere := func(row Row) bool {
		locs, err := s.locations(row.ID)
		if err != nil {
			return false
		}
		for _, l := range locs {
			if l.file == n {
				continue
			}
			buf := getBuf(l.Len)
			_, err := s.readLocation(l, *buf, s.openLocation)
			putBuf(buf)
			if err == nil && s.stays(row.ID, l) {
				return true
			}
		}
		return false
	}
	if err := s.packRows(ctx, s.fileRows(n), r, elsewhere); err != nil {
		return fmt.Errorf("rescue chunks of file %d: %w", n, err)
	}
	return nil
}

// stays reports whether a place that was read is still one, in a file that is not about
// to go. The order matters: a file whose Retire has ended meanwhile has lost its rows
// before that.
func (s *Store) stays(d id.Digest, l location) bool {
	s.mu.RLock()
	retires := s.retiring[l.file] > 0
	s.mu.RUnlock()
	if retires {
		return false
	}
	_, ok, err := s.kv.Get(locationKey(d, l.file, l.Offset))
	return ok && err == nil
}

// PackFile packs every chunk of f that no pack holds, read from r, which holds
// f's bytes: what Ingest with Locate left undone. ErrChanged where r holds other
// bytes meanwhile; the chunks that it still holds are packed. Memory is bounded.
func (s *Store) PackFile(ctx context.Context, f File, r io.ReaderAt) error {
	if err := s.packRows(ctx, s.Rows(ctx, f, nil), r, nil); err != nil {
		return fmt.Errorf("pack file %s: %w", f.Content.Short(), err)
	}
	return nil
}

// packTask is about how many bytes one task of packRows reads.
const packTask = 1 << 20

// packRows packs the chunks of rows, read from r, unless a pack holds them or
// skip says so.
func (s *Store) packRows(ctx context.Context, rows iter.Seq2[Row, error], r io.ReaderAt, skip func(Row) bool) error {
	if err := s.writable(); err != nil {
		return err
	}
	var (
		g       gauge
		mu      sync.Mutex
		changed []id.Digest // the first few
		count   int
	)
	eg, gctx := errgroup.WithContext(ctx)
	eg.SetLimit(min(s.o.Workers, maxWorkers))
	start := func(task []Row) {
		eg.Go(func() error {
			return s.packTask(gctx, task, r, skip, &g, func(d id.Digest) {
				mu.Lock()
				defer mu.Unlock()
				if count++; len(changed) < 3 {
					changed = append(changed, d)
				}
			})
		})
	}
	var task []Row
	bytes := 0
	for row, err := range rows {
		if err != nil {
			return errors.Join(err, eg.Wait())
		}
		if gctx.Err() != nil {
			break
		}
		task = append(task, row)
		if bytes += row.Len; bytes >= packTask {
			start(task)
			task, bytes = nil, 0
		}
	}
	start(task)
	if err := eg.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil { // perhaps between two tasks, and the rest is not packed
		return context.Cause(ctx)
	}
	if count > 0 {
		return fmt.Errorf("%w: %d chunks, the first %v", ErrChanged, count, changed)
	}
	return nil
}

func (s *Store) packTask(ctx context.Context, rows []Row, r io.ReaderAt, skip func(Row) bool, g *gauge, changed func(id.Digest)) error {
	b := getBatch()
	defer putBatch(b)
	for _, row := range rows {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		k := key{Chunk, row.ID}
		if ok, err := s.stored(k); err != nil {
			return err
		} else if ok || b.has(k) || skip != nil && skip(row) {
			continue
		}
		buf := getBuf(row.Len)
		data := (*buf)[:row.Len]
		err := pack.ReadFull(r, data, row.Offset)
		if err == nil {
			err = Verify(Chunk, row.ID, data)
		}
		if err == nil {
			b.add(k, data, g)
		}
		putBuf(buf)
		switch {
		case gone(err):
			changed(row.ID)
		case err != nil:
			return fmt.Errorf("read chunk at %d: %w", row.Offset, err)
		}
		if len(b.buf) >= outBytes {
			if err := s.flush(ctx, b); err != nil {
				return err
			}
		}
	}
	return s.flush(ctx, b)
}
