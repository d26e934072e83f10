package folder

import (
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
	var got []string
	steps := c.nodes[1].engine.Trace("f")
	for i, s := range steps {
		got = append(got, s.Name)
		if i > 0 && s.Time.Before(steps[i-1].Time) {
			t.Errorf("%s before %s", s.Name, steps[i-1].Name)
		}
	}
	want := []string{trace.Arrived, trace.Staged, trace.OnDisk, trace.Recorded}
	for len(got) > 0 && got[0] != want[0] { // what the watcher saw before
		got = got[1:]
	}
	if len(got) < len(want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("steps %v, want %v", got, want)
		}
	}
}
