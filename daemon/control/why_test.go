package control

import (
	"testing"
	"time"
)

func TestWhySentence(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	ago := now.Add(-3 * time.Minute)
	for want, w := range map[string]WhyPath{
		"revision 12 by b is on this disk":                                {Step: "in-sync", Kind: "file", Revision: 12, Node: "b"},
		"deleted in revision 12 by b":                                     {Step: "unknown", Kind: "absent", Revision: 12, Node: "b"},
		"neither on this disk nor in the folder's history":                {Step: "unknown"},
		"its change is stored here and waits to be committed (for 3 min)": {Step: "queued", Since: &ago},
		"waits for content that is on b (last seen 3 min ago), c (online)": {Step: "missing",
			Holders: []WhyHolder{{Name: "b", LastSeen: &ago}, {Name: "c", Online: true}}},
		"blocked: cannot be read (for 3 min)":                        {Step: "blocked", Reason: "cannot be read", Since: &ago},
		"revision 12 by b is being brought to this disk":             {Step: "receiving", Kind: "file", Revision: 12, Node: "b"},
		"its deletion in revision 12 by b is being carried out here": {Step: "receiving", Kind: "absent", Revision: 12, Node: "b"},
	} {
		if got := w.Sentence(now); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
