// Package fields reads the binary rows and records that Lockstep keeps on the
// disk: fixed bytes, varints and length-prefixed text, one after the other.
package fields

import "encoding/binary"

// Reader takes fields off a slice. After the first that does not fit, it is bad
// and every read gives zero, so that a decoder reads to its end and asks once,
// with Done. The slices that it returns are parts of the one it was given.
// It is not safe for concurrent use.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader returns a reader of b.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Done reports whether every field was there and nothing is left.
func (r *Reader) Done() bool { return !r.bad && len(r.rest) == 0 }

// Bad reports whether a field was not there.
func (r *Reader) Bad() bool { return r.bad }

// Fail makes the reader bad: a field was there, but cannot be right.
func (r *Reader) Fail() { r.bad, r.rest = true, nil }

// Len is the number of bytes left: a bound for counts that were read.
func (r *Reader) Len() int { return len(r.rest) }

// Take reads n bytes, nil where they are not there.
func (r *Reader) Take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.Fail()
		return nil
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if v := r.Take(1); v != nil {
		return v[0]
	}
	return 0
}

// Copy reads as many bytes as dst has.
func (r *Reader) Copy(dst []byte) { copy(dst, r.Take(len(dst))) }

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Varint reads a signed varint.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Text reads a length, at most limit, and that many bytes.
func (r *Reader) Text(limit int) string {
	n := r.Uvarint()
	if n > uint64(limit) {
		r.Fail()
		return ""
	}
	return string(r.Take(int(n)))
}

// AppendText appends what Text reads.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
