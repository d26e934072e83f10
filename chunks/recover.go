package chunks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// rowBatchBytes is when a batch of index rows is committed: it bounds memory.
const rowBatchBytes = 1 << 20

// recover brings the index up to date with the packs and decides where the next
// record goes. It runs before anything else uses the store.
func (s *Store) recover(ctx context.Context) error {
	numbers, err := s.packNumbers()
	if err != nil {
		return err
	}
	// A killed process may have left names that are not durable, the directory's
	// own among them; rows must not precede them.
	for _, dir := range []string{s.o.Dir, filepath.Dir(s.o.Dir)} {
		if err := s.o.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("sync directory %q: %w", dir, err)
		}
	}
	for i, n := range numbers {
		s.app.next = n + 1
		w, err := s.recoverPack(ctx, n)
		if err != nil {
			return fmt.Errorf("recover pack %q: %w", packName(n), err)
		}
		if w == nil {
			continue
		}
		if i == len(numbers)-1 && w.end < s.o.PackBytes {
			s.app.active = w
		} else if err := w.f.Close(); err != nil {
			return fmt.Errorf("close pack %q: %w", packName(n), err)
		}
	}
	return nil
}

func (s *Store) packNumbers() ([]uint32, error) {
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint32
	for _, e := range entries {
		if n, ok := parsePackName(e.Name()); ok {
			numbers = append(numbers, n)
		} else {
			s.log.Warn("unknown file beside the packs", "name", e.Name())
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// watermark returns below which offset all records of the pack have rows.
func (s *Store) watermark(n uint32) (int64, error) {
	v, ok, err := s.kv.Get(markKey(n))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: watermark of %d bytes", errRow, len(v))
	}
	return int64(binary.LittleEndian.Uint64(v)), nil
}

// recoverPack indexes what is above the watermark. It returns the pack opened
// for appending, or nil where it must not be appended to.
func (s *Store) recoverPack(ctx context.Context, n uint32) (w *packWriter, err error) {
	name := filepath.Join(s.o.Dir, packName(n))
	f, err := s.o.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if w == nil {
			err = errors.Join(err, f.Close())
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	mark, err := s.watermark(n)
	if err != nil {
		return nil, err
	}
	sound, err := s.checkPackHeader(f, n, size)
	if err != nil {
		return nil, err
	}
	if size < mark {
		s.log.Error("pack is shorter than what was synced", "pack", packName(n), "bytes", size, "synced", mark)
		return nil, s.setMark(n, size)
	}
	if sound && size == mark {
		return &packWriter{n: n, f: f, end: size, synced: size}, nil
	}
	res, err := s.indexPack(ctx, f, n, max(mark, pack.HeaderLen), size)
	if err != nil {
		return nil, err
	}
	if res.Damaged > 0 {
		s.log.Error("pack is damaged", "pack", packName(n), "places", res.Damaged)
	}
	if !sound {
		return nil, s.leaveHeadless(name, n, mark, res.End)
	}
	if res.End < size {
		s.log.Warn("cut a torn tail off a pack", "pack", packName(n), "bytes", size-res.End)
		if err := errors.Join(f.Truncate(res.End), f.Sync()); err != nil {
			return nil, err
		}
	}
	return &packWriter{n: n, f: f, end: res.End, synced: res.End}, nil
}

// checkPackHeader reports whether the header is sound. One of a newer version is
// an error, for this program must not touch such a store.
func (s *Store) checkPackHeader(f packFile, n uint32, size int64) (bool, error) {
	var b [pack.HeaderLen]byte
	if size < pack.HeaderLen {
		return false, nil
	}
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return false, err
	}
	got, err := pack.CheckHeader(b[:])
	if errors.Is(err, pack.ErrVersion) {
		return false, err
	}
	return err == nil && got == uint64(n), nil
}

// leaveHeadless deals with a pack whose header is bad. One that holds nothing is
// what a crash leaves of a pack just begun: it goes. Any other stays as it is.
func (s *Store) leaveHeadless(name string, n uint32, mark, end int64) error {
	if mark == 0 && end <= pack.HeaderLen {
		s.log.Warn("remove a pack that was never begun", "pack", packName(n))
		return s.o.fs.Remove(name)
	}
	s.log.Error("pack has a damaged header", "pack", packName(n))
	return nil
}

func (s *Store) setMark(n uint32, end int64) error {
	b := s.kv.NewBatch()
	b.Set(markKey(n), markValue(end))
	return b.Commit(false)
}

// indexPack makes rows for the sound records between from and size, after an
// fsync: a record that survived a killed process may not be on the disk yet. The
// watermark is moved last.
func (s *Store) indexPack(ctx context.Context, f packFile, n uint32, from, size int64) (pack.Result, error) {
	if err := f.Sync(); err != nil {
		return pack.Result{}, err
	}
	b := s.kv.NewBatch()
	defer func() { b.Discard() }()
	res, err := pack.Scan(f, from, size, maxLen, func(r pack.Found) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := key{Kind(r.Kind), r.ID}
		if r.Resync && s.verifyFound(k, r) != nil {
			return nil
		}
		p := place{pack: n, off: uint32(r.Offset), stored: r.Stored, raw: r.Raw, flags: r.Flags}
		b.Set(packKey(k), p.encode())
		if b.Len() < rowBatchBytes {
			return nil
		}
		var full *kv.Batch
		full, b = b, s.kv.NewBatch()
		return full.Commit(false)
	})
	if err != nil {
		return res, err
	}
	b.Set(markKey(n), markValue(res.End))
	full := b
	b = s.kv.NewBatch()
	return res, full.Commit(false)
}

func (s *Store) verifyFound(k key, r pack.Found) error {
	_, err := Decode(k.kind, k.id, r.Payload, r.Zstd(), int(r.Raw), nil)
	return err
}

// maxLen bounds records for the pack format.
func maxLen(kind uint8) int { return Kind(kind).MaxLen() }

// RebuildIndex makes the index anew from all packs: for an index that is lost or
// in doubt. Locations in files stay. Reads meanwhile may miss objects; nothing
// is written meanwhile, which the caller sees to.
func (s *Store) RebuildIndex(ctx context.Context) error {
	if err := s.Sync(ctx); err != nil {
		return err
	}
	numbers, err := s.packNumbers()
	if err != nil {
		return fmt.Errorf("rebuild chunk index: %w", err)
	}
	b := s.kv.NewBatch()
	b.DeleteRange([]byte(prefixPack), kv.PrefixEnd([]byte(prefixPack)))
	b.DeleteRange([]byte(prefixMark), kv.PrefixEnd([]byte(prefixMark)))
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("rebuild chunk index: %w", err)
	}
	for _, n := range numbers {
		if err := s.rebuildPack(ctx, n); err != nil {
			return fmt.Errorf("rebuild chunk index: pack %q: %w", packName(n), err)
		}
	}
	return nil
}

func (s *Store) rebuildPack(ctx context.Context, n uint32) (err error) {
	f, err := s.o.fs.Open(filepath.Join(s.o.Dir, packName(n)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if _, err := s.checkPackHeader(f, n, size); err != nil {
		return err
	}
	_, err = s.indexPack(ctx, f, n, pack.HeaderLen, size)
	return err
}
