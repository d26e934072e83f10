package raftnode

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/store"
)

// book resolves node IDs to loopback addresses, as the daemon's stream layer does.
type book struct {
	mu   sync.Mutex
	addr map[raft.ServerAddress]string
}

type tcpStream struct {
	net.Listener
	book *book
}

func (s *tcpStream) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	s.book.mu.Lock()
	to := s.book.addr[a]
	s.book.mu.Unlock()
	return net.DialTimeout("tcp", to, timeout)
}

// TestOverTCP runs three nodes on real sockets, logs and stores: they grow to three
// voters, commit, install a snapshot on a late node, and lose nobody's commits when
// two of them leave.
func TestOverTCP(t *testing.T) {
	t.Parallel()
	b := &book{addr: map[raft.ServerAddress]string{}}
	c := &cluster{t: t, up: map[id.Node]bool{}}
	var stop []func()
	for i := range 3 {
		h := &host{id: id.Node{byte(i + 1)}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b.addr[serverAddress(h.id)] = l.Addr().String()
		dir := t.TempDir()
		h.store, err = store.Open(filepath.Join(dir, "meta"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if h.m, err = newFake(h.store); err != nil {
			t.Fatal(err)
		}
		h.node, err = Open(Options{
			Dir: filepath.Join(dir, "raft"), Self: h.id, Store: h.store,
			Stream: &tcpStream{l, b}, Bootstrap: i == 0, Online: c.online, machine: h.m, Log: testLog(),
			Timings: Timings{
				Heartbeat: time.Second, Stable: 50 * time.Millisecond, Manage: 20 * time.Millisecond,
				MinTrailing: 1, TrailingBytes: 1,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		h.ran = make(chan error, 1)
		go func() { h.ran <- h.node.Run(context.Background()) }()
		c.setUp(h.id, true)
		c.hosts = append(c.hosts, h)
		stop = append(stop, func() {
			if err := h.node.Close(); err != nil {
				t.Error(err)
			}
			if err := <-h.ran; err != nil {
				t.Error(err)
			}
			if err := h.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	defer func() {
		for _, f := range stop {
			f()
		}
	}()

	a := c.author(1)
	var want []string
	commit := func(n int) {
		t.Helper()
		for range n {
			s := fmt.Sprint("x", len(want))
			want = append(want, s)
			c.propose(a, textBody(s, 1))
		}
	}
	commit(30)
	if err := c.hosts[0].node.Snapshot(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.admit(a, c.hosts...)
	c.wantVoters(3)
	commit(10)
	c.agreeContent(want)
	if c.hosts[2].node.snaps.newest() == 0 {
		t.Error("the late node got no snapshot")
	}
	concurrent(t, c, &want)
	c.agreeSet(want)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 2 {
		l := c.leader()
		if err := l.node.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		c.setUp(l.id, false)
		commit(1)
	}
}

// concurrent proposes from eight lanes at once: log writes are shared.
func concurrent(t *testing.T, c *cluster, want *[]string) {
	t.Helper()
	l := c.leader()
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			a := &author{node: id.Node{byte(100 + w)}, session: id.NewSession()}
			if _, err := l.node.Propose(context.Background(), a.env(0), textBody("", 1)); err != nil {
				t.Error(err)
			}
			for i := range 20 {
				s := fmt.Sprintf("w%d-%d", w, i)
				out, err := l.node.Propose(context.Background(), a.env(id.Sequence(i+1)), textBody(s, 1))
				if err != nil || out.Kind != meta.Accepted {
					t.Error(out, err)
				}
				mu.Lock()
				*want = append(*want, s)
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// agreeSet is agreeContent without the order.
func (c *cluster) agreeSet(want []string) {
	c.t.Helper()
	want = slices.Clone(want)
	slices.Sort(want)
	c.eventually("all nodes agree", func() bool {
		for _, h := range c.hosts {
			got := content(h)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return false
			}
		}
		return true
	})
}
