package reconcile

import (
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestStand(t *testing.T) {
	past := func(names ...string) (out []meta.Version) { // newest first
		for i, n := range names {
			out = append(out, meta.Version{Revision: id.Revision(10 * (len(names) - i)), Entry: entries[n]})
		}
		return out
	}
	for _, c := range []struct {
		name, disk string
		past       []meta.Version
		want       Standing
		at         id.Revision
	}{
		{"never there", "file a", nil, Fresh, 0},
		{"the head's content", "file a", past("file a", "file b"), Equal, 20},
		{"the head's content with other attributes", "file a2", past("file a"), Equal, 10},
		{"an older version", "file b", past("file a", "file b"), Older, 10},
		{"the newest of two that are equal", "file b", past("file a", "file b", "file a2", "file b"), Older, 30},
		{"deleted since", "file a", past("absent", "file a"), Gone, 10},
		{"deleted since, and edited here", "file a", past("absent", "file b"), Fresh, 0},
		{"edited on both sides", "file a", past("file b"), Different, 0},
		{"a file where a directory is", "file a", past("dir"), Different, 0},
		{"a file that became a directory", "file a", past("dir", "file a"), Older, 10},
		{"a symlink that became a file", "link", past("file a", "link"), Older, 10},
		{"a symlink of the same target", "link", past("link"), Equal, 10},
	} {
		var head meta.Version
		var candidates []meta.Version
		for i, v := range c.past {
			if i == 0 {
				head = v
			}
			if Candidate(v.Entry, entries[c.disk]) {
				candidates = append(candidates, v)
			}
		}
		got, v := Stand(head, candidates, entries[c.disk])
		if got != c.want || v.Revision != c.at {
			t.Errorf("%s: %v of revision %d, want %v of %d", c.name, got, v.Revision, c.want, c.at)
		}
	}
}
