package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestFolderOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnFolderPause = func(r control.FolderPauseRequest) (control.FolderPauseResult, error) {
		return control.FolderPauseResult{Name: r.Name, Paused: r.Paused}, nil
	}
	w.fake.OnFolderMove = func(r control.FolderMoveRequest) (control.FolderMoveResult, error) {
		return control.FolderMoveResult{Name: r.Name, Path: string(r.Path), Previous: "/old", Left: true}, nil
	}
	w.fake.OnFolderAllow = func(r control.FolderAllowRequest) (control.FolderAllowResult, error) {
		if r.By == "" {
			t.Error("allow does not say who")
		}
		return control.FolderAllowResult{Name: r.Name, Deletes: 812, DryRun: r.DryRun}, nil
	}
	w.fake.OnFolderRevert = func(r control.FolderRevertRequest) (control.FolderRevertResult, error) {
		return control.FolderRevertResult{Name: r.Name, Restored: 1, SetAside: 2, Where: "/w/.lockstep/reverted/x", DryRun: r.DryRun}, nil
	}
	for _, c := range []struct{ args, want string }{
		{"pause docs", "docs is paused on this node; `lockstep folder resume docs` lets it go on\n"},
		{"pause docs --json", `{"name":"docs","id":"","paused":true}` + "\n"},
		{"resume docs", "docs goes on\n"},
		{"move docs new", "docs is at /w/new now\n/old is still there: it is not synced any more\n"},
		{"move docs new --json", `{"name":"docs","id":"","path":"/w/new","previous":"/old","left":true}` + "\n"},
		{"allow docs", "docs: 812 files deleted on all nodes; history keeps them\n"},
		{"allow docs --dry-run", "docs: 812 files would be deleted on all nodes; history keeps them\n"},
		{"allow docs --json", `{"name":"docs","id":"","deletes":812,"stay":0,"dry_run":false}` + "\n"},
		{"revert docs", "docs: 1 path put back from history\ndocs: 2 paths set aside in /w/.lockstep/reverted/x\n"},
		{"revert docs --dry-run", "docs: 1 path would be put back from history\ndocs: 2 paths would be set aside and replaced\n"},
		{"revert docs --json", `{"name":"docs","id":"","restored":1,"set_aside":2,"where":"/w/.lockstep/reverted/x","dry_run":false}` + "\n"},
	} {
		if got := w.run(t, 0, append([]string{"folder"}, strings.Fields(c.args)...)...); got != c.want {
			t.Errorf("folder %s printed:\n%swant:\n%s", c.args, got, c.want)
		}
	}
}

// At 80 columns a phrase goes on in the next line, and a command stays in one piece.
func TestStatusWraps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
		return control.Status{Folders: []control.FolderStatus{{
			Name: "docs", State: control.StateIdle, Path: "/d",
			Summary: "in sync at revision 7 on 2 of 2 nodes; 12 deletions are held: `lockstep folder allow docs` or `revert docs`",
		}}}, nil
	}
	const want = "docs  in sync at revision 7 on 2 of 2 nodes; 12 deletions are held:\n      `lockstep folder allow docs` or `revert docs`\n      0 files"
	if out := w.run(t, 0, "status"); !strings.Contains(out, want) {
		t.Errorf("got\n%s", out)
	}
}

func TestStatusTellsWhatStaysHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
		return control.Status{Cluster: control.ClusterStatus{HasQuorum: true}, Folders: []control.FolderStatus{
			{Name: "in", State: control.StateIdle, Mode: "receive", Kept: []control.BlockedPath{{Path: "a", Reason: "changed here"}}},
			{Name: "out", State: control.StateIdle, Mode: "send", NotBrought: 3},
			{Name: "held", State: control.StateIdle, Held: []control.Held{{Reason: "60 of 100", Deletes: 60, Since: time.Now()}}},
		}}, nil
	}
	out := w.run(t, 0, "status")
	for _, want := range []string{"kept in in, which only receives", "  a: changed here", "out only sends: 3 paths were changed elsewhere", "held in held: 60 of 100", "`lockstep folder allow held`"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	w.run(t, 5, "status", "--check")
	if got := w.err.String(); !strings.Contains(got, "1 change kept in in") || !strings.Contains(got, "deletions held in held") {
		t.Errorf("the check says %s", got)
	}
}
