package meta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/klauspost/compress/zstd"
)

// ErrNewer is returned for a command, entry or row whose version, kind or field
// this version of the program does not know. A node that meets it in the log
// stops: to skip it would let the nodes diverge in silence.
var ErrNewer = errors.New("made by a newer version of lockstep: upgrade this node")

// ErrDamaged is returned for bytes that no version can have made.
var ErrDamaged = errors.New("damaged")

// ErrTooLarge is returned for a command over MaxCommand bytes: split it.
var ErrTooLarge = errors.New("command too large")

// MaxCommand bounds an encoded command before compression: about 100,000 changes.
// It bounds what applying holds in memory; raising it needs a feature level.
const MaxCommand = 16 << 20

// msgpackHandle encodes structs as maps from the fields' short tags, which are
// only ever appended. Canonical, so that equal values give equal bytes;
// ErrorIfNoField, so that a field this version does not know is not dropped in
// silence. Times are int64 nanoseconds, never the codec's own time type.
var msgpackHandle = newHandle(true)

// lenientHandle tells an unknown field from damage: it decodes the rest.
var lenientHandle = newHandle(false)

func newHandle(strict bool) *codec.MsgpackHandle {
	h := new(codec.MsgpackHandle)
	h.Canonical = true
	h.TimeNotBuiltin = true
	h.WriteExt = true // strings and byte slices are told apart
	h.RawToString = false
	h.ErrorIfNoField = strict
	h.ErrorIfNoArrayExpand = true
	h.MaxInitLen = 1 << 12 // never allocate by what a length claims
	h.MaxDepth = 16
	return h
}

// pack encodes v, a pointer to a wire struct, behind head.
func pack(head []byte, v any) []byte {
	out := head
	var buf []byte
	if err := codec.NewEncoderBytes(&buf, msgpackHandle).Encode(v); err != nil {
		panic(fmt.Sprintf("meta: encode %T: %v", v, err)) // wire structs always encode
	}
	return append(out, buf...)
}

// unpack decodes all of b into v, a pointer to a zero wire struct. ErrNewer: it has
// a field that v has not, and is whole otherwise.
func unpack(b []byte, v any) error {
	err := unpackAs(b, v, msgpackHandle)
	if err != nil && unpackAs(b, reflect.New(reflect.TypeOf(v).Elem()).Interface(), lenientHandle) == nil {
		return fmt.Errorf("decode %T: unknown field: %w", v, ErrNewer)
	}
	return err
}

func unpackAs(b []byte, v any, h *codec.MsgpackHandle) (err error) {
	defer func() {
		if r := recover(); r != nil { // the codec panics on some damage
			err = fmt.Errorf("%w: decode %T: %v", ErrDamaged, v, r)
		}
	}()
	d := codec.NewDecoderBytes(b, h)
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: decode %T: %w", ErrDamaged, v, err)
	}
	if n := d.NumBytesRead(); n != len(b) {
		return fmt.Errorf("%w: decode %T: %d bytes after its end", ErrDamaged, v, len(b)-n)
	}
	return nil
}

// The codecs are safe for concurrent EncodeAll and DecodeAll, and made on first
// use: most programs that import this package never compress.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("meta: zstd encoder: " + err.Error()) // constant options
		}
		return e
	})
)

// compress returns the zstd form of b.
func compress(b []byte) []byte { return zstdEncoder().EncodeAll(b, nil) }

// decompress reads the zstd frame in b, at most limit bytes of content.
func decompress(b []byte, limit int) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(uint64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: zstd: %w", ErrDamaged, err)
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: zstd: %w", ErrDamaged, err)
	}
	if len(out) > limit {
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
	}
	return out, nil
}
