package transport

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Raft's own RPC works over the stream layer, and stops when a node is removed.
func TestRaftOverTheStreamLayer(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	open := func(tr *Transport) *raft.NetworkTransport {
		n := raft.NewNetworkTransportWithLogger(tr.Raft(), 3, 5*time.Second, hclog.NewNullLogger())
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	ra, rb := open(a), open(b)
	if got := rb.LocalAddr(); string(got) != b.Self().String() {
		t.Errorf("local address %q", got)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case rpc := <-rb.Consumer():
				rpc.Respond(&raft.RequestVoteResponse{Term: 7, Granted: true}, nil)
			case <-done:
				return
			}
		}
	}()
	node := raft.ServerID(b.Self().String())
	var resp raft.RequestVoteResponse
	if err := ra.RequestVote(node, rb.LocalAddr(), &raft.RequestVoteRequest{Term: 7}, &resp); err != nil || resp.Term != 7 {
		t.Fatalf("%+v, %v", resp, err)
	}
	m.remove(a.Self())
	b.Drop(a.Self())
	if err := ra.RequestVote(node, rb.LocalAddr(), &raft.RequestVoteRequest{Term: 8}, &resp); err == nil {
		t.Error("a removed node's vote request was answered")
	}
}
