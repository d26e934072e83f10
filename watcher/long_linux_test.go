package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// B16: the disk is unmounted under a live watcher, which does not keep it busy.
func TestUnmount(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" || os.Getuid() != 0 {
		t.Skip("SKIPPED: needs LOCKSTEP_LONG=1 and root, for it mounts")
	}
	x := prepare(t)
	tmpfs := func(dir string) func() {
		x.must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		on := true
		off := func() {
			if on {
				on = false
				x.must(unix.Unmount(dir, 0))
			}
		}
		t.Cleanup(off)
		return off
	}
	x.must(os.RemoveAll(x.path(".lockstep")))
	unmount := tmpfs(x.root)
	mark(t, x.root)
	x.mkdir("d")
	x.write("d/f", "1")
	x.mkdir("inner")
	x.write("inner/under", "1")
	x.start()
	x.forget()

	inner := tmpfs(x.path("inner"))
	x.write("inner/secret", "1")
	x.flush()
	if got := x.w.Blocked(); !slices.Equal(got, []BlockedPath{{"inner", reasonMount}}) {
		t.Errorf("blocked %v", got)
	}
	inner()
	x.flush()
	if got := x.w.Blocked(); len(got) != 0 {
		t.Errorf("blocked %v", got)
	}
	for _, d := range x.all() {
		if d.Blocked == "" {
			t.Errorf("reported %+v", d)
		}
	}
	x.forget()
	x.asked(func(*loop) {})
	x.asked(func(l *loop) { l.pool.group.Wait() })
	unmount()
	start := time.Now()
	x.expectEnd(ErrRootMissing)
	t.Logf("noticed after %v", time.Since(start))
	if got := x.all(); len(got) > 0 {
		t.Errorf("reported %v", got)
	}
	if err := x.w.Flush(context.Background()); !errors.Is(err, ErrStopped) {
		t.Errorf("Flush: %v", err)
	}
}

// What is unmounted before the table is first polled is told too.
func TestMountsOpenedBefore(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" || os.Getuid() != 0 {
		t.Skip("SKIPPED: needs LOCKSTEP_LONG=1 and root, for it mounts")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	m, err := openMounts(root)
	if err := errors.Join(err, unix.Unmount(root, 0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	told := false
	err = m.watch(ctx, func() { told = true; cancel() })
	if err != nil || !told {
		t.Errorf("the unmount was told: %v, error %v", told, err)
	}
}
