package node

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// What was allocated and dropped counts as reclaimable until it is given back.
func TestHeapUse(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection but the one asked for
	debug.FreeOSMemory()
	before, _ := heapUse()
	b := make([]byte, 64<<20)
	runtime.KeepAlive(b)
	allocated, reclaimable := heapUse()
	if got := allocated - before; got < uint64(len(b)) {
		t.Errorf("allocated %d bytes, want at least %d", got, len(b))
	}
	if reclaimable < 32<<20 {
		t.Errorf("reclaimable %d bytes with 64 MiB of garbage", reclaimable)
	}
	debug.FreeOSMemory()
	if _, after := heapUse(); after >= reclaimable {
		t.Errorf("reclaimable %d bytes after they were given back, %d before", after, reclaimable)
	}
}
