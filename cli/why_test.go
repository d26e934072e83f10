package cli

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	since := w.Now().Add(-2 * time.Minute)
	var asked control.Target
	w.fake.OnWhy = func(r control.WhyRequest) (control.WhyResult, error) {
		asked = r.Target
		return control.WhyResult{
			Folder: "docs", WhyPath: control.WhyPath{Path: "d", Step: "in-sync", Kind: "dir", Revision: 3, Node: "a"}, Waiting: 3,
			Below: []control.WhyPath{{Path: "d/x\n", Step: "queued", Since: &since}},
		}, nil
	}
	const want = "docs:d  revision 3 by a is on this disk\n  d/x\\n  its change is stored here and waits to be committed (for 2 min)\n  and 2 more\n"
	if got := w.run(t, 0, "why", "docs:d"); got != want || asked.Folder != "docs" || asked.Rel != "d" {
		t.Errorf("got %q of %+v, want %q", got, asked, want)
	}
	if got := w.run(t, 0, "why", "docs:d", "--json"); !strings.Contains(got, `"step":"in-sync"`) || !strings.Contains(got, `"waiting":3`) {
		t.Errorf("json: %s", got)
	}
	w.run(t, 2, "why")
	w.run(t, 2, "why", "a", "b")
}

// Where no terminal reads, --watch prints a line for what has changed, and ends with
// its context, without an error.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
			if n++; n == 3 {
				cancel()
			}
			return control.Status{Folders: []control.FolderStatus{
				{Name: "docs", State: []control.FolderState{"scanning", "idle", "idle"}[n-1], Summary: []string{"scanning", "in sync", "in sync, older"}[n-1]},
				{Name: "pics", State: "idle", Summary: "in sync"},
			}}, nil
		}
		if got := Main(ctx, w.Deps, []string{"status", "--watch"}); got != 0 {
			t.Errorf("exit %d: %s", got, w.err.String())
		}
		var got []string
		for l := range strings.Lines(w.out.String()) {
			got = append(got, strings.Join(strings.Fields(l)[2:], " "))
		}
		if g := strings.Join(got, "|"); g != "docs: scanning|pics: in sync|docs: in sync" {
			t.Errorf("got %s", g)
		}
	})
}
