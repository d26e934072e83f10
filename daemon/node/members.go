package node

import (
	"context"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// members is the membership for the network: the state machine's, or what the
// inviter told as long as that is empty. It is safe for concurrent use.
type members struct {
	self    id.Node
	machine *meta.Machine
	drop    func(id.Node)

	mu    sync.RWMutex // guards nodes and known
	nodes map[id.Node]meta.NodeRecord
	known bool // from the state machine
}

func newMembers(self id.Node, m *meta.Machine, told []meta.NodeRecord) *members {
	ms := &members{self: self, machine: m, drop: func(id.Node) {}, nodes: make(map[id.Node]meta.NodeRecord)}
	for _, n := range told {
		ms.nodes[n.ID] = n
	}
	return ms
}

// Address implements transport.Members.
func (m *members) Address(n id.Node) (string, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.nodes[n]
	return r.Address, ok && r.Address != ""
}

// IsMember implements transport.Members.
func (m *members) IsMember(n id.Node) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.nodes[n]
	return ok
}

// Nodes returns the other members: peers.Members.
func (m *members) Nodes() []id.Node {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]id.Node, 0, len(m.nodes))
	for n := range m.nodes {
		if n != m.self {
			out = append(out, n)
		}
	}
	return out
}

// name is a member's name, or the short form of its ID.
func (m *members) name(n id.Node) string {
	if n.IsZero() {
		return ""
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r, ok := m.nodes[n]; ok {
		return r.Name
	}
	return n.Short()
}

// records returns every member's record.
func (m *members) records() []meta.NodeRecord {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]meta.NodeRecord, 0, len(m.nodes))
	for _, r := range m.nodes {
		out = append(out, r)
	}
	return out
}

// refresh takes over the state machine's membership, and cuts off who left it.
func (m *members) refresh() error {
	v := m.machine.View()
	defer v.Close()
	now, err := v.Nodes()
	if err != nil || len(now) == 0 {
		return err
	}
	next := make(map[id.Node]meta.NodeRecord, len(now))
	for _, n := range now {
		next[n.ID] = n
	}
	m.mu.Lock()
	if _, ok := next[m.self]; !ok && !m.known {
		// The log has not come to this node's own admission yet: who admitted it
		// knows more than the state machine does.
		for n, r := range m.nodes {
			if _, ok := next[n]; !ok {
				next[n] = r
			}
		}
	} else {
		m.known = true
	}
	var gone []id.Node
	for n := range m.nodes {
		if _, ok := next[n]; !ok {
			gone = append(gone, n)
		}
	}
	m.nodes = next
	m.mu.Unlock()
	for _, n := range gone {
		m.drop(n)
	}
	return nil
}

// Run keeps the membership current.
func (m *members) Run(ctx context.Context) error {
	changed, stop := m.machine.Watch()
	defer stop()
	for {
		if err := m.refresh(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
