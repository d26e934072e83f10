package folder

import (
	"context"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// Pull implements fetch.Puller from the stores of the nodes that are reachable.
func (n *node) Pull(ctx context.Context, _ id.Folder, _ []id.Node, want []fetch.Want, got func(int, []byte) error) (missing []int, err error) {
	bytes := 0
	for _, w := range want {
		if w.Kind == chunks.Chunk {
			bytes += w.Len
		}
	}
	if n.slow > 0 {
		select {
		case <-time.After(n.slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if n.gate != nil && bytes > 0 && bytes >= n.gateLeast && int(n.pulled.Load())+bytes > n.gateFrom {
		select {
		case n.gated <- struct{}{}:
		default:
		}
		select {
		case <-n.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for i, w := range want {
		data, ok := n.find(ctx, w)
		if !ok {
			missing = append(missing, i)
			continue
		}
		if w.Kind == chunks.Chunk {
			n.pulled.Add(int64(len(data)))
		}
		if err := got(i, data); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

func (n *node) find(ctx context.Context, w fetch.Want) ([]byte, bool) {
	n.c.mu.Lock()
	var from []*node
	if !n.cut && !n.c.missing[w.ID] {
		for _, m := range n.c.nodes {
			if m != n && !m.cut {
				from = append(from, m)
			}
		}
	}
	n.c.mu.Unlock()
	for _, m := range from {
		if data, ok := m.serve(ctx, w); ok {
			return data, true
		}
	}
	return nil, false
}

// serve reads a chunk for another node, while this one runs.
func (n *node) serve(ctx context.Context, w fetch.Want) ([]byte, bool) {
	n.serving.RLock()
	defer n.serving.RUnlock()
	n.c.mu.Lock()
	s := n.chunks
	n.c.mu.Unlock()
	if s == nil {
		return nil, false
	}
	data, err := s.Get(ctx, w.ID, w.Kind, nil)
	return data, err == nil
}

// OpenLocation implements chunks.FileOpener.
func (n *node) OpenLocation(file uint64) (chunks.LocationFile, error) {
	_, p, ok, err := n.local.FilePath(file)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("file number %d is unknown", file)
	}
	return n.engine.OpenLocation(p)
}
