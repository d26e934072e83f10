package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// maxHeartbeat bounds a heartbeat in bytes: about 5,000 folders.
	maxHeartbeat = 1 << 20
	// maxAddress bounds an address in a heartbeat, in bytes: a host's name has 253.
	maxAddress = 300
	// kickGap is the least time between two heartbeats to one member that Kick
	// causes: under continuous writing the others hear of it 20 times a second.
	kickGap = 50 * time.Millisecond
	// farewellTime bounds how long leaving waits for the others to hear of it.
	farewellTime = 500 * time.Millisecond
)

// Heartbeat is what a node says of itself, every second and after a change.
type Heartbeat struct {
	Node id.Node `json:"node"` // set by the receiver, from the connection's key
	// Version of the program.
	Version string `json:"version"`
	// AppliedIndex of its state machine.
	AppliedIndex uint64        `json:"applied_index"`
	Folders      []FolderState `json:"folders"`
	// Leaving: it is shutting down, and offline from now on.
	Leaving bool `json:"leaving,omitempty"`
	// Sent is its clock as it sent this: for telling people that clocks differ, and
	// for nothing else. Older versions do not send it.
	Sent time.Time `json:"sent,omitzero"`
	// Address at which it can be dialled, as far as it knows: HOST:PORT, to be checked
	// by who uses it. Older versions do not send it.
	Address string `json:"address,omitempty"`
}

// FolderState is how far a node is with one folder.
type FolderState struct {
	Folder id.Folder `json:"folder"`
	// Revision is the head that it knows, Hash that revision's hash.
	Revision id.Revision `json:"revision"`
	Hash     id.Digest   `json:"hash"`
	// Applied is the revision that is on its disk, 0 if it does not sync the folder.
	Applied id.Revision `json:"applied"`
	// Blocked counts the paths of Applied that are not on the disk because of what
	// time cannot mend. Older versions do not send it.
	Blocked int `json:"blocked,omitempty"`
	// Lacking counts the paths that keep Applied behind until somebody does something
	// there: for want of space.
	Lacking int `json:"lacking,omitempty"`
	// Halted: the folder has stopped there, for a reason that its status says.
	Halted bool `json:"halted,omitempty"`
	// Paused: somebody has paused the folder there, so Applied stays as it is until
	// somebody lets it go on. Older versions do not send it; they count one Lacking.
	Paused bool `json:"paused,omitempty"`
	// Part: its disk may lack something of Applied that is not counted in Blocked: it
	// keeps a part of the folder, only sends, or holds changes of its own.
	Part bool `json:"part,omitempty"`
}

// Whole reports whether all of a revision is on its disk.
func (s FolderState) Whole(r id.Revision) bool { return s.Applied >= r && s.Blocked == 0 && !s.Part }

// Kick makes this node's next heartbeats go out now, because its state changed
// in a way that others wait for.
func (p *Peers) Kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.kick)
	p.kick = make(chan struct{})
}

func (p *Peers) kicked() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kick
}

// beat keeps one goroutine for each member until ctx ends.
func (p *Peers) beat(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := make(map[*link]context.CancelFunc)
	defer func() {
		for _, cancel := range running {
			cancel()
		}
	}()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		here := make(map[*link]bool)
		for _, l := range p.sync() {
			here[l] = true
			if running[l] == nil {
				lctx, cancel := context.WithCancel(ctx)
				running[l] = cancel
				wg.Go(func() { p.beatOne(lctx, l) })
			}
		}
		for l, cancel := range running {
			if !here[l] {
				cancel()
				delete(running, l)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.kicked(): // a new member may be why
		}
	}
}

// beatOne sends heartbeats to one member. While that one sends its own, whose
// answers carry our state, ours are left out, unless there is news.
func (p *Peers) beatOne(ctx context.Context, l *link) {
	for ctx.Err() == nil {
		kick := p.kicked()
		started := time.Now()
		p.exchange(ctx, l)
		p.rest(ctx, l, started, kick)
	}
}

// rest waits until the next heartbeat to l is due.
func (p *Peers) rest(ctx context.Context, l *link, started time.Time, kick <-chan struct{}) {
	due := started.Add(p.every)
	self := p.transport.Self()
	for {
		p.mu.Lock()
		asked := l.asked
		p.mu.Unlock()
		// Of two nodes the one with the lower ID sends, and the other only when it has
		// heard nothing for a quarter more than the interval.
		other := asked.Add(p.every + p.every/4)
		if bytes.Compare(l.node[:], self[:]) < 0 && other.After(due) {
			due = other
		}
		wait := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-kick:
			wait.Stop()
			pause(ctx, time.Until(started.Add(kickGap)))
			return
		case <-wait.C:
		}
		p.mu.Lock()
		again := l.asked.After(asked)
		p.mu.Unlock()
		if !again {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// exchange sends this node's heartbeat and takes in the answer.
func (p *Peers) exchange(ctx context.Context, l *link) {
	ctx, cancel := context.WithTimeout(ctx, 3*p.every)
	defer cancel()
	asked := time.Now()
	answer, err := p.sendState(ctx, l.node, false)
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	p.mu.Lock()
	l.err = err
	p.mu.Unlock()
	if err != nil {
		p.log.Debug("heartbeat failed", "node", l.node, "err", err)
		return
	}
	p.clockOf(l.node, answer.Sent, asked, time.Now())
	p.heard(l.node, answer, false)
	p.backend.Heartbeat(l.node, answer)
}

// Answers sends node a heartbeat now and reports whether it answers before ctx ends.
// Online still holds for some seconds of a node that was killed. It may be called at
// any time, by several.
func (p *Peers) Answers(ctx context.Context, node id.Node) bool {
	_, err := p.sendState(ctx, node, false)
	return err == nil
}

func (p *Peers) sendState(ctx context.Context, node id.Node, leaving bool) (Heartbeat, error) {
	h := p.backend.State()
	h.Node, h.Leaving, h.Sent = p.transport.Self(), leaving, time.Now()
	body, err := json.Marshal(h)
	if err != nil {
		return Heartbeat{}, fmt.Errorf("encode heartbeat: %w", err)
	}
	data, err := p.call(ctx, p.beats, node, heartbeatPath, bytes.NewReader(body), maxHeartbeat)
	if err != nil {
		return Heartbeat{}, err
	}
	return decodeHeartbeat(node, data)
}

func decodeHeartbeat(from id.Node, data []byte) (h Heartbeat, err error) {
	if err := json.Unmarshal(data, &h); err != nil {
		return Heartbeat{}, fmt.Errorf("heartbeat of node %s: %w", from.Short(), err)
	}
	if len(h.Version) > 64 {
		return Heartbeat{}, fmt.Errorf("heartbeat of node %s: version of %d bytes", from.Short(), len(h.Version))
	}
	if len(h.Address) > maxAddress {
		return Heartbeat{}, fmt.Errorf("heartbeat of node %s: address of %d bytes", from.Short(), len(h.Address))
	}
	h.Node = from
	// In one order, so that equal states compare equal.
	slices.SortFunc(h.Folders, func(a, b FolderState) int { return bytes.Compare(a.Folder[:], b.Folder[:]) })
	return h, nil
}

// farewell tells the members that are online that this node leaves.
func (p *Peers) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range p.sync() {
		if p.Online(l.node) {
			wg.Go(func() { _, _ = p.sendState(ctx, l.node, true) })
		}
	}
	wg.Wait()
}
