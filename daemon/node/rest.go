package node

import (
	"context"
	"errors"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restEvery is how often it is looked whether a burst of work has ended.
	restEvery = 3 * time.Second
	// restQuiet is how much is allocated in that time at most by a node that has
	// nothing to do. Heartbeats and status take a tenth of it.
	restQuiet = 4 << 20
	// restBytes is how much the runtime has to hold beyond what is in use before it is
	// worth a collection to give it back: about 10 ms of CPU.
	restBytes = 8 << 20
	// restBurst is how much is allocated by a burst that is worth a flush of the stores:
	// they keep in memory what was written last, and half of it is the burst's.
	restBurst = 64 << 20
)

// rest gives the memory that a burst of work needed back to the system once the burst
// has ended. The runtime does so by itself only while it allocates: after a first sync
// a node that has nothing to do would keep twice what it uses for good.
func (n *Node) rest(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	var before, flushed uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		allocated, reclaimable := heapUse()
		quiet, burst := allocated-before < restQuiet, allocated-flushed >= restBurst
		if quiet && burst {
			if err := errors.Join(n.metaStore.Rest(), n.local.KV().Rest()); err != nil {
				n.log.Warn("flush the stores", "error", err) // who needs them meets it too
			}
			n.chunks.Rest()
			flushed = allocated
		}
		if quiet && (burst || reclaimable >= restBytes) {
			debug.FreeOSMemory()
		}
		before = allocated
	}
}

// heapUse is how many bytes were allocated since the process started, and how many a
// collection now could give back at most: what was allocated since the last one, and
// what is free and was not given back.
func heapUse() (allocated, reclaimable uint64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	return v(0), v(1) + v(2) + v(3) - min(v(3), v(4))
}
