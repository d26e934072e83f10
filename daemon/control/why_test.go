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
		"changed here, and being read: 1.0 GiB of 4.0 GiB, 256 MiB/s, about 12 s left (for 3 min)": {Step: "hashing", DoneBytes: 1 << 30, SizeBytes: 4 << 30, Rate: 256 << 20, Since: &ago},
		"changed here, and being read: 0 B of 10 B":                                                {Step: "hashing", SizeBytes: 10},
		"changed here, read, and about to be committed":                                            {Step: "hashing"},
		"revision 12 by b is being received from c and d: 1.0 GiB of 4.0 GiB, 90 MiB/s, about 34 s left": {Step: "receiving", Kind: "file", Revision: 12, Node: "b",
			DoneBytes: 1 << 30, SizeBytes: 4 << 30, Rate: 90 << 20, Sources: []string{"c", "d"}},
		"revision 12 by b is being received: 0 B of 4.0 GiB":                              {Step: "receiving", Kind: "file", Revision: 12, Node: "b", SizeBytes: 4 << 30},
		"revision 12 by b is being received from c":                                       {Step: "receiving", Kind: "file", Revision: 12, Node: "b", Sources: []string{"c"}},
		"revision 12 by b is being written to this disk: 5 B of 10 B":                     {Step: "staging", Kind: "file", Revision: 12, Node: "b", DoneBytes: 5, SizeBytes: 10},
		"revision 12 by b is complete on this disk, and about to be moved into its place": {Step: "staging", Kind: "file", Revision: 12, Node: "b", DoneBytes: 10, SizeBytes: 10},
		"blocked: cannot be read (for 3 min)":                                             {Step: "blocked", Reason: "cannot be read", Since: &ago},
		"revision 12 by b is being brought to this disk":                                  {Step: "receiving", Kind: "file", Revision: 12, Node: "b"},
		"its deletion in revision 12 by b is being carried out here":                      {Step: "receiving", Kind: "absent", Revision: 12, Node: "b"},
	} {
		if got := w.Sentence(now); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
