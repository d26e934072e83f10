package node

import (
	"log/slog"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestHeardFrom: what a heartbeat says of its sender's address is noted where it is
// another one, is an address, and is a member's; and noting it never blocks.
func TestHeardFrom(t *testing.T) {
	t.Parallel()
	b, stranger := id.Node{2}, id.Node{3}
	n := &Node{
		members: &members{nodes: map[id.Node]meta.NodeRecord{b: {ID: b, Address: "192.0.2.2:1"}}},
		moves:   make(chan moved, 2), log: slog.New(slog.DiscardHandler),
	}
	for _, c := range []moved{{b, ""}, {b, "192.0.2.2:1"}, {b, "nonsense"}, {b, "a b:1"}, {stranger, "192.0.2.3:1"}} {
		n.heardFrom(c.node, c.address)
	}
	if len(n.moves) != 0 {
		t.Errorf("noted %+v", <-n.moves)
	}
	for range 5 {
		n.heardFrom(b, "192.0.2.9:1")
	}
	if got := <-n.moves; got != (moved{b, "192.0.2.9:1"}) {
		t.Errorf("noted %+v", got)
	}
}

// TestAddressOfNow: an address that was given stays; one that follows the machine is
// looked at again after a while, and kept where there is nothing better.
func TestAddressOfNow(t *testing.T) {
	t.Parallel()
	n := &Node{cfg: config{Listen: ":7", Advertise: "me.example:7"}, log: slog.New(slog.DiscardHandler)}
	if got := n.address(); got != "me.example:7" {
		t.Errorf("given: %s", got)
	}
	n = &Node{cfg: config{Listen: ":7", Advertise: "192.0.2.77:7", Follow: true}, log: slog.New(slog.DiscardHandler)}
	if got := n.address(); got != "192.0.2.77:7" {
		t.Errorf("at once: %s", got)
	}
	n.place.looked = time.Now().Add(-time.Hour)
	if got, want := n.address(), here("", "7", "192.0.2.77:7"); got != want {
		t.Errorf("later: %s, want %s", got, want)
	}
}

func TestHere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, port, was, want string }{
		{"192.0.2.1", "7", "x:1", "192.0.2.1:7"}, {"desk.example", "7", "", "desk.example:7"}, {"::1", "7", "", "[::1]:7"},
	} {
		if got := here(c.host, c.port, c.was); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	if outward() == nil {
		if got := here("", "7", "192.0.2.9:1"); got != "192.0.2.9:7" {
			t.Errorf("without a network: got %s", got)
		}
	}
}
