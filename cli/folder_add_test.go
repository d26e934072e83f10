package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func paths(n int, first ...string) (out control.PlanPaths) {
	out.Count = n
	for _, p := range first {
		text, b64 := control.EncodePath(p)
		out.First = append(out.First, control.PlanPath{Path: text, PathB64: b64})
	}
	return out
}

func TestFolderAddPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked control.FolderAddRequest
	plan := control.FolderPlan{
		Equal: paths(9200, "e"), Older: paths(1, "o\nld"), Different: paths(150, "x", "y"), OnlyHere: paths(0), Limit: 100, Stops: true,
	}
	w.fake.OnFolderAdd = func(r control.FolderAddRequest) (control.FolderAddResult, error) {
		asked = r
		p := plan
		p.Prefer, p.Stops = r.Prefer, r.Prefer == ""
		res := control.FolderAddResult{Name: "docs", Path: string(r.Path), Joined: true, DryRun: r.DryRun, Plan: &p}
		if r.Prefer == "cluster" && !r.DryRun {
			res.Kept = &control.KeptMine{Path: "replaced-on-b-1", Revision: 7, Files: 150}
		}
		return res, nil
	}
	got := w.run(t, 0, "folder", "add", "d", "--dry-run")
	want := `would join folder docs at /w/d
FILES  ARE            AND WILL BE
9,200  equal          left as they are
    1  older          brought up to date
    0  deleted there  deleted here too; history has them
    0  only there     received
    0  only here      sent
  150  different      more than 100: choose with --prefer

older:
  o\nld

different:
  x
  y
  and 148 more
`
	if got != want || !asked.DryRun || asked.Path != "/w/d" {
		t.Errorf("asked %+v, got:\n%s\nwant:\n%s", asked, got, want)
	}
	got = w.run(t, 0, "folder", "add", "d", "--prefer", "cluster")
	want = `joined folder docs at /w/d
FILES  ARE        AND WILL BE
9,200  equal      left as they are
    1  older      brought up to date
  150  different  replaced by the folder's; yours stay in history
kept in history: 150 files of yours; to have them back:
  lockstep rollback docs:replaced-on-b-1@7
`
	if got != want || asked.DryRun || asked.Prefer != "cluster" {
		t.Errorf("asked %+v, got:\n%s\nwant:\n%s", asked, got, want)
	}
	for _, l := range strings.Split(got, "\n") {
		if len(l) > 80 {
			t.Errorf("a long line: %s", l)
		}
	}
	var res control.FolderAddResult
	if err := json.Unmarshal([]byte(w.run(t, 0, "folder", "add", "d", "--prefer", "mine", "--json")), &res); err != nil {
		t.Fatal(err)
	}
	if res.Plan == nil || res.Plan.Equal.Count != 9200 || res.Plan.Prefer != "mine" || res.Plan.Stops {
		t.Errorf("json: %+v", res)
	}
	// A new folder has no plan, an equal one nothing to tell but that.
	plan = control.FolderPlan{}
	if got := w.run(t, 0, "folder", "add", "d"); got != "joined folder docs at /w/d\n" {
		t.Errorf("got %q", got)
	}
}

// `up` tells of the content too.
func TestUpTellsOfContent(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	rep := upReport{out: &out}
	err := rep.folder(control.FolderAddResult{
		Name: "docs", Path: "/w/d", Joined: true,
		Plan: &control.FolderPlan{Different: paths(1, "x"), Prefer: "cluster"}, Kept: &control.KeptMine{Path: "replaced-on-b-1", Revision: 7, Files: 1},
	}, false)
	want := `joined folder docs at /w/d
FILES  ARE        AND WILL BE
    1  different  replaced by the folder's; yours stay in history
kept in history: 1 file of yours; to have them back:
  lockstep rollback docs:replaced-on-b-1@7
`
	if err != nil || out.String() != want {
		t.Errorf("%v, got:\n%s", err, out.String())
	}
}
