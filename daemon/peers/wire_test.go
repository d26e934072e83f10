package peers

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestWantsGolden(t *testing.T) {
	t.Parallel()
	got := encodeWants([]Want{{Kind: chunks.Chunk, ID: id.Digest{1, 2}}, {Kind: chunks.Node, ID: id.Digest{3}}})
	want := append([]byte{0, 2, 1, 1, 2}, make([]byte, 30)...)
	want = append(append(want, 2, 3), make([]byte, 31)...)
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if f := (frame{state: frameZstd, index: 258, size: 1 << 20}).append(nil); !bytes.Equal(f, []byte{2, 1, 2, 0, 16, 0, 0}) {
		t.Errorf("frame %x", f)
	}
}

func TestProposalRoundTrip(t *testing.T) {
	t.Parallel()
	body, err := meta.EncodeCommand(meta.RollbackCmd{Folder: id.Folder{4}, Target: 5, Message: "back"})
	if err != nil {
		t.Fatal(err)
	}
	env := meta.Envelope{Node: id.Node{1}, Session: id.Session{2}, Lane: id.Folder{4}, Sequence: 1 << 40}
	gotEnv, gotBody, err := decodeProposal(encodeProposal(env, body))
	if err != nil || gotEnv != env || !reflect.DeepEqual(gotBody, body) {
		t.Errorf("got %+v, %+v, %v", gotEnv, gotBody, err)
	}
}

func drawOutcome(t *rapid.T) meta.Outcome {
	digest := rapid.SliceOfN(rapid.Byte(), 32, 32)
	hash := rapid.SliceOfN(rapid.Byte(), 8, 8)
	path := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) id.Path { return id.Path(b) })
	o := meta.Outcome{
		Sequence: id.Sequence(rapid.Uint64().Draw(t, "sequence")),
		Entry:    id.Digest(digest.Draw(t, "entry")),
		Kind:     meta.OutcomeKind(rapid.Byte().Draw(t, "kind")),
		Reason:   rapid.String().Draw(t, "reason"),
		Revision: id.Revision(rapid.Uint64().Draw(t, "revision")),
		Hash:     [8]byte(hash.Draw(t, "hash")),
	}
	if d := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "detail"); len(d) > 0 {
		o.Detail = d
	}
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		o.Changes = append(o.Changes, meta.ChangeOutcome{
			Proposed: path.Draw(t, "proposed"),
			Kind:     meta.OutcomeKind(rapid.Byte().Draw(t, "change kind")),
			Path:     path.Draw(t, "path"),
			Conflict: rapid.Uint64().Draw(t, "conflict"),
			Base: meta.Base{
				Own:      id.Sequence(rapid.Uint64().Draw(t, "own")),
				Revision: id.Revision(rapid.Uint64().Draw(t, "base")),
				Hash:     [8]byte(hash.Draw(t, "base hash")),
			},
		})
	}
	return o
}

// Every field of an outcome survives the way, paths that are not UTF-8 too.
func TestAnswerRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := drawOutcome(t)
		got, leader, err := decodeAnswer(encodeAnswer(o, id.Node{3}, nil))
		if err != nil || leader != (id.Node{3}) || !reflect.DeepEqual(got, o) {
			t.Fatalf("got %+v, %v, want %+v", got, err, o)
		}
	})
	if _, leader, err := decodeAnswer(encodeAnswer(meta.Outcome{}, id.Node{3}, ErrNotLeader)); !errors.Is(err, ErrNotLeader) || leader != (id.Node{3}) {
		t.Errorf("not leader: %v, %v", leader, err)
	}
	if _, _, err := decodeAnswer(encodeAnswer(meta.Outcome{}, id.Node{}, io.ErrClosedPipe)); !errors.Is(err, ErrProposal) || errors.Is(err, ErrNotLeader) {
		t.Errorf("unknown: %v", err)
	}
}

func FuzzDecodeWants(f *testing.F) {
	f.Add(encodeWants([]Want{{Kind: chunks.Chunk}}))
	f.Add([]byte{255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := decodeWants(b)
		if err != nil {
			return
		}
		if len(want) == 0 || len(want) > MaxBatch || !bytes.Equal(encodeWants(want), b) {
			t.Errorf("%d objects from %x", len(want), b)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		want := []Want{{Kind: chunks.Chunk, Len: 3}, {Kind: chunks.Node}, {Kind: chunks.Chunk}}
		r := bytes.NewReader(b)
		fr := newFrameReader(r, want)
		seen := 0
		for {
			h, err := fr.next()
			if err != nil {
				return
			}
			if seen++; seen > len(want) {
				t.Fatal("more frames than objects")
			}
			if h.size < 0 || h.size > want[h.index].Kind.MaxLen() {
				t.Fatalf("frame %+v", h)
			}
			if _, err := io.CopyN(io.Discard, r, int64(h.size)); err != nil {
				return
			}
		}
	})
}

func FuzzDecodeProposal(f *testing.F) {
	body, _ := meta.EncodeCommand(meta.RollbackCmd{Target: 1})
	f.Add(encodeProposal(meta.Envelope{Node: id.Node{1}}, body))
	f.Add(make([]byte, envelopeLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if env, body, err := decodeProposal(b); err == nil && !bytes.Equal(encodeProposal(env, body), b) {
			t.Error("two spellings of one proposal")
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add(encodeAnswer(meta.Outcome{Reason: "x", Changes: []meta.ChangeOutcome{{Proposed: "a"}}}, id.Node{1}, nil))
	f.Add(encodeAnswer(meta.Outcome{}, id.Node{1}, ErrNotLeader))
	f.Fuzz(func(t *testing.T, b []byte) { _, _, _ = decodeAnswer(b) })
}

func FuzzDecodeHeartbeat(f *testing.F) {
	f.Add([]byte(`{"node":"","version":"1","folders":[{"revision":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHeartbeat(id.Node{1}, b); err == nil && h.Node != (id.Node{1}) {
			t.Error("a node speaks for another")
		}
	})
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 4096, 4097, 65536, 65537, chunks.MaxChunk} {
		b := getBuffer(n)
		if len(*b) != n || cap(*b) < n || cap(*b) >= 2*max(n, 4096) {
			t.Errorf("getBuffer(%d): len %d, cap %d", n, len(*b), cap(*b))
		}
		putBuffer(b)
	}
}
