package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// maxLocations bounds how many files are tried for one chunk.
const maxLocations = 16

// Get returns object d, verified, in buf if that has the room. It asks the packs,
// then the files that are known to hold it; a place whose bytes are not the
// object is forgotten. ErrMissing: nothing here has it.
func (s *Store) Get(ctx context.Context, d id.Digest, k Kind, buf []byte) ([]byte, error) {
	return s.get(ctx, key{k, d}, buf, s.openLocation)
}

// Raw returns object d in a form that Decode reads: as it is stored, compressed
// or not. Packed bytes are only checked against their checksum, since the other
// side verifies them; bytes from a file are verified.
func (s *Store) Raw(ctx context.Context, d id.Digest, k Kind) (data []byte, zstd bool, err error) {
	ky := key{k, d}
	if n, ok := zeroChunks()[d]; ok && k == Chunk {
		data, zstd = compress(nil, make([]byte, n))
		return data, zstd, nil
	}
	p, ok, err := s.lookup(ky)
	if err != nil {
		return nil, false, err
	}
	if ok {
		if data, err = s.readPayload(ky, p, nil); err == nil {
			return data, p.zstd(), nil
		}
	}
	// Get reports and forgets the bad place, and tries the files.
	data, err = s.Get(ctx, d, k, nil)
	return data, false, err
}

// Has reports for each chunk whether a place of it is known here. The bytes are
// not looked at.
func (s *Store) Has(ids []id.Digest) []bool { return s.HasKind(Chunk, ids) }

// HasKind is Has for objects of kind k.
func (s *Store) HasKind(k Kind, ids []id.Digest) []bool {
	out := make([]bool, len(ids))
	for i, d := range ids {
		out[i] = s.has(key{k, d})
	}
	return out
}

func (s *Store) has(k key) bool {
	if _, ok := zeroChunks()[k.id]; ok && k.kind == Chunk {
		return true
	}
	if _, ok, err := s.lookup(k); ok || err != nil {
		return ok
	}
	if k.kind != Chunk {
		return false
	}
	c := scratches.Get().(*scratch)
	defer scratches.Put(c)
	it, err := c.locations(s.kv, k.id)
	if err != nil {
		return false
	}
	ok := it.Next()
	return it.Close() == nil && ok
}

// lookup finds the place of an object in the packs.
func (s *Store) lookup(k key) (place, bool, error) {
	s.mu.RLock()
	p, ok := s.fresh[k]
	if !ok {
		p, ok = s.syncing[k]
	}
	if !ok {
		p, ok = s.recent[k]
	}
	s.mu.RUnlock()
	if ok {
		return p, true, nil
	}
	c := scratches.Get().(*scratch)
	defer scratches.Put(c)
	c.key = appendPackKey(c.key[:0], k)
	v, ok, err := s.kv.Read(c.key, c.value)
	if err != nil || !ok {
		return place{}, false, err
	}
	c.value = v
	p, err = decodePlace(k.kind, v)
	if err != nil {
		s.log.Error("chunk index", "object", k.id, "error", err)
		s.dropRow(packKey(k), v)
		return place{}, false, nil
	}
	return p, true, nil
}

func (s *Store) get(ctx context.Context, k key, buf []byte, open openFunc) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if n, ok := zeroChunks()[k.id]; ok && k.kind == Chunk {
		b := grow(buf, n)
		clear(b)
		return b, nil
	}
	p, ok, err := s.lookup(k)
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", k.kind, k.id.Short(), err)
	}
	var why error
	if ok {
		b, err := s.readPlace(k, p, buf)
		if err == nil {
			return b, nil
		}
		s.badPlace(k, p, err)
		why = err
	}
	if k.kind == Chunk {
		b, err := s.readLocations(k.id, buf, open)
		if err == nil {
			return b, nil
		}
		why = errors.Join(why, err)
	}
	return nil, &MissingError{Kind: k.kind, ID: k.id, Err: why}
}

// payloads are buffers for compressed payloads.
var payloads = sync.Pool{New: func() any { return new([]byte) }}

// readPlace reads and verifies an object from a pack.
func (s *Store) readPlace(k key, p place, buf []byte) ([]byte, error) {
	if !p.zstd() {
		data, err := s.readPayload(k, p, buf)
		if err != nil {
			return nil, err
		}
		return data, Verify(k.kind, k.id, data)
	}
	tmp := payloads.Get().(*[]byte)
	defer payloads.Put(tmp)
	data, err := s.readPayload(k, p, *tmp)
	if err != nil {
		return nil, err
	}
	*tmp = data
	return Decode(k.kind, k.id, data, true, int(p.raw), grow(buf, int(p.raw)))
}

// readPayload reads the record at p and checks that it is object k's and that
// its payload is sound. The result is in buf if that has the room.
func (s *Store) readPayload(k key, p place, buf []byte) ([]byte, error) {
	h, err := s.read.acquire(p.pack)
	if err != nil {
		return nil, fmt.Errorf("open pack %q: %w", packName(p.pack), err)
	}
	defer s.read.release(h)
	f := h.f
	c := scratches.Get().(*scratch)
	defer scratches.Put(c)
	hdr := &c.header
	if err := pack.ReadFull(f, hdr[:], int64(p.off)); err != nil {
		return nil, fmt.Errorf("read pack %q: %w", packName(p.pack), err)
	}
	rec, err := pack.ParseRecord(hdr[:], maxLen)
	if err != nil || rec.ID != k.id || Kind(rec.Kind) != k.kind || rec.Stored != p.stored || rec.Raw != p.raw || rec.Flags != p.flags {
		return nil, fmt.Errorf("pack %q at %d: %w: not the record that the index says", packName(p.pack), p.off, ErrCorrupt)
	}
	data := grow(buf, int(p.stored))
	if err := pack.ReadFull(f, data, int64(p.off)+pack.RecordHeaderLen); err != nil {
		return nil, fmt.Errorf("read pack %q: %w", packName(p.pack), err)
	}
	if err := rec.CheckPayload(data); err != nil {
		return nil, fmt.Errorf("pack %q at %d: %w: %w", packName(p.pack), p.off, ErrCorrupt, err)
	}
	return data, nil
}

// gone reports whether err says that the bytes are not there for good, rather
// than that they could not be read now.
func gone(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF)
}

// badPlace forgets a place whose bytes are not the object, so that good ones are
// stored when they come. After a mere read error it is kept.
func (s *Store) badPlace(k key, p place, err error) {
	s.log.Error("stored object cannot be used", "kind", k.kind, "id", k.id, "error", err)
	s.known.forget(k)
	if !gone(err) {
		return
	}
	s.mu.Lock()
	if s.fresh[k] == p {
		delete(s.fresh, k)
	}
	delete(s.recent, k)
	s.mu.Unlock()
	s.dropRow(packKey(k), p.encode())
}

// dropRow deletes an index row while it says what.
func (s *Store) dropRow(row, what []byte) {
	s.rowMu.Lock()
	defer s.rowMu.Unlock()
	v, ok, err := s.kv.Get(row)
	if err != nil || !ok || string(v) != string(what) {
		return
	}
	b := s.kv.NewBatch()
	b.Delete(row)
	if err := b.Commit(false); err != nil {
		s.log.Error("drop index row", "error", err)
	}
}

// openFunc opens a located file; done is called after its use.
type openFunc func(file uint64) (r io.ReaderAt, done func(), err error)

func (s *Store) openLocation(file uint64) (io.ReaderAt, func(), error) {
	if s.o.Files == nil {
		return nil, nil, errors.New("no files can be opened")
	}
	f, err := s.o.Files.OpenLocation(file)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil // read only: nothing to lose
}

// location is one place of a chunk in a file.
type location struct {
	file uint64
	Row
}

// locations lists the files that may hold chunk d.
func (s *Store) locations(d id.Digest) (out []location, err error) {
	c := scratches.Get().(*scratch)
	defer scratches.Put(c)
	it, err := c.locations(s.kv, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for len(out) < maxLocations && it.Next() {
		file, r, err := decodeLocation(it.Key(), it.Value())
		if err != nil {
			s.log.Error("chunk index", "object", d, "error", err)
			continue
		}
		out = append(out, location{file, r})
	}
	return out, nil
}

func (s *Store) readLocations(d id.Digest, buf []byte, open openFunc) ([]byte, error) {
	locs, err := s.locations(d)
	if err != nil {
		return nil, err
	}
	var why error
	for _, l := range locs {
		b, err := s.readLocation(l, buf, open)
		if err == nil {
			return b, nil
		}
		why = err
	}
	if why == nil {
		why = errNowhere
	}
	return nil, why
}

var errNowhere = errors.New("no place is known")

// readLocation reads and verifies a chunk in a file, and forgets the location
// where the file is gone or holds other bytes now.
func (s *Store) readLocation(l location, buf []byte, open openFunc) ([]byte, error) {
	r, done, err := open(l.file)
	if err == nil {
		b := grow(buf, l.Len)
		if err = pack.ReadFull(r, b, l.Offset); err == nil {
			err = Verify(Chunk, l.ID, b)
		}
		done()
		if err == nil {
			return b, nil
		}
	}
	if gone(err) {
		s.dropRow(locationKey(l.ID, l.file, l.Offset), lengthValue(l.Len))
	}
	return nil, fmt.Errorf("file %d at %d: %w", l.file, l.Offset, err)
}

// grow returns n bytes, in buf if that has the room.
func grow(buf []byte, n int) []byte {
	if cap(buf) >= n {
		return buf[:n]
	}
	return make([]byte, n)
}
