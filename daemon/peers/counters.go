package peers

import (
	"sync/atomic"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// requestOverhead stands for the HTTP head of a request or an answer in the
	// folders' counters: about what ours take, with TLS's own. The transport's Wire
	// counts exactly, but for the whole node.
	requestOverhead = 200
	// maxCounted bounds the folders that are counted, since other nodes name them.
	maxCounted = 4096
)

// Traffic is what a folder's objects and proposals have moved since the start.
type Traffic struct {
	// Sent and Received are bytes on the wire: exact for bodies, estimated for
	// heads.
	Sent, Received uint64
	// ObjectsSent and ObjectsReceived count chunks and manifest nodes.
	ObjectsSent, ObjectsReceived uint64
	// PendingObjects and PendingBytes are what pulls in progress still want.
	PendingObjects, PendingBytes int64
}

type counters struct {
	sent, received         atomic.Uint64
	objectsOut, objectsIn  atomic.Uint64
	pending, pendingLength atomic.Int64
	givers                 givers
}

func (c *counters) begin(want []Want) {
	var n int64
	for _, w := range want {
		n += int64(w.Len)
	}
	c.pending.Add(int64(len(want)))
	c.pendingLength.Add(n)
}

func (c *counters) came(w Want) {
	c.objectsIn.Add(1)
	c.pending.Add(-1)
	c.pendingLength.Add(-int64(w.Len))
}

func (c *counters) end(want []Want, state []atomic.Uint32) {
	for i, w := range want {
		if state[i].Load() != wantDone {
			c.pending.Add(-1)
			c.pendingLength.Add(-int64(w.Len))
		}
	}
}

// counters returns a folder's; what is over maxCounted shares the zero folder's.
func (p *Peers) counters(f id.Folder) *counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.traffic[f]
	if c == nil {
		if len(p.traffic) >= maxCounted {
			f = id.Folder{}
		}
		if c = p.traffic[f]; c == nil {
			c = &counters{}
			p.traffic[f] = c
		}
	}
	return c
}

// Traffic returns a folder's counters. The zero folder's are the cluster's lane.
func (p *Peers) Traffic(f id.Folder) Traffic {
	p.mu.Lock()
	c := p.traffic[f]
	p.mu.Unlock()
	if c == nil {
		return Traffic{}
	}
	return Traffic{
		Sent: c.sent.Load(), Received: c.received.Load(),
		ObjectsSent: c.objectsOut.Load(), ObjectsReceived: c.objectsIn.Load(),
		PendingObjects: c.pending.Load(), PendingBytes: c.pendingLength.Load(),
	}
}
