package chunks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// Keys in the shared store, all below 'C'. Numbers in keys are big-endian, so
// that they sort; in values little-endian.
//
//	C p kind ID[32]               -> pack u32, offset u32, stored u32, raw u32, flags u8
//	C l ID[32] file u64 offset u64 -> length u32
//	C f file u64 offset u64        -> ID[32], length u32
//	C v                            -> version u8 = 1 of these rows
//	C k pack u32                   -> watermark u64: all records below it have rows
//
// Invariant: a C p row is written only after the fsync of the pack bytes that it
// names, in one batch with the watermark. So after any crash a row names durable
// bytes, and what has no row lies above a watermark, where Open finds it.
const (
	prefixPack     = "Cp"
	prefixLocation = "Cl"
	prefixFile     = "Cf"
	prefixMark     = "Ck"
	keyFormat      = "Cv"

	formatIndex = 1
)

// key names an object.
type key struct {
	kind Kind
	id   id.Digest
}

// place is where a pack holds an object.
type place struct {
	pack   uint32
	off    uint32
	stored uint32
	raw    uint32
	flags  uint8
}

func (p place) zstd() bool { return p.flags&pack.FlagZstd != 0 }

var errRow = errors.New("index row is malformed")

const placeLen = 17

func packKey(k key) []byte { return appendPackKey(make([]byte, 0, 35), k) }

func appendPackKey(b []byte, k key) []byte {
	b = append(b, prefixPack...)
	b = append(b, byte(k.kind))
	return append(b, k.id[:]...)
}

func (p place) encode() []byte {
	b := make([]byte, 0, placeLen)
	b = binary.LittleEndian.AppendUint32(b, p.pack)
	b = binary.LittleEndian.AppendUint32(b, p.off)
	b = binary.LittleEndian.AppendUint32(b, p.stored)
	b = binary.LittleEndian.AppendUint32(b, p.raw)
	return append(b, p.flags)
}

// decodePlace reads a row. Its lengths are bounded by the kind.
func decodePlace(k Kind, b []byte) (place, error) {
	if len(b) != placeLen {
		return place{}, fmt.Errorf("%w: pack row of %d bytes", errRow, len(b))
	}
	p := place{
		pack:   binary.LittleEndian.Uint32(b),
		off:    binary.LittleEndian.Uint32(b[4:]),
		stored: binary.LittleEndian.Uint32(b[8:]),
		raw:    binary.LittleEndian.Uint32(b[12:]),
		flags:  b[16],
	}
	if p.raw == 0 || int64(p.raw) > int64(k.MaxLen()) || p.stored > p.raw {
		return place{}, fmt.Errorf("%w: %d bytes stored as %d", errRow, p.raw, p.stored)
	}
	return p, nil
}

func appendLocationPrefix(b []byte, d id.Digest) []byte {
	return append(append(b, prefixLocation...), d[:]...)
}

// scratch is what a look-up needs for its time.
type scratch struct {
	key, end, value []byte
	header          [pack.RecordHeaderLen]byte
}

var scratches = sync.Pool{New: func() any {
	return &scratch{key: make([]byte, 0, 64), end: make([]byte, 0, 64), value: make([]byte, 0, 64)}
}}

// locations returns an iterator over the places in files of chunk d, which is to be
// closed before c is used again.
func (c *scratch) locations(db *kv.DB, d id.Digest) (*kv.Iter, error) {
	c.key = appendLocationPrefix(c.key[:0], d)
	// Behind all keys that go on with a file and an offset, as no file has this number.
	c.end = binary.BigEndian.AppendUint64(append(c.end[:0], c.key...), math.MaxUint64)
	return db.Iter(c.key, c.end)
}

func locationKey(d id.Digest, file uint64, off int64) []byte {
	b := make([]byte, 0, 50)
	b = append(b, prefixLocation...)
	b = append(b, d[:]...)
	b = binary.BigEndian.AppendUint64(b, file)
	return binary.BigEndian.AppendUint64(b, uint64(off))
}

func filePrefix(file uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixFile), file)
}

func fileKey(file uint64, off int64) []byte {
	return binary.BigEndian.AppendUint64(filePrefix(file), uint64(off))
}

func fileValue(r Row) []byte {
	b := make([]byte, 0, 36)
	b = append(b, r.ID[:]...)
	return binary.LittleEndian.AppendUint32(b, uint32(r.Len))
}

func lengthValue(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

// decodeLocation reads a C l row.
func decodeLocation(k, v []byte) (file uint64, r Row, err error) {
	if len(k) != 50 || len(v) != 4 {
		return 0, Row{}, fmt.Errorf("%w: location of %d and %d bytes", errRow, len(k), len(v))
	}
	file = binary.BigEndian.Uint64(k[34:])
	return file, Row{
		ID: id.Digest(k[2:34]), Offset: int64(binary.BigEndian.Uint64(k[42:])),
		Len: int(binary.LittleEndian.Uint32(v)),
	}.bounded(&err), err
}

// decodeFileRow reads a C f row.
func decodeFileRow(k, v []byte) (r Row, err error) {
	if len(k) != 18 || len(v) != 36 {
		return Row{}, fmt.Errorf("%w: file row of %d and %d bytes", errRow, len(k), len(v))
	}
	return Row{
		ID: id.Digest(v[:32]), Offset: int64(binary.BigEndian.Uint64(k[10:])),
		Len: int(binary.LittleEndian.Uint32(v[32:])),
	}.bounded(&err), err
}

func (r Row) bounded(err *error) Row {
	if r.Len < 1 || r.Len > MaxChunk || r.Offset < 0 {
		*err = fmt.Errorf("%w: chunk of %d bytes at %d", errRow, r.Len, r.Offset)
	}
	return r
}

func markKey(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte(prefixMark), n) }

func markValue(end int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(end)) }
