package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// members is the membership for the network: the state machine's, or what the
// inviter told as long as that is empty. It is safe for concurrent use.
type members struct {
	self    id.Node
	machine *meta.Machine
	local   *local.DB
	drop    func(id.Node)

	mu    sync.RWMutex // guards the rest
	nodes map[id.Node]meta.NodeRecord
	// index is the log index of the state that nodes is from, 0 for what the inviter
	// told. After a crash the state machine may start at an older one: then what
	// was kept counts until the log has come there again.
	index uint64
}

// kept is how the membership is kept in the local store.
type kept struct {
	Index uint64            `json:"index"`
	Nodes []meta.NodeRecord `json:"nodes"`
}

func newMembers(self id.Node, m *meta.Machine, l *local.DB, told []meta.NodeRecord) (*members, error) {
	ms := &members{self: self, machine: m, local: l, drop: func(id.Node) {}, nodes: make(map[id.Node]meta.NodeRecord)}
	data, err := l.Members()
	if err != nil {
		return nil, fmt.Errorf("read the kept membership: %w", err)
	}
	k := kept{Nodes: told}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &k); err != nil {
			return nil, fmt.Errorf("read the kept membership: %w", err)
		}
	}
	ms.index = k.Index
	for _, n := range k.Nodes {
		ms.nodes[n.ID] = n
	}
	return ms, nil
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

// removed reports whether the log says that this node is no member any more.
func (m *members) removed() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.nodes[m.self]
	return !ok
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
	index, err := v.AppliedIndex()
	if err != nil {
		return err
	}
	now, err := v.Nodes()
	if err != nil || len(now) == 0 {
		return err
	}
	next := make(map[id.Node]meta.NodeRecord, len(now))
	for _, n := range now {
		next[n.ID] = n
	}
	m.mu.Lock()
	if _, ok := next[m.self]; index < m.index || !ok && m.index == 0 {
		// The log has not come to what is known already: to this node's own
		// admission, or to where the state machine was before a crash.
		m.mu.Unlock()
		return nil
	}
	same := m.index != 0 && maps.EqualFunc(m.nodes, next, sameRecord)
	var gone []id.Node
	for n := range m.nodes {
		if _, ok := next[n]; !ok {
			gone = append(gone, n)
		}
	}
	m.nodes, m.index = next, index
	m.mu.Unlock()
	for _, n := range gone {
		m.drop(n)
	}
	if same {
		return nil
	}
	data, err := json.Marshal(kept{Index: index, Nodes: now})
	if err != nil {
		return fmt.Errorf("keep the membership: %w", err)
	}
	return m.local.SetMembers(data)
}

func sameRecord(a, b meta.NodeRecord) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Address == b.Address && a.Role == b.Role
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
