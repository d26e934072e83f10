package node

import (
	"cmp"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/local"
)

func TestSplitSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, value string
		scope      string // "" is wrong usage
	}{
		{"conflicts", "copy", control.ScopeCluster},
		{"conflicts", "history", control.ScopeCluster},
		{"conflicts", "none", ""},
		{"mode", "both", control.ScopeNode},
		{"mode", "send", control.ScopeNode},
		{"mode", "receive", control.ScopeNode},
		{"mode", "", ""},
		{"mode", "Send", ""},
		{"only", "docs,/photos/2026", control.ScopeNode},
		{"only", "*,!big", control.ScopeNode},
		{"only", "*", control.ScopeNode},
		{"only", "!big", ""},
		{"only", "[a", ""},
		{"merge", "text", ""}, // not known yet: it would have no effect
		{"", "x", ""},
	} {
		cluster, own, err := splitSettings(map[string]string{c.key: c.value})
		got := ""
		switch {
		case err != nil:
			if control.CodeOf(err) != control.CodeUsage {
				t.Errorf("%s=%s: %v is no usage error", c.key, c.value, err)
			}
		case cluster[c.key] == c.value:
			got = control.ScopeCluster
		case own[c.key] == c.value:
			got = control.ScopeNode
		}
		if got != c.scope {
			t.Errorf("%s=%s: scope %q, want %q (%v)", c.key, c.value, got, c.scope, err)
		}
	}
}

// A value that is set is shown; the default is kept as nothing, and shown all the same.
func TestSettingsAreShownAsTheyWereSet(t *testing.T) {
	t.Parallel()
	show := func(options map[string]string, own *local.Settings) map[string]string {
		out := make(map[string]string)
		for _, s := range showSettings(options, own) {
			out[s.Key] = s.Value
		}
		return out
	}
	var st local.Settings
	if got := show(nil, &st); got["mode"] != "both" || got["conflicts"] != "copy" {
		t.Errorf("the defaults are %v", got)
	}
	if got := show(map[string]string{"conflicts": "history"}, nil); got["conflicts"] != "history" || len(got) != 1 {
		t.Errorf("of a folder that is not here: %v", got)
	}
	applySettings(&st, map[string]string{"mode": "receive", "conflicts": "history"})
	if got := show(nil, &st); got["mode"] != "receive" {
		t.Errorf("after mode=receive: %v", got)
	}
	applySettings(&st, map[string]string{"mode": "both"})
	for _, v := range []string{"docs", "*", "a", ""} {
		_, own, err := splitSettings(map[string]string{"only": v})
		applySettings(&st, own)
		if want := cmp.Or(v, "*"); err != nil || show(nil, &st)["only"] != want {
			t.Errorf("after only=%s: %+v, shown %q (%v)", v, st, show(nil, &st)["only"], err)
		}
	}
	if st != (local.Settings{}) {
		t.Errorf("after mode=both: %+v, want the zero value", st)
	}
}
