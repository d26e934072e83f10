package cli

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// A long wait tells now and then what it waits for, and a short one nothing.
func TestWaitTellsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Deps.Now = time.Now
		took := 100 * time.Millisecond
		w.fake.OnWait = func(context.Context, control.WaitRequest) (control.WaitResult, error) {
			time.Sleep(took)
			return control.WaitResult{Folders: []control.WaitFolder{{Name: "docs", Revision: 3}}}, nil
		}
		left, asked := int64(100), 0
		w.fake.OnStatus = func(r control.StatusRequest) (control.Status, error) {
			if asked++; r.After != uint64(asked-1) {
				t.Errorf("asked for what comes after %d, want %d", r.After, asked-1)
			}
			time.Sleep(time.Second)
			left -= 10
			return control.Status{Change: uint64(asked), Folders: []control.FolderStatus{
				{Name: "docs", State: control.StateSyncing, Summary: "receiving", PendingBytes: left}, {Name: "pics", State: control.StateIdle, Summary: "in sync"},
			}}, nil
		}
		if w.run(t, 0, "wait", "docs"); w.err.Len() > 0 || asked > 0 {
			t.Errorf("a short wait asked %d times and says %q", asked, w.err.String())
		}
		took = 8 * time.Second
		if got := w.run(t, 0, "wait", "docs"); !strings.HasPrefix(got, "docs: revision 3 is on this disk") {
			t.Errorf("got %q", got)
		}
		if got := w.err.String(); got != "wait: 33% receiving\n" {
			t.Errorf("progress %q", got)
		}
	})
}

func TestDoing(t *testing.T) {
	t.Parallel()
	st := control.Status{Folders: []control.FolderStatus{
		{Name: "a", State: control.StateSyncing, Summary: "receiving", PendingBytes: 5}, {Name: "b", State: control.StateScanning, Summary: "scanning", PendingBytes: 2},
		{Name: "c", State: control.StateIdle, Summary: "in sync"},
	}}
	for folder, want := range map[string]string{"": "a is receiving, b is scanning", "a": "receiving", "c": "", "d": ""} {
		if got, _ := doing(st, folder); got != want {
			t.Errorf("%q: %q, want %q", folder, got, want)
		}
	}
	if _, left := doing(st, ""); left != 7 {
		t.Errorf("left %d", left)
	}
}
