package peers

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestReach tries both ways, and tells which of them fails.
func TestReach(t *testing.T) {
	t.Parallel()
	var ma, mb members // each with its own idea of the addresses
	a, b := start(t, &ma), start(t, &mb)
	ma.set(b.id(), b.t.ListenAddr().String())
	mb.set(a.id(), a.t.ListenAddr().String())
	ctx := t.Context()
	if err := a.Reach(ctx, b.id()); err != nil {
		t.Errorf("dial: %v", err)
	}
	if reached, err := a.Reached(ctx, b.id()); reached != nil || err != nil {
		t.Errorf("be dialled: %v, %v", reached, err)
	}
	// An address that nobody listens at.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	mb.set(a.id(), dead)
	if reached, err := a.Reached(ctx, b.id()); err != nil || reached == nil || !strings.Contains(reached.Error(), dead) {
		t.Errorf("b cannot dial a: got %v, %v; want an error that names %s", reached, err, dead)
	}
	ma.set(b.id(), dead)
	if err := a.Reach(ctx, b.id()); err == nil {
		t.Error("a dials an address that nobody listens at")
	}
}

// TestClocks: two nodes of one machine have one clock, whoever sends the heartbeat.
func TestClocks(t *testing.T) {
	t.Parallel()
	var m members
	a, b := start(t, &m), start(t, &m)
	for _, n := range []struct{ of, other *node }{{a, b}, {b, a}} {
		until(t, n.of, "the other's clock", func() bool { _, ok := n.of.Clock(n.other.id()); return ok })
		if c, _ := n.of.Clock(n.other.id()); c.Ahead.Abs() > c.Within+time.Second {
			t.Errorf("got %+v of one and the same clock", c)
		}
	}
	until(t, a, "a heartbeat that was sent by itself", func() bool { return !a.Asked(b.id()).IsZero() || !b.Asked(a.id()).IsZero() })
}

func TestClockOf(t *testing.T) {
	t.Parallel()
	other := id.Node{1}
	l := newLink(other)
	p := &Peers{links: map[id.Node]*link{other: l}}
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		sent  time.Time
		ahead time.Duration
	}{{at.Add(2 * time.Second), time.Second}, {at, -time.Second}, {at.Add(time.Hour), time.Hour - time.Second}} {
		p.clockOf(other, c.sent, at, at.Add(2*time.Second))
		if got, ok := p.Clock(other); !ok || got != (Clock{Ahead: c.ahead, Within: time.Second}) {
			t.Errorf("sent %s: got %+v, %v", c.sent, got, ok)
		}
	}
	l.clock = Clock{}
	p.clockOf(other, time.Time{}, at, at) // an older version
	if _, ok := p.Clock(other); ok {
		t.Error("a clock that was never told is known")
	}
}

// TestHeartbeatBounds: a heartbeat with an address that cannot be one is refused whole.
func TestHeartbeatBounds(t *testing.T) {
	t.Parallel()
	text := func(n int) []byte { return []byte(`{"version":"1","address":"` + strings.Repeat("a", n) + `"}`) }
	if h, err := decodeHeartbeat(id.Node{1}, text(maxAddress)); err != nil || len(h.Address) != maxAddress {
		t.Errorf("the longest: %d bytes, %v", len(h.Address), err)
	}
	if _, err := decodeHeartbeat(id.Node{1}, text(maxAddress+1)); err == nil {
		t.Error("one byte more is taken")
	}
}
