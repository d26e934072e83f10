package peers

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestGoldenFrames holds what goes over the wire. TLS guards it against damage;
// what is tested here is that a cut is never taken for the whole.
func TestGoldenFrames(t *testing.T) {
	t.Parallel()
	want := []Want{{Kind: chunks.Chunk, ID: id.Sum([]byte("a"))}, {Kind: chunks.Node, ID: id.Sum([]byte("b"))}, {Kind: chunks.Chunk, ID: id.Sum([]byte("c"))}, {Kind: chunks.Chunk}}
	frames := []frame{{frameZstd, 2, 1 << 16}, {frameMissing, 0, 0}, {frameRaw, 1, 300}, {frameFailed, 3, 0}}
	var heads []byte
	for _, f := range frames {
		heads = f.append(heads)
	}
	command := meta.RollbackCmd{Folder: id.Folder{4}, Target: 5, Message: "back"}
	body, err := meta.EncodeCommand(command)
	if err != nil {
		t.Fatal(err)
	}
	env := meta.Envelope{Node: id.Node{1}, Session: id.Session{2}, Lane: id.Folder{4}, Sequence: 1 << 40}
	out := meta.Outcome{Sequence: 9, Entry: id.Sum([]byte("e")), Kind: 1, Reason: "why", Revision: 300, Hash: [8]byte{1, 7: 8}, Detail: []byte{0xff},
		Changes: []meta.ChangeOutcome{{Proposed: "a\xff", Kind: 2, Path: "b", Conflict: 3, Base: meta.Base{Own: 4, Revision: 5, Hash: [8]byte{6}}}}}
	var lines []string
	for _, b := range [][]byte{encodeWants(want), heads, encodeProposal(env, body), encodeAnswer(out, id.Node{3}, nil), encodeAnswer(meta.Outcome{}, id.Node{3}, ErrNotLeader)} {
		lines = append(lines, hex.EncodeToString(b))
	}
	var stored [][]byte
	for line := range strings.Lines(golden.Text(t, "wire.golden", strings.Join(lines, "\n")+"\n")) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, b)
	}
	if got, err := decodeWants(stored[0]); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("wants: %+v, %v", got, err)
	}
	r := newFrameReader(bytes.NewReader(stored[1]), want)
	for _, f := range frames {
		if got, err := r.next(); err != nil || got != f {
			t.Errorf("frame: %+v, %v; want %+v", got, err, f)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("after the last frame: %v", err)
	}
	if e, b, err := decodeProposal(stored[2]); err != nil || e != env || !reflect.DeepEqual(b, body) {
		t.Errorf("proposal: %+v, %+v, %v", e, b, err)
	}
	if got, leader, err := decodeAnswer(stored[3]); err != nil || leader != (id.Node{3}) || !reflect.DeepEqual(got, out) {
		t.Errorf("answer: %+v, %v", got, err)
	}
	if _, leader, err := decodeAnswer(stored[4]); !errors.Is(err, ErrNotLeader) || leader != (id.Node{3}) {
		t.Errorf("not leader: %v, %v", leader, err)
	}
	for n := range stored[0] {
		if _, err := decodeWants(stored[0][:n]); !errors.Is(err, errFrame) {
			t.Errorf("wants cut to %d bytes: %v", n, err)
		}
	}
	for n := range stored[3] {
		if _, _, err := decodeAnswer(stored[3][:n]); err == nil {
			t.Errorf("answer cut to %d bytes and accepted", n)
		}
	}
}
