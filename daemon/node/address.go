package node

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// here is the address at which a listener on host and port is reached, as far as
// this machine can tell: the host of was, else loopback, where it has no network now.
func here(host, port, was string) string {
	if !unspecified(host) {
		return net.JoinHostPort(host, port)
	}
	if ip := outward(); ip != nil {
		return net.JoinHostPort(ip.String(), port)
	}
	if old, _, err := net.SplitHostPort(was); err == nil {
		return net.JoinHostPort(old, port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// outward is the machine's address that faces the network's way out: the first in
// the system's list may be a container bridge's. It is nil where there is none.
func outward() net.IP {
	for _, target := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // of no one; nothing is sent
		c, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		a, ok := c.LocalAddr().(*net.UDPAddr)
		c.Close()
		if ok && a.IP.IsGlobalUnicast() {
			return a.IP
		}
	}
	if own := ownAddresses(); len(own) > 0 {
		return own[0]
	}
	return nil
}

// ownAddresses are the machine's that others may dial, IPv4 first.
func ownAddresses() (out []net.IP) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var six []net.IP
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			out = append(out, n.IP)
		default:
			six = append(six, n.IP)
		}
	}
	return append(out, six...)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// addressEvery is how often a node looks where it is: a laptop that changes networks
// is reached again after about this time.
const addressEvery = 10 * time.Second

// place is this node's address, which may change while it runs.
type place struct {
	mu     sync.Mutex // guards the rest
	now    string
	looked time.Time
}

// address is what the others are to dial now.
func (n *Node) address() string {
	if !n.cfg.Follow {
		return n.cfg.Advertise
	}
	n.place.mu.Lock()
	defer n.place.mu.Unlock()
	if n.place.now == "" {
		n.place.now, n.place.looked = n.cfg.Advertise, time.Now()
	}
	if time.Since(n.place.looked) < addressEvery {
		return n.place.now
	}
	if host, port, err := net.SplitHostPort(n.cfg.Listen); err == nil {
		if at := here(host, port, n.place.now); at != n.place.now {
			n.log.Info("this machine has another address now", "was", n.place.now, "is", at)
			n.place.now = at
		}
	}
	n.place.looked = time.Now()
	return n.place.now
}

// keepRecord tells the cluster where this node can be reached, and its name if
// config.toml sets one, whenever that differs from what the cluster knows. A node that
// nobody can dial any more hears of no leader: for it its heartbeats do this.
func (n *Node) keepRecord(ctx context.Context) error {
	changed, stop := n.machine.Watch()
	defer stop()
	tick := time.NewTicker(addressEvery)
	defer tick.Stop()
	tried := meta.NodeRecord{}
	for {
		r, ok, err := n.record()
		if err != nil {
			return err
		}
		// What was refused, or changed otherwise than asked, is not asked for again
		// until something has changed.
		want := n.wanted(r)
		if want.Name == "" && want.Address == "" {
			tried = meta.NodeRecord{}
		}
		if ok && (want.Name != tried.Name || want.Address != tried.Address) && !n.raft.Leader().IsZero() {
			tried = want
			if err := n.updateRecord(ctx, want); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

func (n *Node) record() (meta.NodeRecord, bool, error) {
	v := n.machine.View()
	defer v.Close()
	return v.Node(n.self)
}

// wanted is what has to change in this node's record; the rest is zero.
func (n *Node) wanted(now meta.NodeRecord) (want meta.NodeRecord) {
	if at := n.address(); now.Address != at {
		want.Address = at
	}
	if n.set.Name != "" && now.Name != n.set.Name {
		want.Name = n.set.Name
	}
	return want
}

func (n *Node) updateRecord(ctx context.Context, want meta.NodeRecord) error {
	if want.Name == "" && want.Address == "" {
		return nil
	}
	want.ID = n.self
	out, err := n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeUpdate, Record: want})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case out.Kind == meta.Refused:
		n.log.Error("the cluster does not take this node's name or address", "name", want.Name, "address", want.Address, "reason", out.Reason)
	case want.Name != "" && string(out.Detail) != want.Name:
		n.log.Warn("the name in config.toml is another node's; this one got the next free one", "name", string(out.Detail))
	}
	return nil
}

// moved is a member that says that it is at another address than the cluster knows.
type moved struct {
	node    id.Node
	address string
}

// heardFrom takes from a heartbeat where its sender is. It never blocks; a member that
// is not noted now says it again within a second.
func (n *Node) heardFrom(node id.Node, address string) {
	if address == "" || join.CheckAddress(address) != nil {
		return
	}
	if known, ok := n.members.Address(node); !ok || known == address {
		return
	}
	select {
	case n.moves <- moved{node, address}:
	default:
	}
}

// keepAddresses has the leader tell the cluster where members are that it cannot dial
// at their old addresses: the log does not come to them, so they cannot do it
// themselves. A member may say what it likes of its own address anyway.
func (n *Node) keepAddresses(ctx context.Context) error {
	last := make(map[id.Node]time.Time)
	for {
		var m moved
		select {
		case <-ctx.Done():
			return nil
		case m = <-n.moves:
		}
		known, ok := n.members.Address(m.node)
		if !ok || known == m.address || n.raft.Leader() != n.self || time.Since(last[m.node]) < addressEvery {
			continue
		}
		last[m.node] = time.Now() // two daemons with one key must not fill the log
		out, err := n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeUpdate, Record: meta.NodeRecord{ID: m.node, Address: m.address}})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case out.Kind == meta.Refused:
			n.log.Warn("the cluster does not take a member's new address", "node", m.node, "address", m.address, "reason", out.Reason)
		default:
			n.log.Info("a member is at another address now", "node", m.node, "was", known, "is", m.address)
			if err := n.members.refresh(); err != nil { // before its next heartbeat is compared
				return err
			}
		}
	}
}
