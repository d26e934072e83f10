package watcher

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const maxQueued = "/proc/sys/fs/inotify/max_queued_events"

// B12: the system's own queue overflows.
func TestQueueOverflow(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" || os.Getuid() != 0 {
		t.Skip("SKIPPED: needs LOCKSTEP_LONG=1 and root, for it changes " + maxQueued)
	}
	old, err := os.ReadFile(maxQueued)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(maxQueued, old, 0); err != nil {
			t.Errorf("restore %s to %s: %v", maxQueued, strings.TrimSpace(string(old)), err)
		}
	})
	x := prepare(t)
	x.o.newNotifier = func() (notifier, error) {
		// The limit is read when the instance is made.
		if err := os.WriteFile(maxQueued, []byte("64"), 0); err != nil {
			return nil, err
		}
		return newFSNotify()
	}
	for d := range 20 {
		x.mkdir(fmt.Sprintf("d%d", d))
	}
	x.start()
	for round := 0; x.w.Status().Overflows == 0; round++ {
		if round == 100 {
			t.Fatal("the queue does not overflow")
		}
		for i := range 2000 {
			x.write(fmt.Sprintf("d%d/r%d-%d", i%20, round, i), "1")
		}
	}
	x.write("last", "1")
	x.until("everything", func([]Batch) bool {
		_, ok := x.index.paths()[id.Path("last")]
		return ok && x.consistent()
	})
	t.Logf("%d overflows", x.w.Status().Overflows)
}
