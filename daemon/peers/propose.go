package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	envelopeLen = 32 + 16 + 16 + 8
	maxProposal = envelopeLen + 32 + meta.MaxPart*meta.MaxParts
	// maxOutcome bounds an answer to a proposal: an outcome lists at most the paths
	// of one command.
	maxOutcome = 64 << 20
	// maxHops bounds how often a proposal follows the hint to the leader: a fresh
	// election may outdate one hint, hardly two.
	maxHops = 3
	// proposeTime bounds one hop; a commit without a quorum would wait for ever.
	proposeTime = 30 * time.Second
)

var (
	// ErrNotLeader is matched when nobody that was asked leads the cluster; the
	// leader that Propose returns with it is the best guess, zero if there is none.
	ErrNotLeader = errors.New("not the leader")
	// ErrSelf is returned by Propose, with this node as leader, when the hint leads
	// to this node itself.
	ErrSelf = errors.New("this node is the leader")
	// ErrProposal is matched when the leader could not say what becomes of the
	// proposal. It may be committed or not: send it again with the same sequence.
	ErrProposal = errors.New("outcome of the proposal is unknown")
)

// The codes of an answer. They are part of the protocol.
const (
	codeOutcome   = "outcome"
	codeNotLeader = "not_leader"
	codeUnknown   = "unknown"
)

// proposeAnswer is the answer to a proposal, in msgpack, since the paths in an
// outcome need not be UTF-8. Field names are part of the protocol.
type proposeAnswer struct {
	Code    string       `codec:"code"`
	Leader  []byte       `codec:"leader,omitempty"`
	Message string       `codec:"message,omitempty"`
	Outcome *wireOutcome `codec:"outcome,omitempty"`
}

type wireOutcome struct {
	Sequence uint64       `codec:"sequence"`
	Entry    []byte       `codec:"entry"`
	Kind     uint8        `codec:"kind"`
	Reason   string       `codec:"reason,omitempty"`
	Revision uint64       `codec:"revision,omitempty"`
	Hash     []byte       `codec:"hash,omitempty"`
	Changes  []wireChange `codec:"changes,omitempty"`
	Detail   []byte       `codec:"detail,omitempty"`
}

type wireChange struct {
	Proposed []byte `codec:"proposed"`
	Kind     uint8  `codec:"kind"`
	Path     []byte `codec:"path,omitempty"`
	Own      uint64 `codec:"own,omitempty"`
	Revision uint64 `codec:"revision,omitempty"`
	Hash     []byte `codec:"hash,omitempty"`
	Conflict uint64 `codec:"conflict,omitempty"`
}

var answerHandle = func() *codec.MsgpackHandle {
	h := new(codec.MsgpackHandle)
	h.WriteExt = true
	h.MaxInitLen = 1 << 12 // never allocate by what a length claims
	h.MaxDepth = 8
	return h
}()

// Propose sends a proposal of this node to the node to, and on to whom that one
// names as leader. It returns the leader that answered. Outcomes are only a
// reason to stop resending: what counts is this node's own apply. After any error
// the proposal may have been committed or not.
func (p *Peers) Propose(ctx context.Context, to id.Node, env meta.Envelope, body meta.Body) (out meta.Outcome, leader id.Node, err error) {
	if env.Node != p.transport.Self() {
		return meta.Outcome{}, to, fmt.Errorf("propose for node %s: proposals are sent by their own node", env.Node.Short())
	}
	data := encodeProposal(env, body)
	for range maxHops {
		if to == p.transport.Self() {
			return meta.Outcome{}, to, ErrSelf
		}
		out, next, err := p.proposeTo(ctx, to, env.Lane, data)
		if err == nil {
			return out, to, nil
		}
		if !errors.Is(err, ErrNotLeader) || next.IsZero() || next == to {
			return meta.Outcome{}, next, fmt.Errorf("propose to node %s: %w", to.Short(), err)
		}
		to = next
	}
	return meta.Outcome{}, to, fmt.Errorf("propose: %w after %d hints", ErrNotLeader, maxHops)
}

func (p *Peers) proposeTo(ctx context.Context, to id.Node, lane id.Folder, data []byte) (meta.Outcome, id.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	c := p.counters(lane)
	c.sent.Add(uint64(len(data)) + requestOverhead)
	raw, err := p.call(ctx, p.proposals, to, proposePath, bytes.NewReader(data), maxOutcome)
	if err != nil {
		return meta.Outcome{}, id.Node{}, err
	}
	c.received.Add(uint64(len(raw)) + requestOverhead)
	return decodeAnswer(raw)
}

func (p *Peers) servePropose(w http.ResponseWriter, r *http.Request) {
	data, ok := readBody(w, r, maxProposal)
	if !ok {
		return
	}
	env, body, err := decodeProposal(data)
	if err != nil {
		http.Error(w, "bad proposal", http.StatusBadRequest)
		return
	}
	from := caller(r)
	if env.Node != from {
		http.Error(w, "another node's proposal", http.StatusForbidden)
		return
	}
	c := p.counters(env.Lane)
	c.received.Add(uint64(len(data)) + requestOverhead)
	out, leader, err := p.backend.Propose(r.Context(), from, env, body)
	answer := encodeAnswer(out, leader, err)
	if err != nil && !errors.Is(err, ErrNotLeader) {
		p.log.Warn("proposal of another node failed", "node", from, "sequence", env.Sequence, "err", err)
	}
	c.sent.Add(uint64(len(answer)) + requestOverhead)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowest))
	_, _ = w.Write(answer)
}

// encodeProposal is the body of a propose request: node 32, session 16, lane 16,
// sequence 8, then the command's body as meta marshals it.
func encodeProposal(env meta.Envelope, body meta.Body) []byte {
	command := body.Marshal()
	b := make([]byte, 0, envelopeLen+len(command))
	b = append(b, env.Node[:]...)
	b = append(b, env.Session[:]...)
	b = append(b, env.Lane[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(env.Sequence))
	return append(b, command...)
}

func decodeProposal(b []byte) (env meta.Envelope, body meta.Body, err error) {
	if len(b) < envelopeLen || len(b) > maxProposal {
		return env, body, fmt.Errorf("proposal of %d bytes", len(b))
	}
	copy(env.Node[:], b)
	copy(env.Session[:], b[32:])
	copy(env.Lane[:], b[48:])
	env.Sequence = id.Sequence(binary.BigEndian.Uint64(b[64:]))
	body, err = meta.UnmarshalBody(b[envelopeLen:])
	return env, body, err
}

func encodeAnswer(out meta.Outcome, leader id.Node, err error) []byte {
	a := proposeAnswer{Code: codeOutcome}
	if !leader.IsZero() {
		a.Leader = leader[:]
	}
	switch {
	case err == nil:
		a.Outcome = toWire(out)
	case errors.Is(err, ErrNotLeader):
		a.Code = codeNotLeader
	default:
		a.Code, a.Message = codeUnknown, err.Error()
		a.Message = a.Message[:min(len(a.Message), 200)]
	}
	var b []byte
	if err := codec.NewEncoderBytes(&b, answerHandle).Encode(&a); err != nil {
		panic("peers: encode answer: " + err.Error()) // plain fields always encode
	}
	return b
}

func decodeAnswer(b []byte) (out meta.Outcome, leader id.Node, err error) {
	var a proposeAnswer
	if err := decodeMsgpack(b, &a); err != nil {
		return out, leader, fmt.Errorf("%w: answer: %w", ErrProposal, err)
	}
	if len(a.Leader) == len(leader) {
		copy(leader[:], a.Leader)
	}
	switch {
	case a.Code == codeOutcome && a.Outcome != nil:
		out, err = a.Outcome.outcome()
		return out, leader, err
	case a.Code == codeNotLeader:
		return out, leader, ErrNotLeader
	}
	return out, leader, fmt.Errorf("%w: %q", ErrProposal, a.Message[:min(len(a.Message), 200)])
}

func decodeMsgpack(b []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the codec panics on some damage
			err = fmt.Errorf("decode: %v", r)
		}
	}()
	return codec.NewDecoderBytes(b, answerHandle).Decode(v)
}

func toWire(o meta.Outcome) *wireOutcome {
	w := &wireOutcome{
		Sequence: uint64(o.Sequence), Entry: o.Entry[:], Kind: uint8(o.Kind), Reason: o.Reason,
		Revision: uint64(o.Revision), Hash: o.Hash[:], Detail: o.Detail,
	}
	for _, c := range o.Changes {
		w.Changes = append(w.Changes, wireChange{
			Proposed: []byte(c.Proposed), Kind: uint8(c.Kind), Path: []byte(c.Path),
			Own: uint64(c.Base.Own), Revision: uint64(c.Base.Revision), Hash: c.Base.Hash[:], Conflict: c.Conflict,
		})
	}
	return w
}

func (w *wireOutcome) outcome() (o meta.Outcome, err error) {
	if len(w.Entry) != len(o.Entry) || len(w.Hash) != len(o.Hash) {
		return o, fmt.Errorf("%w: answer: a hash of %d bytes", ErrProposal, len(w.Entry))
	}
	o = meta.Outcome{
		Sequence: id.Sequence(w.Sequence), Entry: id.Digest(w.Entry), Kind: meta.OutcomeKind(w.Kind), Reason: w.Reason,
		Revision: id.Revision(w.Revision), Hash: [8]byte(w.Hash), Detail: w.Detail,
	}
	for _, c := range w.Changes {
		if len(c.Hash) != len(o.Hash) || len(c.Proposed) > id.MaxPath || len(c.Path) > id.MaxPath {
			return o, fmt.Errorf("%w: answer: a change of %d bytes", ErrProposal, len(c.Proposed))
		}
		o.Changes = append(o.Changes, meta.ChangeOutcome{
			Proposed: id.Path(c.Proposed), Kind: meta.OutcomeKind(c.Kind), Path: id.Path(c.Path), Conflict: c.Conflict,
			Base: meta.Base{Own: id.Sequence(c.Own), Revision: id.Revision(c.Revision), Hash: [8]byte(c.Hash)},
		})
	}
	return o, nil
}
