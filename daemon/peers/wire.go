package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// MaxBatch is the most objects that one request may ask for.
	MaxBatch = 256
	// MaxObject bounds an object's stored form in bytes.
	MaxObject = chunks.MaxChunk

	wantLen      = 1 + 32
	maxWantsBody = 2 + MaxBatch*wantLen
	frameHead    = 1 + 2 + 4
)

// The states of an object in an answer. The numbers are part of the protocol.
const (
	frameMissing byte = 0 // not here; no bytes
	frameRaw     byte = 1
	frameZstd    byte = 2
	frameFailed  byte = 3 // here, but it cannot be read now; no bytes
	// These only go to who asks with soonQuery.
	frameSoon byte = 4 // not here yet, but this node is getting it; no bytes
	frameWait byte = 5 // of no object, index and length 0: the next one takes time
)

// soonQuery is the query of a request whose sender knows frameSoon and frameWait.
const soonQuery = "soon"

// rateQuery is how fast objects come from the other node, in bytes a second, where that
// is known: it may compress what lies in its files, or not.
const rateQuery = "rate"

// errFrame is matched when another node's request or answer breaks the protocol.
var errFrame = errors.New("broken object stream")

// Want is one object to pull.
type Want struct {
	Kind chunks.Kind
	ID   id.Digest
	// Len is the object's length in bytes, 0 if it is not known.
	Len int
}

// need is how many bytes the object may have.
func (w Want) need() int {
	if w.Len > 0 {
		return w.Len
	}
	return w.Kind.MaxLen()
}

// encodeWants is the body of an objects request: a count in 2 bytes, and for each
// object its kind in 1 byte and its ID in 32.
func encodeWants(want []Want) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(want)*wantLen), uint16(len(want)))
	for _, w := range want {
		b = append(b, byte(w.Kind))
		b = append(b, w.ID[:]...)
	}
	return b
}

func decodeWants(b []byte) ([]Want, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: request of %d bytes", errFrame, len(b))
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n == 0 || n > MaxBatch || len(b) != n*wantLen {
		return nil, fmt.Errorf("%w: %d objects in %d bytes", errFrame, n, len(b))
	}
	want := make([]Want, n)
	for i := range want {
		want[i].Kind = chunks.Kind(b[0])
		copy(want[i].ID[:], b[1:wantLen])
		b = b[wantLen:]
		if want[i].Kind.MaxLen() == 0 {
			return nil, fmt.Errorf("%w: %s", errFrame, want[i].Kind)
		}
	}
	return want, nil
}

// frame is the head of one object in an answer: its state in 1 byte, its place
// in the request in 2, the number of bytes that follow in 4, big-endian.
type frame struct {
	state byte
	index int
	size  int
}

func (f frame) append(b []byte) []byte {
	b = append(b, f.state)
	b = binary.BigEndian.AppendUint16(b, uint16(f.index))
	return binary.BigEndian.AppendUint32(b, uint32(f.size))
}

// frameReader reads the heads of an answer and checks them against the request:
// each index once, lengths in bounds, no more frames than objects.
type frameReader struct {
	r    io.Reader
	want []Want
	seen [MaxBatch]bool
	left int
	head [frameHead]byte
}

func newFrameReader(r io.Reader, want []Want) *frameReader {
	return &frameReader{r: r, want: want, left: len(want)}
}

// next returns the next head; its bytes are then to be read from r. After the
// last one it returns io.EOF.
func (f *frameReader) next() (frame, error) {
	if f.left == 0 {
		return frame{}, io.EOF
	}
	h := frame{state: frameWait}
	for h == (frame{state: frameWait}) {
		b := &f.head
		if _, err := io.ReadFull(f.r, b[:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
		h = frame{state: b[0], index: int(binary.BigEndian.Uint16(b[1:])), size: int(binary.BigEndian.Uint32(b[3:]))}
	}
	if h.index >= len(f.want) || f.seen[h.index] {
		return frame{}, fmt.Errorf("%w: object %d of %d", errFrame, h.index, len(f.want))
	}
	w := f.want[h.index]
	ok := false
	switch h.state {
	case frameMissing, frameFailed, frameSoon:
		ok = h.size == 0
	case frameRaw:
		ok = h.size > 0 && h.size <= w.need() && (w.Len == 0 || h.size == w.Len)
	case frameZstd:
		ok = h.size > 0 && h.size <= w.Kind.MaxLen()
	}
	if !ok {
		return frame{}, fmt.Errorf("%w: %d bytes in state %d for a %s of %d", errFrame, h.size, h.state, w.Kind, w.Len)
	}
	f.seen[h.index] = true
	f.left--
	return h, nil
}
