package folder

import (
	"slices"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/trace"
)

// TestTraceOfAReceivedFile: the steps of a file that came from another node are
// all there, in their order.
func TestTraceOfAReceivedFile(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	c.nodes[0].write("f", "1")
	c.settled()
	want := []string{trace.Arrived, trace.Staged, trace.OnDisk, trace.Recorded}
	var got []string
	var last trace.Step
	for _, s := range c.nodes[1].engine.Trace("f") {
		if !slices.Contains(want, s.Name) {
			continue // the watcher may see the file before it is recorded
		}
		got = append(got, s.Name)
		if s.Time.Before(last.Time) {
			t.Errorf("%s before %s", s.Name, last.Name)
		}
		last = s
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}
