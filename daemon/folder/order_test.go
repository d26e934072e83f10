package folder

import (
	"fmt"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// ordered is what units are, for comparing.
func ordered(units []unit) (out []string) {
	for _, u := range units {
		out = append(out, fmt.Sprint(u.paths))
	}
	return out
}

func version(p id.Path, rev id.Revision, size int64) meta.Version {
	return meta.Version{Path: p, Revision: rev, Entry: meta.Entry{Kind: meta.File, Size: size}}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	type change struct {
		rev     id.Revision
		p, from id.Path
	}
	tests := []struct {
		name    string
		heads   []meta.Version
		changes []change
		want    []string
	}{
		{"a later small commit overtakes",
			[]meta.Version{version("film", 1, 900*mib), version("note", 2, 10)},
			[]change{{1, "film", ""}, {2, "note", ""}}, []string{"[note]", "[film]"}},
		{"a commit stays whole",
			[]meta.Version{version("film", 1, 900*mib), version("note", 1, 10)},
			[]change{{1, "film", ""}, {1, "note", ""}}, []string{"[film note]"}},
		{"a commit in between links",
			[]meta.Version{version("film", 1, 900*mib), version("note", 3, 10)},
			[]change{{1, "film", ""}, {2, "film", ""}, {2, "note", ""}, {3, "note", ""}}, []string{"[film note]"}},
		{"one first component, one order",
			[]meta.Version{version("d/film", 1, 900*mib), version("d/note", 2, 10), version("e", 3, 10)},
			[]change{{1, "d/film", ""}, {2, "d/note", ""}, {3, "e", ""}}, []string{"[e]", "[d/film d/note]"}},
		{"regardless of case",
			[]meta.Version{version("D/film", 1, 900*mib), version("d/note", 2, 10)},
			[]change{{1, "D/film", ""}, {2, "d/note", ""}}, []string{"[D/film d/note]"}},
		{"a move links what it leaves and where it goes",
			[]meta.Version{version("a/x", 1, 900*mib), version("b/y", 2, 10)},
			[]change{{1, "a/x", ""}, {2, "b/y", "a/y"}}, []string{"[a/x b/y]"}},
		{"of equal ones the recent first",
			[]meta.Version{version("a", 1, 200*mib), version("b", 2, 210*mib), version("c", 3, 900*mib)},
			[]change{{1, "a", ""}, {2, "b", ""}, {3, "c", ""}}, []string{"[b]", "[a]", "[c]"}},
		{"small ones go together",
			[]meta.Version{version("a", 1, 1), version("b", 2, 2), version("c", 3, 90*mib), version("d", 4, 95*mib), version("e", 5, 900*mib)},
			[]change{{1, "a", ""}, {2, "b", ""}, {3, "c", ""}, {4, "d", ""}, {5, "e", ""}}, []string{"[a b]", "[c d]", "[e]"}},
		{"what no commit of these touches is by itself",
			[]meta.Version{version("a", 1, 100*mib), version("old", 1, 1)},
			[]change{{9, "a", ""}}, []string{"[old]", "[a]"}},
	}
	for _, tt := range tests {
		l := make(links)
		for _, c := range tt.changes {
			l.join(c.rev, c.p, c.from)
		}
		var paths []id.Path
		for _, v := range tt.heads {
			paths = append(paths, v.Path)
		}
		if got := ordered(smallFirst(paths, tt.heads, l)); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	heads := []meta.Version{version("a/film", 1, 50*mib), version("a/note", 1, 10), version("b/clip", 2, 5*mib), version("c", 1, 1)}
	var paths []id.Path
	for _, v := range heads {
		paths = append(paths, v.Path)
	}
	if got := fmt.Sprint(ordered(largeLast(paths, heads))); got != "[[a/note b/clip c] [a/film]]" {
		t.Errorf("first sync: %s", got)
	}
}
