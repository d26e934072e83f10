package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestChangesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanges()
		began := time.Now()
		waits := func(n uint64, want time.Duration) {
			t.Helper()
			began = time.Now()
			if err := c.wait(t.Context(), n, time.Minute); err != nil || time.Since(began) != want {
				t.Errorf("waited %s, %v; want %s", time.Since(began), err, want)
			}
		}
		n, _ := c.newest()
		waits(n+1, 0)
		waits(n, time.Minute)
		go func() {
			time.Sleep(time.Second)
			c.bump()
		}()
		waits(n, time.Second)
		waits(n, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, _ = c.newest(); !errors.Is(c.wait(ctx, n, time.Minute), context.Canceled) {
			t.Error("waited on when nobody did any more")
		}
		c.look()
		c.look() // nobody looks: it must not wait
	})
}

func TestLags(t *testing.T) {
	f := id.Folder{1}
	now := time.Unix(1000, 0)
	l := newLags()
	l.time = func() time.Time { return now }
	since := func(applied uint64, online, paused bool) *time.Time {
		out := []control.FolderNode{{Name: "a", AppliedRevision: 10, Online: true}, {Name: "b", AppliedRevision: applied, Online: online, Paused: paused}}
		l.note(f, 10, out)
		l.tell(f, out)
		if out[0].BehindSince != nil {
			t.Error("who has the head is behind")
		}
		return out[1].BehindSince
	}
	for i, c := range []struct {
		applied uint64
		online  bool
		paused  bool
		want    int64 // seconds after the start; -1: not behind
	}{
		{10, true, false, -1}, {8, true, false, 1}, {8, true, false, 1}, {9, true, false, 3}, {9, true, false, 3}, {9, false, false, -1},
		{9, true, false, 6}, {9, true, true, -1}, {9, true, false, 8}, {10, true, false, -1}, {0, true, false, 10},
	} {
		now = time.Unix(1000+int64(i), 0)
		got := int64(-1)
		if s := since(c.applied, c.online, c.paused); s != nil {
			got = s.Unix() - 1000
		}
		if got != c.want {
			t.Errorf("look %d: behind since %d, want %d", i, got, c.want)
		}
	}
}
