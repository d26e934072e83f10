package cli

import (
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestFolderForget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnFolderForget = func(r control.FolderForgetRequest) (control.FolderForgetResult, error) {
		if r.Target.Folder != "docs" || r.Target.Rel != "out\n" {
			t.Errorf("request %+v", r)
		}
		res := control.FolderForgetResult{Folder: "docs", Path: "out\n", Paths: 1, DryRun: true}
		if !r.DryRun {
			res.Paths, res.Revision, res.DryRun = 1200, 7, false
		}
		return res, nil
	}
	if got := w.run(t, 0, "folder", "forget", "docs:out\n"); got != "stopped tracking docs:out\\n (1,200 paths) with revision 7; every node keeps its copy\n" {
		t.Errorf("got %q", got)
	}
	if got := w.run(t, 0, "folder", "forget", "--dry-run", "docs:out\n"); got != "would stop tracking docs:out\\n (1 path); no file is deleted\n" {
		t.Errorf("got %q", got)
	}
	if got := w.run(t, 0, "folder", "forget", "--json", "docs:out\n"); got != `{"folder":"docs","path":"out\n","revision":7,"paths":1200,"dry_run":false}`+"\n" {
		t.Errorf("got %q", got)
	}
	w.fake.OnFolderForget = func(control.FolderForgetRequest) (control.FolderForgetResult, error) {
		return control.FolderForgetResult{}, control.Errorf(control.CodeFailed, "forget docs:x: no ignore rule matches it").WithHint("add the line /x")
	}
	w.run(t, 1, "folder", "forget", "docs:x")
	if got := w.err.String(); got != "lockstep: forget docs:x: no ignore rule matches it; add the line /x\n" {
		t.Errorf("stderr %q", got)
	}
	w.run(t, 2, "folder", "forget")
}
