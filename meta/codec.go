package meta

import (
	"errors"
	"fmt"
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
	p := packers.Get().(*packer)
	p.e.ResetBytes(&p.buf) // from its beginning
	if err := p.e.Encode(v); err != nil {
		panic(fmt.Sprintf("meta: encode %T: %v", v, err)) // wire structs always encode
	}
	out := append(make([]byte, 0, len(head)+len(p.buf)), head...)
	out = append(out, p.buf...)
	if cap(p.buf) <= keptBuffer {
		packers.Put(p)
	}
	return out
}

// keptBuffer is the largest buffer in bytes that waits for its next use.
const keptBuffer = 64 << 10

// packer is an encoder with the buffer that it writes to.
type packer struct {
	e   *codec.Encoder
	buf []byte
}

// packers and unpackers are encoders and strict decoders: a row takes longer to make
// one than to be encoded.
var (
	packers = sync.Pool{New: func() any {
		p := &packer{buf: make([]byte, 0, 512)}
		p.e = codec.NewEncoderBytes(&p.buf, msgpackHandle)
		return p
	}}
	unpackers = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, msgpackHandle) }}
)

// unpack decodes all of b into v, a pointer to a zero wire struct. ErrNewer: it has
// a field that v has not, and is whole otherwise.
func unpack(b []byte, v any) error {
	d := unpackers.Get().(*codec.Decoder)
	err := unpackWith(d, b, v)
	if err == nil {
		d.ResetBytes(nil) // holds on to nothing
		unpackers.Put(d)
		return nil
	}
	lenient := codec.NewDecoderBytes(nil, lenientHandle)
	if unpackWith(lenient, b, reflect.New(reflect.TypeOf(v).Elem()).Interface()) == nil {
		return fmt.Errorf("decode %T: unknown field: %w", v, ErrNewer)
	}
	return err
}

func unpackWith(d *codec.Decoder, b []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the codec panics on some damage
			err = fmt.Errorf("%w: decode %T: %v", ErrDamaged, v, r)
		}
	}()
	d.ResetBytes(b)
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
	// It gives out nothing over MaxCommand bytes, and takes no more by what a frame claims.
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(MaxCommand))
		if err != nil {
			panic("meta: zstd decoder: " + err.Error()) // constant options
		}
		return d
	})
)

// compress returns the zstd form of b.
func compress(b []byte) []byte { return zstdEncoder().EncodeAll(b, nil) }

// decompress reads the zstd frame in b, at most MaxCommand bytes of content.
func decompress(b []byte) ([]byte, error) {
	out, err := zstdDecoder().DecodeAll(b, nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, MaxCommand)
	case err != nil:
		return nil, fmt.Errorf("%w: zstd: %w", ErrDamaged, err)
	}
	return out, nil
}
