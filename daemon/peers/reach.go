package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// reachTime bounds one dial that tries whether a member can be reached.
	reachTime = 5 * time.Second
	// maxReach bounds the answer in bytes: one line of an error.
	maxReach = 4 << 10
)

// ErrOldVersion is returned by Reached when the other node does not know the request.
var ErrOldVersion = errors.New("its version of lockstep does not know the request")

// reachAnswer says whether the node that asked could be dialled.
type reachAnswer struct {
	Error string `json:"error,omitempty"`
}

// Reach dials a member anew, at the address that the membership has, and hangs up.
func (p *Peers) Reach(ctx context.Context, node id.Node) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	c, err := p.transport.DialPeer(ctx, node)
	if err != nil {
		return err
	}
	return c.Close()
}

// Reached asks a member to dial this node, at the address that its membership has,
// and returns in reached why it could not, nil if it could. err says that it was not
// learnt.
func (p *Peers) Reached(ctx context.Context, node id.Node) (reached, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*reachTime)
	defer cancel()
	resp, err := p.post(ctx, p.beats, node, reachPath, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, ErrOldVersion
	default:
		return nil, statusError(resp)
	}
	var a reachAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReach)).Decode(&a); err != nil {
		return nil, fmt.Errorf("answer of node %s: %w", node.Short(), err)
	}
	if a.Error != "" {
		return errors.New(a.Error), nil
	}
	return nil, nil
}

// serveReach dials who asks. It is dialled where the membership says, not where it
// wants, so that a member cannot have this node dial others.
func (p *Peers) serveReach(w http.ResponseWriter, r *http.Request) {
	if _, ok := readBody(w, r, 0); !ok {
		return
	}
	var a reachAnswer
	if err := p.Reach(r.Context(), caller(r)); err != nil {
		a.Error = err.Error()
		if len(a.Error) > maxReach/2 {
			a.Error = a.Error[:maxReach/2]
		}
	}
	_ = json.NewEncoder(w).Encode(a) // who asked has gone if this fails
}

// Clock is how a member's clock compares with this node's.
type Clock struct {
	// Ahead is by how much it is ahead of this node's, below zero if behind.
	Ahead time.Duration
	// Within is how far Ahead may be off: half of the time that the question took. Of
	// a heartbeat that the member sent by itself that is not known, and left out.
	Within time.Duration
}

// Clock returns how node's clock compares, as of its last heartbeat; false if that
// is not known.
func (p *Peers) Clock(node id.Node) (Clock, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[node]
	if l == nil || l.clock == (Clock{}) {
		return Clock{}, false
	}
	return l.clock, true
}

// Asked returns when node last sent a heartbeat by itself: then it can reach this
// node. It is zero if it never did since the start.
func (p *Peers) Asked(node id.Node) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[node]; l != nil {
		return l.asked
	}
	return time.Time{}
}

// clockOf notes a member's clock, which was sent between asked and now.
func (p *Peers) clockOf(node id.Node, sent, asked, now time.Time) {
	if sent.IsZero() {
		return
	}
	half := now.Sub(asked) / 2
	c := Clock{Ahead: sent.Round(0).Sub(asked.Add(half).Round(0)), Within: half}
	if c == (Clock{}) {
		c.Within = 1 // equal to the nanosecond, and known
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[node]; l != nil {
		l.clock = c
	}
}
