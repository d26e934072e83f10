package transport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testWait = 10 * time.Second

// members is a membership that tests change.
type members struct {
	mu   sync.Mutex
	addr map[id.Node]string
}

func (m *members) Address(n id.Node) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.addr[n]
	return a, ok
}

func (m *members) IsMember(n id.Node) bool { _, ok := m.Address(n); return ok }

func (m *members) set(n id.Node, addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.addr == nil {
		m.addr = make(map[id.Node]string)
	}
	m.addr[n] = addr
}

func (m *members) remove(n id.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.addr, n)
}

func newIdentityT(t testing.TB) *Identity {
	t.Helper()
	i, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// start runs a transport that knows m, and adds it to m.
func start(t testing.TB, m *members, change ...func(*Options)) *Transport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Identity: newIdentityT(t), Listener: l, Members: m}
	for _, f := range change {
		f(&o)
	}
	tr := New(o)
	m.set(tr.Self(), l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(testWait):
			t.Error("Run did not end")
		}
	})
	return tr
}

func accept(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	ch := make(chan result, 1)
	go func() { c, err := l.Accept(); ch <- result{c, err} }()
	select {
	case r := <-ch:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.c
	case <-time.After(testWait):
		t.Fatal("no connection came")
	}
	return nil
}

// acceptsNothing fails the test if l has a connection by now.
func acceptsNothing(t *testing.T, tr *Transport, p Proto) {
	t.Helper()
	select {
	case <-tr.layers[p].queue:
		t.Errorf("a connection reached %s", p)
	default:
	}
}

func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	msg := []byte("hello over there")
	go func() { _, _ = a.Write(msg) }()
	got := make([]byte, len(msg))
	_ = b.SetReadDeadline(time.Now().Add(testWait))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestMembersReachEachOther(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)

	c, err := a.DialPeer(context.Background(), b.Self())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := accept(t, b.PeerListener())
	if n, ok := NodeOf(s); !ok || n != a.Self() {
		t.Errorf("server sees node %s, want %s", n.Short(), a.Self().Short())
	}
	if n, ok := NodeOf(c); !ok || n != b.Self() {
		t.Errorf("client sees node %s, want %s", n.Short(), b.Self().Short())
	}
	exchange(t, c, s)
	exchange(t, s, c)

	r, err := a.Raft().Dial(raft.ServerAddress(b.Self().String()), testWait)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	exchange(t, r, accept(t, b.Raft()))
	if got := b.Raft().Addr().String(); got != b.Self().String() {
		t.Errorf("raft address %q, want the node ID", got)
	}
	if sent, received := a.Wire(); sent == 0 || received == 0 {
		t.Errorf("wire counters %d, %d", sent, received)
	}
}

// B33: any certificate may speak Raft.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	m := &members{}
	b := start(t, m)
	stranger := newIdentityT(t)
	addr := b.ListenAddr().String()
	for _, p := range []Proto{ProtoRaft, ProtoPeer} {
		c, err := DialKey(context.Background(), stranger, addr, b.Self(), p)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(testWait))
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", p, err)
		}
		acceptsNothing(t, b, p)
	}
	// It may ask to join, and is known by its key.
	c, err := DialKey(context.Background(), stranger, addr, b.Self(), ProtoJoin)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := accept(t, b.JoinListener())
	if n, _ := NodeOf(s); n != stranger.ID() {
		t.Errorf("joiner seen as %s, want %s", n.Short(), stranger.ID().Short())
	}
	exchange(t, c, s)
}

func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	m := &members{}
	b := start(t, m)
	member := newIdentityT(t)
	m.set(member.ID(), "127.0.0.1:1")
	rsaLike := clientConfig(member, b.Self(), ProtoPeer)
	cases := map[string]func() *tls.Config{
		"TLS 1.2": func() *tls.Config {
			c := clientConfig(member, b.Self(), ProtoPeer)
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		},
		"no certificate": func() *tls.Config {
			c := clientConfig(member, b.Self(), ProtoPeer)
			c.Certificates = nil
			return c
		},
		"two certificates": func() *tls.Config {
			c := rsaLike.Clone()
			cert := member.cert
			cert.Certificate = [][]byte{cert.Certificate[0], cert.Certificate[0]}
			c.Certificates = []tls.Certificate{cert}
			return c
		},
		"member's certificate without its key": func() *tls.Config {
			c := rsaLike.Clone()
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			c.Certificates = []tls.Certificate{{Certificate: member.cert.Certificate, PrivateKey: key}}
			return c
		},
		"no protocol": func() *tls.Config {
			c := rsaLike.Clone()
			c.NextProtos, c.VerifyConnection = nil, nil
			return c
		},
		"unknown protocol": func() *tls.Config {
			c := rsaLike.Clone()
			c.NextProtos, c.VerifyConnection = []string{"lockstep-peer/2"}, nil
			return c
		},
	}
	for name, config := range cases {
		t.Run(name, func(t *testing.T) {
			raw, err := net.Dial("tcp", b.ListenAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_ = raw.SetDeadline(time.Now().Add(testWait))
			c := tls.Client(raw, config())
			if err = c.Handshake(); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if err == nil {
				t.Error("not refused")
			}
			for _, p := range []Proto{ProtoRaft, ProtoPeer, ProtoJoin} {
				acceptsNothing(t, b, p)
			}
		})
	}
}

// B34: a resumed session would keep a removed member in.
func TestNoResumption(t *testing.T) {
	t.Parallel()
	m := &members{}
	b := start(t, m)
	member := newIdentityT(t)
	m.set(member.ID(), "127.0.0.1:1")
	config := clientConfig(member, b.Self(), ProtoPeer)
	cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	config.ClientSessionCache = cache
	for range 2 {
		c, err := tls.Dial("tcp", b.ListenAddr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		s := accept(t, b.PeerListener())
		exchange(t, s, c) // a ticket would have come before this
		if c.ConnectionState().DidResume {
			t.Error("session was resumed")
		}
		_, _ = c.Close(), s.Close()
	}
	if cache.puts != 0 {
		t.Errorf("%d session tickets came", cache.puts)
	}
}

type countingCache struct {
	tls.ClientSessionCache
	puts int
}

func (c *countingCache) Put(k string, s *tls.ClientSessionState) {
	if s != nil {
		c.puts++
	}
	c.ClientSessionCache.Put(k, s)
}

func TestRemovedMemberIsCutOff(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"drop", "sweep"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			// Each side has its own view: only b's changes.
			ma, mb := &members{}, &members{}
			a, b := start(t, ma), start(t, mb)
			ma.set(b.Self(), b.ListenAddr().String())
			mb.set(a.Self(), a.ListenAddr().String())
			c, err := a.DialPeer(context.Background(), b.Self())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s := accept(t, b.PeerListener())
			exchange(t, c, s)
			mb.remove(a.Self())
			if how == "drop" {
				b.Drop(a.Self())
			}
			for _, end := range []net.Conn{c, s} {
				_ = end.SetReadDeadline(time.Now().Add(testWait))
				_, err := end.Read(make([]byte, 1))
				var timeout net.Error
				if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("connection is still open: %v", err)
				}
			}
			// Neither way works any more.
			if c, err := a.DialPeer(context.Background(), b.Self()); err == nil {
				_ = c.SetDeadline(time.Now().Add(testWait))
				if _, err = c.Read(make([]byte, 1)); !errors.Is(err, ErrRefused) {
					t.Errorf("dial by the removed: %v, want ErrRefused", err)
				}
				_ = c.Close()
			} else if !errors.Is(err, ErrRefused) {
				t.Errorf("dial by the removed: %v, want ErrRefused", err)
			}
			if _, err := b.DialPeer(context.Background(), a.Self()); !errors.Is(err, ErrNotMember) {
				t.Errorf("dial to the removed: %v, want ErrNotMember", err)
			}
		})
	}
}

// What a removed member sends on a Raft connection is not handed on, even before
// Drop.
func TestRaftReadChecksMembership(t *testing.T) {
	t.Parallel()
	ma, mb := &members{}, &members{}
	a, b := start(t, ma), start(t, mb)
	ma.set(b.Self(), b.ListenAddr().String())
	mb.set(a.Self(), a.ListenAddr().String())
	c, err := a.Raft().Dial(raft.ServerAddress(b.Self().String()), testWait)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := accept(t, b.Raft())
	exchange(t, c, s)
	mb.remove(a.Self())
	_, _ = c.Write([]byte("request vote"))
	_ = s.SetReadDeadline(time.Now().Add(testWait))
	if n, err := s.Read(make([]byte, 100)); n != 0 || err == nil {
		t.Errorf("read %d bytes of a removed member, err %v", n, err)
	}
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	other := newIdentityT(t).ID()
	m.set(other, b.ListenAddr().String())
	_, err := a.DialPeer(context.Background(), other)
	var wrong *WrongKeyError
	if !errors.As(err, &wrong) || !errors.Is(err, ErrWrongKey) {
		t.Fatalf("got %v, want a WrongKeyError", err)
	}
	if wrong.Want != other || wrong.Got != b.Self() {
		t.Errorf("got %+v", wrong)
	}
	m.set(other, "")
	if _, err := a.DialPeer(context.Background(), other); !errors.Is(err, ErrNoAddress) {
		t.Errorf("without address: %v", err)
	}
	if _, err := a.Raft().Dial("127.0.0.1:80", time.Second); err == nil {
		t.Error("raft dialed an address that is no node ID")
	}
}

// An address may change at any time: it is looked up at each dial.
func TestAddressIsLookedUpAtEachDial(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	m.set(b.Self(), dead.Addr().String())
	if c, err := a.DialPeer(context.Background(), b.Self()); err == nil {
		_ = c.Close()
		t.Fatal("reached a closed port")
	}
	m.set(b.Self(), b.ListenAddr().String())
	c, err := a.DialPeer(context.Background(), b.Self())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
