package join

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testWait = 10 * time.Second

type nobody struct{}

func (nobody) Address(id.Node) (string, bool) { return "", false }
func (nobody) IsMember(id.Node) bool          { return false }

type admitFunc func(ctx context.Context, from id.Node, r AdmitRequest) (Response, error)

func (f admitFunc) Admit(ctx context.Context, from id.Node, r AdmitRequest) (Response, error) {
	return f(ctx, from, r)
}

// inviter is a node that answers join requests.
type inviter struct {
	token Token
	node  *transport.Identity
}

func identity(t testing.TB) *transport.Identity {
	t.Helper()
	i, err := transport.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func start(t testing.TB, a Admit) inviter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	who := identity(t)
	tr := transport.New(transport.Options{Identity: who, Listener: l, Members: nobody{}})
	cluster := id.NewCluster()
	s := NewServer(ServerOptions{Listener: tr.JoinListener(), Cluster: cluster, Admit: a})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = tr.Run(ctx) })
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return inviter{node: who, token: Token{
		Cluster: cluster, Inviter: who.ID(), Secret: NewSecret(), Addresses: []string{l.Addr().String()},
	}}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	type call struct {
		from id.Node
		r    AdmitRequest
	}
	calls := make(chan call, 1)
	me := identity(t)
	nodes := []meta.NodeRecord{
		{ID: id.Node{1}, Name: "a", Address: "192.0.2.1:7417", Role: meta.RoleVoter, Added: time.Unix(5, 6).UTC()},
		{ID: me.ID(), Name: "new-2", Address: "proxy.example:1"},
	}
	inv := start(t, admitFunc(func(ctx context.Context, from id.Node, r AdmitRequest) (Response, error) {
		calls <- call{from, r}
		return Response{Name: "new-2", Nodes: nodes}, nil
	}))
	nodes[1].AdmittedBy = inv.node.ID()
	nodes[1].Signature = SignAdmission(inv.node, inv.token.Cluster, me.ID())

	got, err := Request(context.Background(), me, inv.token, "new", "proxy.example:1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Cluster != inv.token.Cluster || got.Name != "new-2" || !reflect.DeepEqual(got.Nodes, nodes) {
		t.Errorf("got %+v, want %+v", got, nodes)
	}
	if !VerifyAdmission(got.Cluster, got.Nodes[1]) || VerifyAdmission(id.NewCluster(), got.Nodes[1]) || VerifyAdmission(got.Cluster, got.Nodes[0]) {
		t.Error("admission's signature")
	}
	c := <-calls
	want := AdmitRequest{Secret: inv.token.Secret, Name: "new", Advertise: "proxy.example:1", Observed: c.r.Observed}
	if c.from != me.ID() || c.r != want || !c.r.Observed.IsLoopback() {
		t.Errorf("Admit saw %+v", c)
	}
}

func TestJoinRefusals(t *testing.T) {
	t.Parallel()
	cases := []error{
		ErrUnknownToken, ErrUsedToken, ErrExpiredToken, ErrWrongCluster, ErrUnavailable, ErrUndecided, ErrBadRequest, ErrRemoved, ErrFailed,
	}
	for _, want := range cases {
		t.Run(want.Error(), func(t *testing.T) {
			t.Parallel()
			inv := start(t, admitFunc(func(context.Context, id.Node, AdmitRequest) (Response, error) {
				return Response{}, fmt.Errorf("admit: %w", want)
			}))
			_, err := Request(context.Background(), identity(t), inv.token, "n", "h:1")
			for _, c := range codes {
				if got := errors.Is(err, c.err); got != (c.err == want) {
					t.Errorf("errors.Is(%v, %v) = %v", err, c.err, got)
				}
			}
		})
	}
	t.Run("internal errors stay inside", func(t *testing.T) {
		t.Parallel()
		inv := start(t, admitFunc(func(context.Context, id.Node, AdmitRequest) (Response, error) {
			return Response{}, errors.New("open /secret/place")
		}))
		_, err := Request(context.Background(), identity(t), inv.token, "n", "h:1")
		if !errors.Is(err, ErrFailed) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v", err)
		}
	})
	never := admitFunc(func(context.Context, id.Node, AdmitRequest) (Response, error) {
		t.Error("Admit was called")
		return Response{}, nil
	})
	t.Run("token of another cluster", func(t *testing.T) {
		t.Parallel()
		inv := start(t, never)
		inv.token.Cluster = id.NewCluster()
		if _, err := Request(context.Background(), identity(t), inv.token, "n", "h:1"); !errors.Is(err, ErrWrongCluster) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another node at the address", func(t *testing.T) {
		t.Parallel()
		inv := start(t, never)
		inv.token.Inviter = identity(t).ID()
		_, err := Request(context.Background(), identity(t), inv.token, "n", "h:1")
		if !errors.Is(err, transport.ErrWrongKey) || !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("bad name or address", func(t *testing.T) {
		t.Parallel()
		inv := start(t, never)
		for _, r := range [][2]string{{"Bad Name", "h:1"}, {"n", "no port"}, {"n", ""}} {
			if _, err := Request(context.Background(), identity(t), inv.token, r[0], r[1]); !errors.Is(err, ErrBadRequest) {
				t.Errorf("%q: %v", r, err)
			}
		}
	})
}

// A dead address does not matter while another one works.
func TestJoinTriesAddresses(t *testing.T) {
	t.Parallel()
	inv := start(t, admitFunc(func(context.Context, id.Node, AdmitRequest) (Response, error) { return Response{Name: "n"}, nil }))
	other := start(t, nil) // not the inviter
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	inv.token.Addresses = []string{dead.Addr().String(), other.token.Addresses[0], inv.token.Addresses[0]}
	if _, err := Request(context.Background(), identity(t), inv.token, "n", "h:1"); err != nil {
		t.Error(err)
	}
	inv.token.Addresses = inv.token.Addresses[:1]
	if _, err := Request(context.Background(), identity(t), inv.token, "n", "h:1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func dial(t *testing.T, inv inviter) *transport.Conn {
	t.Helper()
	c, err := transport.DialKey(context.Background(), identity(t), inv.token.Addresses[0], inv.token.Inviter, transport.ProtoJoin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testWait))
	return c
}

// B32: sizes taken from the wire.
func TestOversizedRequest(t *testing.T) {
	t.Parallel()
	inv := start(t, admitFunc(func(context.Context, id.Node, AdmitRequest) (Response, error) {
		t.Error("Admit was called")
		return Response{}, nil
	}))
	for _, size := range []uint32{0, MaxRequest + 1, 1 << 31, 1<<32 - 1} {
		c := dial(t, inv)
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, size)); err != nil {
			t.Fatal(err)
		}
		var answer wireResponse
		if err := readFrame(c, &answer, MaxResponse); err != nil || answer.Code != "bad_request" {
			t.Errorf("%d bytes: %+v, %v", size, answer, err)
		}
	}
	c := dial(t, inv)
	_, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, 5), "[1,2]"...))
	var answer wireResponse
	if err := readFrame(c, &answer, MaxResponse); err != nil || answer.Code != "bad_request" {
		t.Errorf("no object: %+v, %v", answer, err)
	}
}

// A flood is turned away with "busy", few are decided at a time, and a node with
// a token gets in afterwards.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most, calls := 0, 0, 0
	gate := make(chan struct{})
	inv := start(t, admitFunc(func(ctx context.Context, _ id.Node, _ AdmitRequest) (Response, error) {
		mu.Lock()
		calls++
		now++
		most = max(most, now)
		mu.Unlock()
		<-gate
		mu.Lock()
		now--
		mu.Unlock()
		return Response{}, ErrUnknownToken
	}))
	const n = 30
	answers := make(chan string, n)
	var conns []*transport.Conn
	for range n {
		conns = append(conns, dial(t, inv))
	}
	for _, c := range conns { // all at once
		go func() {
			var answer wireResponse
			_ = writeFrame(c, wireRequest{Cluster: inv.token.Cluster, Advertise: "h:1"}, MaxRequest)
			_ = readFrame(c, &answer, MaxResponse)
			answers <- answer.Code
		}()
	}
	// Admit answers nobody yet, so the first answer is to one over the burst.
	first := <-answers
	close(gate)
	for range n - 1 {
		<-answers
	}
	mu.Lock()
	defer mu.Unlock()
	if most > parallel || calls > n {
		t.Errorf("%d decided at a time (limit %d), %d in all", most, parallel, calls)
	}
	if first != "busy" {
		t.Errorf("the first answer is %q, want busy", first)
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	var b bucket
	at := time.Unix(1000, 0)
	taken := 0
	for range 1000 {
		if b.take(at) {
			taken++
		}
	}
	if taken != burst {
		t.Errorf("%d at once, want %d", taken, burst)
	}
	for s := 1; s <= 10; s++ {
		for range 1000 {
			if b.take(at.Add(time.Duration(s) * time.Second)) {
				taken++
			}
		}
	}
	if want := burst + 10*perSecond; taken != want {
		t.Errorf("%d in ten seconds, want %d", taken, want)
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	called := make(chan struct{})
	inv := start(t, admitFunc(func(ctx context.Context, _ id.Node, _ AdmitRequest) (Response, error) {
		close(called)
		<-ctx.Done()
		return Response{}, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-called; cancel() }()
	if _, err := Request(ctx, identity(t), inv.token, "n", "h:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Add(append([]byte{0, 0, 0, 60}, `{"cluster":"00000000000000000000000000000000","advertise":""}`...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var w wireRequest
		if err := readFrame(bytes.NewReader(data), &w, MaxRequest); err == nil {
			if r, err := w.decode(); err == nil && (CheckAddress(r.Advertise) != nil || len(r.Name) > id.MaxName) {
				t.Errorf("decoded %+v", r)
			}
		} else if !errors.Is(err, ErrBadRequest) && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("error %v", err)
		}
		var a wireResponse
		if err := readFrame(bytes.NewReader(data), &a, MaxResponse); err == nil {
			_, _ = decodeNodes(a.Nodes)
		}
	})
}
