package cli

import (
	"encoding/json"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestStatusIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var items []control.Ignored
	w.fake.OnIgnored = func(_ control.IgnoredRequest, emit func(control.Ignored) error) error {
		for _, i := range items {
			if err := emit(i); err != nil {
				return err
			}
		}
		return nil
	}
	if got := w.run(t, 0, "status", "--ignored"); got != "nothing is ignored\n" {
		t.Errorf("got %q", got)
	}
	if got := w.run(t, 0, "status", "--ignored", "--json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	odd := control.Ignored{Folder: "docs", Kind: "file", RuleFile: "sub/.lockstepignore", RulePattern: "is larger than 1 MiB"}
	odd.Path, odd.PathB64 = control.EncodePath("sub/\xff\n")
	items = []control.Ignored{{Folder: "docs", Path: "modules", Kind: "directory", RuleFile: ".lockstepignore", RuleLine: 3, RulePattern: "modules/"}, odd}
	want := "IGNORED          BY\n" +
		"docs:modules/    .lockstepignore:3:modules/\n" +
		"docs:sub/\\xff\\n  sub/.lockstepignore cannot be used: is larger than 1 MiB\n"
	if got := w.run(t, 0, "status", "--ignored"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var back []control.Ignored
	if err := json.Unmarshal([]byte(w.run(t, 0, "status", "--ignored", "--json")), &back); err != nil || len(back) != 2 || back[0] != items[0] || back[1] != items[1] {
		t.Errorf("JSON gives back %+v (%v)", back, err)
	}
	w.run(t, 2, "status", "--ignored", "--check")
}
