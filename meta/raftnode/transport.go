package raftnode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Transport is what a Node needs of a raft transport. raft.NetworkTransport and
// raft.InmemTransport implement it.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

const (
	// rpcTimeout bounds one raft request in seconds of silence. 32 entries of at
	// most 256 KiB fit through 1 MB/s in it.
	rpcTimeout = 10 * time.Second
	// maxPool is the number of idle raft connections kept to a peer.
	maxPool = 3
)

// newNetworkTransport speaks raft over a stream layer whose addresses are node IDs.
func newNetworkTransport(stream raft.StreamLayer, log *raftLogger) Transport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  trackStream(stream),
		MaxPool:                 maxPool,
		Timeout:                 rpcTimeout,
		Logger:                  log,
		MsgpackUseNewTimeFormat: true,
	})
}

// injector is a transport into whose stream of requests the node can put its own:
// a voter that leaves hands itself TimeoutNow to become the leader that changes the
// membership.
type injector struct {
	Transport
	out  chan raft.RPC
	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
}

func newInjector(t Transport) *injector {
	i := &injector{Transport: t, out: make(chan raft.RPC), stop: make(chan struct{})}
	i.done.Go(i.forward)
	return i
}

func (i *injector) forward() {
	in := i.Transport.Consumer()
	for {
		select {
		case rpc := <-in:
			select {
			case i.out <- rpc:
			case <-i.stop:
				return
			}
		case <-i.stop:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (i *injector) Consumer() <-chan raft.RPC { return i.out }

// Close implements raft.WithClose: it closes the transport below too.
func (i *injector) Close() error {
	i.once.Do(func() { close(i.stop) })
	i.done.Wait()
	return i.Transport.Close()
}

// inject hands a request to the node's own raft as if it had come from a peer.
func (i *injector) inject(ctx context.Context, command any) error {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case i.out <- raft.RPC{Command: command, RespChan: answer}:
	case <-i.stop:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return fmt.Errorf("own request: %w", r.Error)
		}
		return nil
	case <-i.stop:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
