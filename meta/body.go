package meta

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// MaxPart is the largest part of a body in bytes. Entries over 512 KiB starve
	// Raft's heartbeats.
	MaxPart = 256<<10 - 512
	// MaxParts bounds a body. Incompressible commands of MaxCommand bytes fit.
	MaxParts = MaxCommand/MaxPart + 2
	// MaxEntry is the largest log entry in bytes.
	MaxEntry = 256 << 10
)

// A body's bytes, its parts put together, are: bodyVersion, a compression byte,
// then the (compressed) command.
const (
	bodyVersion = 1
	bodyPlain   = 0
	bodyZstd    = 1
	// smallBody: below it zstd rarely gains, for hashes do not shrink.
	smallBody = 512
)

// EncodeCommand encodes c. ErrTooLarge: split it.
func EncodeCommand(c Command) (Body, error) {
	raw, err := encodeCommand(c)
	if err != nil {
		return Body{}, err
	}
	if len(raw) > MaxCommand {
		return Body{}, fmt.Errorf("encode command of %d bytes: %w (at most %d)", len(raw), ErrTooLarge, MaxCommand)
	}
	all := append([]byte{bodyVersion, bodyPlain}, raw...)
	if len(raw) >= smallBody {
		if z := compress(raw); len(z) < len(raw) {
			all = append([]byte{bodyVersion, bodyZstd}, z...)
		}
	}
	return newBody(all), nil
}

func newBody(all []byte) Body {
	b := Body{Hash: id.Sum(all)}
	for len(all) > MaxPart {
		b.Parts, all = append(b.Parts, all[:MaxPart:MaxPart]), all[MaxPart:]
	}
	b.Parts = append(b.Parts, all)
	return b
}

// Command decodes the body. It verifies the hash.
func (b Body) Command() (Command, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	return decodeBody(b.bytes())
}

// Size is the sum of the parts in bytes.
func (b Body) Size() (n int) {
	for _, p := range b.Parts {
		n += len(p)
	}
	return n
}

func (b Body) bytes() []byte {
	if len(b.Parts) == 1 {
		return b.Parts[0]
	}
	all := make([]byte, 0, b.Size())
	for _, p := range b.Parts {
		all = append(all, p...)
	}
	return all
}

// check verifies the sizes and the hash.
func (b Body) check() error {
	if len(b.Parts) == 0 || len(b.Parts) > MaxParts {
		return fmt.Errorf("%w: body of %d parts", ErrDamaged, len(b.Parts))
	}
	h := blake3.New()
	for i, p := range b.Parts {
		if len(p) == 0 || len(p) > MaxPart || i < len(b.Parts)-1 && len(p) != MaxPart {
			return fmt.Errorf("%w: body part of %d bytes", ErrDamaged, len(p))
		}
		_, _ = h.Write(p)
	}
	if id.Digest(h.Sum(nil)) != b.Hash {
		return fmt.Errorf("%w: body's hash", ErrDamaged)
	}
	return nil
}

// Marshal returns the bytes that UnmarshalBody reads: the hash, then the parts
// put together.
func (b Body) Marshal() []byte {
	out := make([]byte, 0, len(b.Hash)+b.Size())
	out = append(out, b.Hash[:]...)
	for _, p := range b.Parts {
		out = append(out, p...)
	}
	return out
}

// UnmarshalBody reads what Marshal wrote and verifies sizes and hash. The parts
// share data.
func UnmarshalBody(data []byte) (Body, error) {
	const h = len(id.Digest{})
	if len(data) <= h || len(data) > h+MaxPart*MaxParts {
		return Body{}, fmt.Errorf("%w: body of %d bytes", ErrDamaged, len(data))
	}
	b := newBody(data[h:])
	if b.Hash != id.Digest(data[:h]) {
		return Body{}, fmt.Errorf("%w: body's hash", ErrDamaged)
	}
	return b, nil
}

func decodeBody(all []byte) (Command, error) {
	if len(all) < 4 {
		return nil, fmt.Errorf("%w: body of %d bytes", ErrDamaged, len(all))
	}
	if all[0] != bodyVersion {
		return nil, fmt.Errorf("body version %d: %w", all[0], ErrNewer)
	}
	raw := all[2:]
	switch all[1] {
	case bodyPlain:
		if len(raw) > MaxCommand {
			return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(raw))
		}
	case bodyZstd:
		var err error
		if raw, err = decompress(raw); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("body compression %d: %w", all[1], ErrNewer)
	}
	return decodeCommand(raw)
}

// A log entry is a fixed header and one part of a body:
//
//	version 1 · node 32 · session 16 · lane 16 · sequence 8 · time 8 · hash 32 ·
//	part 2 · parts 2 · data
//
// integers big-endian, the time in nanoseconds since 1970.
const (
	entryVersion = 1
	entryHeader  = 1 + 32 + 16 + 16 + 8 + 8 + 32 + 2 + 2
)

// logEntry is one decoded log entry.
type logEntry struct {
	env         Envelope
	time        int64
	hash        id.Digest
	part, parts int
	data        []byte
}

func (e logEntry) encode() []byte {
	b := make([]byte, 0, entryHeader+len(e.data))
	b = append(b, entryVersion)
	b = append(b, e.env.Node[:]...)
	b = append(b, e.env.Session[:]...)
	b = append(b, e.env.Lane[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.env.Sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(e.time))
	b = append(b, e.hash[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(e.part))
	b = binary.BigEndian.AppendUint16(b, uint16(e.parts))
	return append(b, e.data...)
}

func decodeLogEntry(b []byte) (e logEntry, err error) {
	if len(b) == 0 {
		return e, fmt.Errorf("%w: empty log entry", ErrDamaged)
	}
	if b[0] != entryVersion {
		return e, fmt.Errorf("log entry version %d: %w", b[0], ErrNewer)
	}
	if len(b) <= entryHeader || len(b) > entryHeader+MaxPart {
		return e, fmt.Errorf("%w: log entry of %d bytes", ErrDamaged, len(b))
	}
	r := b[1:]
	take := func(dst []byte) { copy(dst, r); r = r[len(dst):] }
	take(e.env.Node[:])
	take(e.env.Session[:])
	take(e.env.Lane[:])
	e.env.Sequence = id.Sequence(binary.BigEndian.Uint64(r))
	e.time = int64(binary.BigEndian.Uint64(r[8:]))
	r = r[16:]
	take(e.hash[:])
	e.part = int(binary.BigEndian.Uint16(r))
	e.parts = int(binary.BigEndian.Uint16(r[2:]))
	e.data = r[4:]
	if e.parts == 0 || e.parts > MaxParts || e.part >= e.parts {
		return e, fmt.Errorf("%w: log entry part %d of %d", ErrDamaged, e.part, e.parts)
	}
	return e, nil
}

// LogEntries returns what a leader appends to its log for a proposal: one entry
// a part, to be appended in their order. now is the leader's clock. It decodes
// the body, so that nothing enters the log that would stop every node.
func LogEntries(env Envelope, body Body, now time.Time) ([][]byte, error) {
	c, err := body.Command()
	if err != nil {
		return nil, fmt.Errorf("proposal %s of node %s: %w", env.Sequence, env.Node.Short(), err)
	}
	level := uint32(0)
	switch c := c.(type) {
	case FeatureCmd:
		level = c.Level
	case ClusterCmd:
		level = c.Level
	}
	if level > FeatureLevel {
		return nil, fmt.Errorf("feature level %d: %w", level, ErrNewer)
	}
	e := logEntry{env: env, time: now.UnixNano(), hash: body.Hash, parts: len(body.Parts)}
	out := make([][]byte, len(body.Parts))
	for i, p := range body.Parts {
		e.part, e.data = i, p
		out[i] = e.encode()
	}
	return out, nil
}
