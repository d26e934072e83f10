package harness

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// CutMode is how a cut looks to the two ends.
type CutMode int

const (
	// Stall keeps connections open and carries nothing, as a cable pulled does: the
	// ends learn of it by their own deadlines only. Heal lets them go on.
	Stall CutMode = iota + 1
	// Reset closes connections at once, and new ones as they come, as a host that is
	// down behind a good network does.
	Reset
)

// network is the proxies between the nodes of a cluster. Each node advertises its
// proxy, so a connection from a to b runs through b's. Which node it comes from is
// told by the process that holds its other end.
type network struct {
	mu      sync.Mutex // guards the rest
	changed *sync.Cond // signalled when cut or closed changes
	cut     map[string]CutMode
	rate    map[string]int64
	in      map[string]int64 // bytes carried to a node
	pids    map[int]string
	links   map[*link]bool
	proxies []*proxy
	closed  bool

	wg sync.WaitGroup // goroutines of proxies and links
}

func newNetwork() *network {
	n := &network{cut: map[string]CutMode{}, rate: map[string]int64{}, in: map[string]int64{},
		pids: map[int]string{}, links: map[*link]bool{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// link is one connection through a proxy.
type link struct {
	from, to string // node names; from is "" for a process that is no node
	near     net.Conn
	far      net.Conn // nil until dialled
}

func (l *link) closeBoth() {
	l.near.Close()
	if l.far != nil {
		l.far.Close()
	}
}

// proxy listens in one node's place.
type proxy struct {
	net  *network
	node string
	l    net.Listener

	mu     sync.Mutex // guards target
	target string
}

func (n *network) listen(node string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{net: n, node: node, l: l}
	n.mu.Lock()
	n.proxies = append(n.proxies, p)
	n.mu.Unlock()
	n.wg.Add(1)
	go p.serve()
	return p, nil
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) setTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

func (p *proxy) serve() {
	defer p.net.wg.Done()
	for {
		c, err := p.l.Accept()
		if err != nil {
			return // closed
		}
		p.net.wg.Add(1)
		go func() {
			defer p.net.wg.Done()
			p.carry(c)
		}()
	}
}

// carry carries one connection until it ends.
func (p *proxy) carry(near net.Conn) {
	l := &link{to: p.node, near: near}
	if pid, err := p.net.pidOf(near); err == nil {
		l.from = p.net.nodeOf(pid)
	}
	if !p.net.add(l) {
		near.Close()
		return
	}
	defer p.net.remove(l)
	if !p.net.pass(l) { // a stalled dial is held here until the heal
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	far, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	if !p.net.setFar(l, far) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.net.pump(l, far, near, l.to) })
	wg.Go(func() { p.net.pump(l, near, far, l.from) })
	wg.Wait()
}

// pump copies one direction of a link, as the cuts and limits of its ends allow.
func (n *network) pump(l *link, dst, src net.Conn, to string) {
	buf := make([]byte, 64<<10)
	for {
		size := len(buf)
		rate := n.rateOf(l)
		if rate > 0 {
			size = int(min(int64(size), max(rate/50, 1))) // about 20 ms at a time
		}
		k, err := src.Read(buf[:size])
		if k > 0 {
			if !n.pass(l) {
				return
			}
			n.mu.Lock()
			n.in[to] += int64(k) // before the write: who has read the bytes finds them counted
			n.mu.Unlock()
			if _, err := dst.Write(buf[:k]); err != nil {
				l.closeBoth()
				return
			}
			if rate > 0 {
				time.Sleep(time.Duration(int64(k) * int64(time.Second) / rate)) // the limit itself
			}
		}
		if err != nil {
			if n.pass(l) { // a close too arrives only when the ends can talk
				if c, ok := dst.(*net.TCPConn); ok {
					c.CloseWrite()
				}
			}
			return
		}
	}
}

// pass waits while l is stalled. It returns false when l has ended.
func (n *network) pass(l *link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if n.closed || !n.links[l] {
			return false
		}
		switch m := max(n.cut[l.from], n.cut[l.to]); m {
		case Stall:
			n.changed.Wait()
		case Reset:
			return false
		default:
			return true
		}
	}
}

func (n *network) rateOf(l *link) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, b := n.rate[l.from], n.rate[l.to]
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

func (n *network) add(l *link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.links[l] = true
	return true
}

func (n *network) setFar(l *link, far net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.links[l] {
		far.Close()
		return false
	}
	l.far = far
	return true
}

func (n *network) remove(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
	l.closeBoth()
}

func (n *network) cutOff(node string, m CutMode) error {
	if !canTellProcesses {
		return fmt.Errorf("cut node %s: %w", node, ErrUnsupported)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[node] = m
	for l := range n.links {
		if m == Reset && (l.from == node || l.to == node) {
			delete(n.links, l)
			l.closeBoth()
		}
	}
	n.changed.Broadcast()
	return nil
}

func (n *network) heal(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, node)
	n.changed.Broadcast()
}

func (n *network) limit(node string, rate int64) error {
	if !canTellProcesses {
		return fmt.Errorf("limit node %s: %w", node, ErrUnsupported)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rate[node] = rate
	return nil
}

func (n *network) carried(node string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.in[node]
}

// setPID says which process is a node; 0 that none is.
func (n *network) setPID(node string, pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p, name := range n.pids {
		if name == node {
			delete(n.pids, p)
		}
	}
	if pid != 0 {
		n.pids[pid] = node
	}
}

func (n *network) nodeOf(pid int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pids[pid]
}

// pidOf returns the process among the nodes' that holds the other end of c.
func (n *network) pidOf(c net.Conn) (int, error) {
	addr, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address")
	}
	n.mu.Lock()
	pids := make([]int, 0, len(n.pids))
	for p := range n.pids {
		pids = append(pids, p)
	}
	n.mu.Unlock()
	return socketOwner(addr.Port, pids)
}

func (n *network) close() error {
	n.mu.Lock()
	n.closed = true
	for l := range n.links {
		l.closeBoth()
	}
	for _, p := range n.proxies {
		p.l.Close()
	}
	n.changed.Broadcast()
	n.mu.Unlock()
	n.wg.Wait()
	return nil
}
