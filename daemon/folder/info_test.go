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

// TestInfoCountsWhatIsPlaced: of a long pass status tells what is still to come, and of
// own changes that no leader takes it does not say that they are.
func TestInfoCountsWhatIsPlaced(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n := c.nodes[0]
	info := func(files int, bytes int64) {
		t.Helper()
		if in, err := n.engine.Info(); err != nil || in.PendingFiles != files || in.PendingBytes != bytes {
			t.Errorf("%d files, %d bytes are pending (%v), want %d and %d", in.PendingFiles, in.PendingBytes, err, files, bytes)
		}
	}
	n.engine.st.setAhead(10, 100)
	n.engine.st.progress(60)
	n.engine.st.placed(4)
	info(6, 40)
	n.engine.st.placed(7)
	n.engine.st.setAhead(0, 0)
	info(0, 0)

	n.set(true, false)
	n.write("f", "1")
	n.captured()
	n.engine.st.postpone("f", postponed{why: whyOutcome})
	info(0, 0)
	n.set(false, false)
	c.settled()
}
