// Package cdc cuts bytes into chunks by their content: FastCDC with normalized
// chunking (Xia et al., "The Design of Fast Content Defined Chunking for Data
// Deduplication Based Storage Systems", IEEE TPDS 2020), two bytes a step.
//
// A cut depends on the 64 bytes before it and on the distance from the cut
// before, on nothing else; so equal bytes are cut equally on every node, and
// after an insertion the cuts fall into step again soon. All that decides a cut
// (table, masks, sizes, classes) is part of the format: a change makes every
// file's chunks new ones. Everything here is pure and safe for concurrent use.
package cdc

import (
	"bytes"
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// seed is the derive-key context that the gear table is drawn from. It may never
// change: see the package's comment.
const seed = "lockstep 2026 chunk gear table v1"

// window is how many bytes a gear hash of 64 bits sees.
const window = 64

// gear holds the table; gear2 the same shifted left once, for the first byte of
// a pair.
var gear, gear2 = tables()

func tables() (g, g2 [256]uint64) {
	h := blake3.NewDeriveKey(seed)
	var b [256 * 8]byte
	_, _ = h.Digest().Read(b[:]) // endless, never fails
	for i := range g {
		g[i] = binary.LittleEndian.Uint64(b[8*i:])
		g2[i] = g[i] << 1
	}
	return g, g2
}

// Class is one set of sizes. Get one from For.
type Class struct {
	// Min, Avg and Max are the sizes of chunks in bytes. Only the last chunk of a
	// file may be shorter than Min. In random data the mean is about Avg.
	Min, Avg, Max int
	// strict decides below Avg, loose above it: two bits more and two fewer than
	// log2(Avg), which gathers the sizes around Avg ("normalized", level 2).
	strict, loose uint64
}

// MaxChunk is the longest chunk of any class, in bytes.
const MaxChunk = 4 << 20

// largeFile is the size above which the class with few, large chunks is used: at
// 16 GiB a file has some 260,000 chunks of the small class. The classes are far
// apart since a file that grows past the border is cut anew.
const largeFile = 16 << 30

var (
	small = newClass(16)
	large = newClass(20)
)

// For returns the class for a file of size bytes: a pure function of the size, so
// that equal bytes are cut equally. Up to 16 GiB chunks are 16 to 256 KiB, 64 on
// average; above 256 KiB to 4 MiB, 1 MiB on average.
func For(size int64) Class {
	if size <= largeFile {
		return small
	}
	return large
}

// newClass makes the class with an average of 1<<bits. The masks test the bits
// below the topmost one, which see the most bytes; the topmost is left out since
// the first byte of a pair is tested shifted left once.
func newClass(bits int) Class {
	mask := func(n int) uint64 { return (1<<n - 1) << (63 - n) }
	return Class{
		Min: 1 << (bits - 2), Avg: 1 << bits, Max: 1 << (bits + 2),
		strict: mask(bits + 2), loose: mask(bits - 2),
	}
}

// Cut returns the length of the first chunk of b. b is the rest of the file or
// at least its next Max bytes. It returns 0 only for an empty b.
func (c Class) Cut(b []byte) int {
	if len(b) <= c.Min {
		return len(b)
	}
	if len(b) > c.Max {
		b = b[:c.Max]
	}
	if len(b) == c.Max && Zeros(b) {
		// A run of zeros never cuts (a test holds the table to that).
		return c.Max
	}
	var h uint64
	for _, x := range b[c.Min-window : c.Min] {
		h = h<<1 + gear[x]
	}
	mid := min(c.Avg, len(b))
	n, h := scan(b[c.Min:mid], h, c.strict)
	if n > 0 {
		return c.Min + n
	}
	n, _ = scan(b[mid:], h, c.loose)
	if n > 0 {
		return mid + n
	}
	return len(b)
}

// scan returns how many bytes of b it took until the hash of the window met the
// mask, 0 if it did nowhere, and the hash at the end.
func scan(b []byte, h, mask uint64) (int, uint64) {
	mask2 := mask << 1
	i := 0
	for ; i+1 < len(b); i += 2 {
		h = h<<2 + gear2[b[i]]
		if h&mask2 == 0 {
			return i + 1, h
		}
		h += gear[b[i+1]]
		if h&mask == 0 {
			return i + 2, h
		}
	}
	if i < len(b) {
		h = h<<1 + gear[b[i]]
		if h&mask == 0 {
			return i + 1, h
		}
	}
	return 0, h
}

// zeros is what Zeros compares with: the runtime's compare is the fastest.
var zeros [64 << 10]byte

// Zeros reports whether b is all zero bytes. It looks at the ends first, so other
// data costs next to nothing.
func Zeros(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != 0 || b[len(b)-1] != 0 || b[len(b)/2] != 0 {
		return false
	}
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
