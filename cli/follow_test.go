package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// A rollback that is committed and not yet on this disk is waited for as long as it
// moves, and never for longer.
func TestRollbackFollows(t *testing.T) {
	t.Parallel()
	coming := func(left int64) control.FolderStatus {
		return control.FolderStatus{Name: "docs", State: control.StateSyncing, AppliedRevision: 11, PendingFiles: 5, PendingBytes: left, Summary: "receiving 5 paths"}
	}
	for name, c := range map[string]struct {
		status   func(n int, cancel func()) control.FolderStatus
		out, err string
		most     time.Duration
	}{
		"moves": {func(n int, _ func()) control.FolderStatus {
			if n > 120 {
				return control.FolderStatus{Name: "docs", State: control.StateIdle, AppliedRevision: 13}
			}
			return coming(int64(1000 - n))
		}, "it is on this disk now\n", "rollback: 2% revision 12 is committed; receiving 5 paths\n", 3 * time.Minute},
		"stands": {func(int, func()) control.FolderStatus { return coming(1000) },
			"it is still on its way to this disk, and nothing has moved for a minute; it goes on by itself: lockstep wait docs\n",
			"rollback: 0% revision 12 is committed; receiving 5 paths\n", 62 * time.Second},
		"only sends": {func(int, func()) control.FolderStatus {
			return control.FolderStatus{Name: "docs", Mode: "send", AppliedRevision: 12, NotBrought: 2}
		}, "this node only sends: what is on its disk stays as it is (2 paths differ)\n", "", time.Second},
		"paused": {func(int, func()) control.FolderStatus {
			return control.FolderStatus{Name: "docs", State: control.StatePaused, AppliedRevision: 11}
		}, "the folder is paused here: it comes to this disk after `lockstep folder resume docs`\n", "", time.Second},
		"halted": {func(int, func()) control.FolderStatus {
			return control.FolderStatus{Name: "docs", State: control.StateHalted, Error: "no disk"}
		}, "the folder is halted here, and it comes to this disk when that is over: no disk\n", "", time.Second},
		"only receives": {func(int, func()) control.FolderStatus {
			return control.FolderStatus{Name: "docs", Mode: "receive", AppliedRevision: 12, Kept: make([]control.BlockedPath, 1)}
		}, "this node only receives: what was changed on its disk stays as it is, the rest is here; `lockstep status` lists it\n", "", time.Second},
		"held": {func(int, func()) control.FolderStatus {
			return control.FolderStatus{Name: "docs", AppliedRevision: 12, Held: make([]control.Held, 1)}
		}, "what is held here stays as it is, the rest is here: see `lockstep status`\n", "", time.Second},
		"gone": {func(int, func()) control.FolderStatus { return control.FolderStatus{Name: "other"} },
			"it is still on its way to this disk; it goes on by itself: lockstep wait docs\n", "", time.Second},
		"interrupted": {func(n int, cancel func()) control.FolderStatus {
			if n == 3 {
				cancel()
			}
			return coming(1000)
		}, "not waited for: revision 12 is committed, and it goes on by itself: lockstep wait docs\n", "", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Deps.Now = time.Now
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.fake.OnRollback = func(control.RollbackRequest, func(control.RollbackChange) error) (control.RollbackResult, error) {
					return control.RollbackResult{Folder: "docs", Target: 3, Previous: 11, Revision: 12, Changes: 9}, nil
				}
				n := 0
				w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
					if n++; n > 1 {
						time.Sleep(time.Second)
					}
					return control.Status{Folders: []control.FolderStatus{c.status(n, cancel)}}, nil
				}
				began := time.Now()
				if code := Main(ctx, w.Deps, []string{"rollback", "docs@3"}); code != 0 {
					t.Errorf("exit %d", code)
				}
				const done = "docs is as at revision 3: 9 paths, revision 12\nundo: lockstep rollback docs@11\n"
				if got := w.out.String(); got != done+c.out {
					t.Errorf("got %q", got)
				}
				if got := w.err.String(); c.err == "" && got != "" || c.err != "" && !strings.Contains(got, c.err) {
					t.Errorf("progress %q", got)
				}
				if took := time.Since(began); took > c.most {
					t.Errorf("waited %s", took)
				}
			})
		})
	}
}

// What is not known of an interrupted rollback is said.
func TestRollbackInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnRollback = func(control.RollbackRequest, func(control.RollbackChange) error) (control.RollbackResult, error) {
		return control.RollbackResult{}, context.Canceled
	}
	w.run(t, 1, "rollback", "docs@3")
	if got := w.err.String(); got != "lockstep: roll back docs: interrupted; it may be committed already, and then goes on: see `lockstep log`\n" {
		t.Errorf("%q", got)
	}
}

// cat into a file tells how far it is, and into anything else nothing.
func TestCatTellsProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.Now()
	w.Deps.Now = func() time.Time { at = at.Add(3 * time.Second); return at }
	w.fake.OnCat = func(_ control.CatRequest, start func(control.CatInfo) io.Writer) error {
		out := start(control.CatInfo{Size: 4 << 20})
		for range 4 {
			if _, err := out.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := w.Deps
	d.Out = file
	if code := Main(t.Context(), d, []string{"cat", "docs:f@3"}); code != 0 {
		t.Fatalf("exit %d: %s", code, w.err.String())
	}
	if got := w.err.String(); !strings.HasPrefix(got, "cat: 50% 2.0 MiB of 4.0 MiB\n") {
		t.Errorf("progress %q", got)
	}
	w.err.Reset()
	var pipe bytes.Buffer
	d.Out = &pipe
	if code := Main(t.Context(), d, []string{"cat", "docs:f@3"}); code != 0 || w.err.Len() > 0 || pipe.Len() != 4<<20 {
		t.Errorf("exit %d, %d bytes, says %q", code, pipe.Len(), w.err.String())
	}
}
