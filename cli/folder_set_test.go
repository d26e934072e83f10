package cli

import (
	"maps"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestFolderSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked control.FolderSetRequest
	w.fake.OnFolderSet = func(r control.FolderSetRequest) (control.FolderSettings, error) {
		asked = r
		return control.FolderSettings{Name: r.Name, Settings: []control.FolderSetting{
			{Key: "conflicts", Value: "copy", Scope: control.ScopeCluster, Values: "copy|history"},
			{Key: "mode", Value: "receive", Scope: control.ScopeNode, Values: "both|send|receive"},
		}}, nil
	}
	out := w.run(t, 0, "folder", "set", "docs", "mode=receive", "conflicts=a=b")
	if want := (map[string]string{"mode": "receive", "conflicts": "a=b"}); asked.Name != "docs" || !maps.Equal(asked.Set, want) {
		t.Errorf("asked for %+v", asked)
	}
	if !strings.Contains(out, "mode       receive  this node    both|send|receive") {
		t.Errorf("printed:\n%s", out)
	}
	w.run(t, 0, "folder", "set", "docs", "only=a,b")
	if want := (map[string]string{"only": "a,b"}); !maps.Equal(asked.Set, want) {
		t.Errorf("asked for %+v", asked)
	}
	w.run(t, 0, "folder", "set", "docs", "only=")
	if v, is := asked.Set["only"]; v != "" || !is {
		t.Errorf("asked for %+v", asked)
	}
	w.run(t, 2, "folder", "set", "docs", "mode=")
	if out := w.run(t, 0, "folder", "set", "docs", "--json"); len(asked.Set) != 0 || !strings.Contains(out, `"key":"mode","value":"receive","scope":"node"`) {
		t.Errorf("asked for %+v, printed %s", asked, out)
	}
}

func TestFolderLsShowsAMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnFolders = func() ([]control.Folder, error) {
		return []control.Folder{{Name: "docs", Subscribed: true, State: control.StateIdle, Settings: map[string]string{"mode": "receive"}}}, nil
	}
	if out := w.run(t, 0, "folder", "ls"); !strings.Contains(out, "idle (receive only)") || strings.Contains(out, "only=") {
		t.Errorf("printed:\n%s", out)
	}
	w.fake.OnFolders = func() ([]control.Folder, error) {
		return []control.Folder{{Name: "docs", Path: "/w/d", Subscribed: true, Settings: map[string]string{"only": "*,!big"}}}, nil
	}
	if out := w.run(t, 0, "folder", "ls"); !strings.Contains(out, "/w/d  only=*,!big\n") {
		t.Errorf("printed:\n%s", out)
	}
}
