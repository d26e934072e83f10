package meta

import (
	"encoding/binary"
	"hash"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The hash chain's encoding is fixed for ever: it is what nodes compare to prove
// that their histories are equal. Integers are big-endian, texts behind their
// length in four bytes.
const (
	effectsDomain = "lockstep effects v1\x00"
	commitDomain  = "lockstep commit v1\x00"
)

// effects hashes the versions of one revision, added in path order.
type effects struct {
	h     hash.Hash
	buf   []byte
	count uint64
}

func newEffects() *effects {
	e := &effects{h: blake3.New()}
	_, _ = e.h.Write([]byte(effectsDomain))
	return e
}

func appendText[S ~string](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// add hashes one version: path, kind, mode, mtime, size, content, manifest,
// target, from, to.
func (e *effects) add(v Version) {
	b := appendText(e.buf[:0], v.Path)
	b = append(b, byte(v.Entry.Kind))
	b = binary.BigEndian.AppendUint32(b, v.Entry.Mode)
	b = appendUint64(b, uint64(v.Entry.MTime))
	b = appendUint64(b, uint64(v.Entry.Size))
	b = append(b, v.Entry.Content[:]...)
	b = append(b, v.Entry.Manifest[:]...)
	b = appendText(b, v.Entry.Target)
	b = appendText(b, v.From)
	b = appendText(b, v.To)
	e.buf = b
	e.count++
	_, _ = e.h.Write(b)
}

func (e *effects) sum() id.Digest { return id.Digest(e.h.Sum(nil)) }

// chainHash is H(r): previous is H(r-1), zero for the first revision.
func chainHash(previous id.Digest, c Commit) id.Digest {
	b := append([]byte(commitDomain), previous[:]...)
	b = append(b, c.Folder[:]...)
	b = appendUint64(b, uint64(c.Revision))
	b = appendUint64(b, uint64(nanos(c.Time)))
	b = append(b, c.Node[:]...)
	b = appendUint64(b, uint64(c.Sequence))
	b = append(b, byte(c.Origin))
	b = appendText(b, c.Message)
	b = appendUint64(b, uint64(c.Target))
	b = appendUint64(b, c.Changes)
	b = append(b, c.Effects[:]...)
	return id.Sum(b)
}
