package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked control.EventsRequest
	w.fake.OnEvents = func(_ context.Context, r control.EventsRequest, emit func([]control.Event) error) error {
		asked = r
		return emit([]control.Event{{Seq: 8, Epoch: "E", Kind: "commit", Folder: "docs", Revision: 3}, {Seq: 9, Epoch: "E", Kind: "leader"}})
	}
	got := w.run(t, 0, "events", "--since", "E:7", "--no-follow")
	if lines := strings.Split(got, "\n"); len(lines) != 3 || !strings.Contains(lines[0], `"kind":"commit","folder":"docs","revision":3`) {
		t.Errorf("got %s", got)
	}
	if asked.Since == nil || *asked.Since != 7 || asked.Epoch != "E" || !asked.NoFollow {
		t.Errorf("asked %+v", asked)
	}
	if w.run(t, 0, "events"); asked.Since != nil {
		t.Errorf("asked %+v", asked)
	}
}
