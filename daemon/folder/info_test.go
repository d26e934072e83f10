package folder

import (
	"testing"
	"time"
)

// TestInfoDoesNotWaitForWork: status answers while a page of files is being moved.
func TestInfoDoesNotWaitForWork(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n := c.nodes[0]
	n.set(true, false)
	n.write("f", "1")
	n.captured()
	n.engine.mu.Lock()
	defer n.engine.mu.Unlock()
	got := make(chan Info, 1)
	go func() {
		in, err := n.engine.Info()
		if err != nil {
			t.Error(err)
		}
		got <- in
	}()
	select {
	case in := <-got:
		if in.LocalChanges != 1 {
			t.Errorf("%d local changes, want 1", in.LocalChanges)
		}
	case <-time.After(10 * time.Second):
		t.Error("Info waits for the engine's lock")
	}
}
