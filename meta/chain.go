package meta

import (
	"encoding/binary"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The hash chain's encoding is fixed for ever: it is what nodes compare to prove
// that their histories are equal. Integers are big-endian, texts behind their
// length in four bytes.
const (
	effectsDomain = "lockstep effects v1\x00"
	recordsDomain = "lockstep records v1\x00"
	commitDomain  = "lockstep commit v1\x00"
)

// effects hashes the versions of one revision, added in path order.
type effects struct {
	h     *blake3.Hasher
	buf   []byte
	count uint64
}

// effectsPool holds effects that are summed: a hasher takes 10 KB.
var effectsPool = sync.Pool{New: func() any { return &effects{h: blake3.New()} }}

func newEffects() *effects {
	e := effectsPool.Get().(*effects)
	e.h.Reset()
	e.count = 0
	_, _ = e.h.Write([]byte(effectsDomain))
	return e
}

func appendText[S ~string](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// The bits of a version's flags in the digest. They are not those of its row.
const (
	hashMoved  = 1
	hashUnseen = 2
	hashCopied = 4
)

// add hashes one version: path, kind, mode, mtime, size, content, manifest,
// target, from, to, and the flags, for they decide later conflicts. A hidden version
// has kind absent with the fields of what lost.
func (e *effects) add(v *version) {
	h := v.held()
	b := appendText(e.buf[:0], v.Path)
	b = append(b, byte(v.Entry.Kind))
	b = binary.BigEndian.AppendUint32(b, h.Mode)
	b = appendUint64(b, uint64(h.MTime))
	b = appendUint64(b, uint64(h.Size))
	b = append(b, h.Content[:]...)
	b = append(b, h.Manifest[:]...)
	b = appendText(b, h.Target)
	b = appendText(b, v.From)
	b = appendText(b, v.To)
	var flags byte
	if v.moved {
		flags |= hashMoved
	}
	if v.unseen {
		flags |= hashUnseen
	}
	if v.copied {
		flags |= hashCopied
	}
	e.buf = append(b, flags)
	e.count++
	_, _ = e.h.Write(e.buf)
}

// sum returns the digest and the number of versions; e must not be used any more.
func (e *effects) sum() (sum id.Digest, count uint64) {
	e.buf = e.h.Sum(e.buf[:0])
	sum, count = id.Digest(e.buf), e.count
	effectsPool.Put(e)
	return sum, count
}

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
	b = append(b, c.Records[:]...)
	return id.Sum(b)
}

// recordsHash chains a conflict record, as it is made or resolved, to those before.
func recordsHash(previous id.Digest, x Conflict) id.Digest {
	b := append([]byte(recordsDomain), previous[:]...)
	b = appendUint64(b, x.Number)
	b = appendText(b, x.Path)
	b = appendText(b, x.CopyPath)
	b = append(b, byte(x.Kind), byte(x.State))
	for _, r := range []id.Revision{x.Base, x.Winner, x.Loser, x.ResolvedAt} {
		b = appendUint64(b, uint64(r))
	}
	for _, n := range []id.Node{x.WinnerNode, x.LoserNode, x.ResolvedBy} {
		b = append(b, n[:]...)
	}
	b = appendUint64(b, uint64(nanos(x.Time)))
	b = appendText(b, x.Resolution)
	if x.Hidden {
		b = append(b, 1)
	}
	return id.Sum(b)
}
