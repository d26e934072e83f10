package chunks

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/chunks/cdc"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// MaxChunk is the longest chunk in bytes.
	MaxChunk = cdc.MaxChunk
	// MaxNode is the longest manifest node in bytes.
	MaxNode = 64 << 10
)

// nodeContext separates manifest nodes from chunks: part of the format.
const nodeContext = "lockstep 2026 manifest node v1"

// A hasher is 11 KB, so they are reused.
var (
	nodeHashers = sync.Pool{New: func() any { return blake3.NewDeriveKey(nodeContext) }}
	fileHashers = sync.Pool{New: func() any { return blake3.New() }}
)

// Sum is the ID of data as an object of kind k, the zero digest for an unknown
// kind.
func Sum(k Kind, data []byte) (d id.Digest) {
	switch k {
	case Chunk:
		return id.Sum(data)
	case Node:
		h := nodeHashers.Get().(*blake3.Hasher)
		h.Reset()
		_, _ = h.Write(data)
		h.Sum(d[:0])
		nodeHashers.Put(h)
	}
	return d
}

// Verify reports ErrCorrupt where data is not object d.
func Verify(k Kind, d id.Digest, data []byte) error {
	if len(data) == 0 || len(data) > k.MaxLen() || Sum(k, data) != d {
		return fmt.Errorf("%s %s: %w: %d bytes of something else", k, d.Short(), ErrCorrupt, len(data))
	}
	return nil
}

// zeroChunks are the chunks that a run of zeros is cut into: the longest of each
// class. They are known everywhere and stored nowhere. Part of the format.
var zeroChunks = sync.OnceValue(func() map[id.Digest]int {
	m := make(map[id.Digest]int)
	for _, size := range []int64{0, 1 << 62} {
		n := cdc.For(size).Max
		m[id.Sum(make([]byte, n))] = n
	}
	return m
})

// zeroIDs is zeroChunks the other way round.
var zeroIDs = sync.OnceValue(func() map[int]id.Digest {
	m := make(map[int]id.Digest)
	for d, n := range zeroChunks() {
		m[n] = d
	}
	return m
})

// IsZero reports whether chunk d of n bytes is known to be all zeros, so that a
// hole will do. It knows the chunks that runs of zeros are cut into, not the
// shorter piece at a run's end.
func IsZero(d id.Digest, n int) bool { m, ok := zeroChunks()[d]; return ok && m == n }

// The coders are shared: EncodeAll and DecodeAll are safe for concurrent use and
// wait for one of GOMAXPROCS inner coders.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
			zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithWindowSize(256<<10), zstd.WithSingleSegment(true))
		if err != nil {
			panic(err) // fixed options: a bug
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(MaxChunk), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// minCompress is the length in bytes below which compression is not tried: the
// frame's own bytes eat what it could save.
const minCompress = 64

// compress appends the zstd form of data to dst and returns true where it is
// shorter by at least a sixteenth; otherwise it returns dst as it was.
func compress(dst, data []byte) ([]byte, bool) {
	if len(data) < minCompress {
		return dst, false
	}
	out := encoder().EncodeAll(data, dst)
	if len(out)-len(dst) > len(data)-len(data)/16 {
		return dst, false
	}
	return out, true
}

// Compress returns the stored form of data that Decode reads, where it is shorter by at
// least a sixteenth: for who sends what lies uncompressed in a file.
func Compress(data []byte) ([]byte, bool) { return compress(nil, data) }

const (
	// samplePieces of samplePiece bytes each, evenly spread, are looked at by Dense:
	// 2 KiB tell random bytes (1.00 +- 0.01 of what is expected) from all that shrinks.
	samplePieces = 16
	samplePiece  = 128
)

// Dense reports whether a sample of data has bytes spread as evenly as those of
// compressed, encrypted and random data are: Compress is then not worth a try. It takes
// a microsecond or two, compressing a chunk of text 300. Repeats of what is dense itself
// it does not see.
func Dense(data []byte) bool {
	const n = samplePieces * samplePiece
	if len(data) < 2*n {
		return false
	}
	var count [256]int
	step := (len(data) - samplePiece) / (samplePieces - 1)
	for i := range samplePieces {
		for _, b := range data[i*step : i*step+samplePiece] {
			count[b]++
		}
	}
	// Pairs of equal bytes: of even ones there are n*(n-1)/256. Up to 15 % more is
	// 7.8 bits a byte (Renyi's entropy, which Shannon's is not below).
	pairs := 0
	for _, c := range count {
		pairs += c * (c - 1)
	}
	return pairs*256 < n*(n-1)*115/100
}

// decompress appends the object of at most n bytes to dst. The result never
// grows past n, whatever the frame says.
func decompress(dst, data []byte, n int) ([]byte, error) {
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, len(dst)+n), dst...)
	}
	out, err := decoder().DecodeAll(data, dst[:len(dst):len(dst)+n])
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return dst[:len(out)], nil // with all its room, for the next one may be longer
}

// Decode undoes what Raw did and verifies: data is the stored form of object d,
// n its length where it is known, else 0. The result is in buf if that has the
// room, or in data itself when it was not compressed.
func Decode(k Kind, d id.Digest, data []byte, zstd bool, n int, buf []byte) ([]byte, error) {
	limit := k.MaxLen()
	if n < 0 || n > limit {
		return nil, fmt.Errorf("%s %s: %w: %d bytes long", k, d.Short(), ErrCorrupt, n)
	}
	if n == 0 {
		n = limit
	}
	if zstd {
		out, err := decompress(buf[:0], data, n)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", k, d.Short(), err)
		}
		data = out
	}
	return data, Verify(k, d, data)
}

// gauge decides whether compressing is worth a try: after four chunks of a file
// in a row that did not shrink, every eighth is tried.
type gauge struct{ misses, calls atomic.Uint32 }

func (g *gauge) try() bool {
	return g == nil || g.misses.Load() < 4 || g.calls.Add(1)%8 == 0
}

func (g *gauge) saw(shrunk bool) {
	if g == nil {
		return
	}
	if shrunk {
		g.misses.Store(0)
	} else {
		g.misses.Add(1)
	}
}
