package meta

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// diff is what changed between two revisions, a line a path.
func (w *world) diff(under id.Path, then, now id.Revision) string {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	var out []string
	err := v.Diff(w.folder, under, then, now, func(was, is Version) error {
		line := string(is.Path)
		if was.Path != is.Path {
			line = string(was.Path) + " -> " + line
		}
		out = append(out, fmt.Sprintf("%s: %s => %s", line, show(was.Entry), show(is.Entry)))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func TestDiff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// commits come after revision 1, which has d/, d/a: one, f: two, g: three.
		commits [][]Change
		under   id.Path
		want    []string
	}{
		"nothing":           {},
		"edit and back":     {commits: [][]Change{{edit("f", Base{}, file("x"))}, {edit("f", Base{}, file("two"))}}},
		"create and delete": {commits: [][]Change{{put("n", Base{}, file("x")), del("f", Base{})}}, want: []string{"f: two => absent", "n: absent => x"}},
		"rename":            {commits: [][]Change{{mv("f", "n", Base{})}}, want: []string{"f -> n: two => two"}},
		"rename and edit": {commits: [][]Change{{mv("f", "n", Base{})}, {edit("n", Base{}, file("x"))}, {mv("n", "m", Base{})}},
			want: []string{"f -> m: two => x"}},
		"rename and back":     {commits: [][]Change{{mv("f", "n", Base{})}, {mv("n", "f", Base{})}}},
		"equal content":       {commits: [][]Change{{del("f", Base{})}, {put("n", Base{}, file("two"))}}, want: []string{"f: two => absent", "n: absent => two"}},
		"directory":           {commits: [][]Change{{mv("d", "e", Base{})}}, want: []string{"d -> e: / => /", "d/a -> e/a: one => one"}},
		"replaced":            {commits: [][]Change{{del("g", Base{})}, {mv("f", "g", Base{})}}, want: []string{"f -> g: two => two"}},
		"new at the old path": {commits: [][]Change{{mv("f", "n", Base{})}, {put("f", Base{}, file("x"))}}, want: []string{"f: two => x", "n: absent => two"}},
		"chain":               {commits: [][]Change{{mv("g", "n", Base{})}, {mv("f", "g", Base{})}}, want: []string{"f -> g: two => two", "g -> n: three => three"}},
		"exchanged": {commits: [][]Change{{mv("f", "n", Base{})}, {mv("g", "f", Base{})}, {mv("n", "g", Base{})}},
			want: []string{"g -> f: three => three", "f -> g: two => two"}},
		"into the scope":   {under: "d", commits: [][]Change{{mv("f", "d/f", Base{})}}, want: []string{"f -> d/f: two => two"}},
		"out of the scope": {under: "d", commits: [][]Change{{mv("d/a", "a", Base{})}}, want: []string{"d/a -> a: one => one"}},
		"beside the scope": {under: "d", commits: [][]Change{{put("d-x", Base{}, file("x")), put("d/b", Base{}, file("x"))}}, want: []string{"d/b: absent => x"}},
		"scope moved":      {under: "e", commits: [][]Change{{mv("d", "e", Base{})}}, want: []string{"d -> e: / => /", "d/a -> e/a: one => one"}},
		"deleted and back": {commits: [][]Change{{del("f", Base{})}, {put("f", Base{}, file("x"))}}, want: []string{"f: two => x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("d", Base{}, dir()), put("d/a", Base{}, file("one")), put("f", Base{}, file("two")), put("g", Base{}, file("three")))
			for _, changes := range c.commits {
				for i := range changes {
					changes[i].Base = w.head()
				}
				w.must(w.commit(nodeA, changes...))
			}
			if got, want := w.diff(c.under, 1, w.head().Revision), strings.Join(c.want, "\n"); got != want {
				t.Errorf("%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Of two entries that one commit moved away from one path only one is told.
func TestDiffOfTwoMovesFromOnePath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("a", Base{}, file("one")))
	w.must(w.commit(nodeA, mv("a", "b", w.head()), put("a", w.head(), file("two")), mv("a", "c", w.head())))
	if got, want := w.diff("", 1, 2), "b: absent => one\na -> c: one => two"; got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}

// A conflict copy is a new path: the original is where it was.
func TestDiffOfAConflictCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	base := w.head()
	w.commit(nodeA, edit("f", base, file("two")))
	w.commit(nodeB, edit("f", base, file("three")))
	if got, want := w.diff("", 2, 3), "f (conflict b r3): absent => three"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// Both ways of comparing give what the trees say, in byte order, whatever the
// scope; and the moves of Diff are whole: taking away each old path and setting
// each new one makes the later tree of the earlier.
func TestCompareProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		names := []id.Path{"a", "b", "d", "d-x", "d/a", "d/b", "d/s", "d/s/x", "e", "e/a"}
		draw := func(what string) id.Path { return rapid.SampledFrom(names).Draw(r, what) }
		for range rapid.IntRange(1, 12).Draw(r, "commits") {
			var changes []Change
			for range rapid.IntRange(1, 3).Draw(r, "changes") {
				p, e := draw("path"), file(fmt.Sprint("c", rapid.IntRange(0, 3).Draw(r, "content")))
				switch rapid.IntRange(0, 5).Draw(r, "op") {
				case 0:
					changes = append(changes, del(p, w.head()))
				case 1, 2:
					if to := draw("to"); !to.Within(p) && !p.Within(to) {
						changes = append(changes, mv(p, to, w.head()))
					}
				case 3:
					e = dir()
					fallthrough
				default:
					changes = append(changes, put(p, w.head(), e))
				}
			}
			w.commit(nodeA, changes...)
		}
		head := w.head().Revision
		then := id.Revision(rapid.IntRange(0, int(head)).Draw(r, "then"))
		now := id.Revision(rapid.IntRange(int(then), int(head)).Draw(r, "now"))
		under := rapid.SampledFrom([]id.Path{"", "", "d", "d/s", "a"}).Draw(r, "under")
		w.checkCompare(r, under, then, now)
		w.checkDiff(r, then, now)
	})
}

func (w *world) entries(r id.Revision) map[id.Path]Entry {
	v := w.m.View()
	defer v.Close()
	out := map[id.Path]Entry{}
	if r == 0 {
		return out
	}
	if err := v.Tree(w.folder, "", r, func(x Version) error { out[x.Path] = x.Entry; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) checkCompare(r *rapid.T, under id.Path, then, now id.Revision) {
	a, b := w.entries(then), w.entries(now)
	var want []string
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if p.Within(under) && a[p] != b[p] {
			want = append(want, fmt.Sprintf("%s: %s => %s", p, show(a[p]), show(b[p])))
		}
	}
	v := w.m.View()
	defer v.Close()
	for _, most := range []int{-1, maxTouched} {
		var got []string
		err := v.compareWithin(w.folder, under, then, now, most, func(was, is Version) error {
			if was.Path != is.Path {
				r.Fatalf("paths %q and %q", was.Path, is.Path)
			}
			got = append(got, fmt.Sprintf("%s: %s => %s", is.Path, show(was.Entry), show(is.Entry)))
			return nil
		})
		if err != nil {
			r.Fatal(err)
		}
		if !slices.Equal(got, want) {
			r.Fatalf("most %d, %q from %d to %d:\n%s\nwant:\n%s", most, under, then, now, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func (w *world) checkDiff(r *rapid.T, then, now id.Revision) {
	a, b := w.entries(then), w.entries(now)
	v := w.m.View()
	defer v.Close()
	made, old := maps.Clone(a), map[id.Path]bool{}
	var set []Version
	err := v.Diff(w.folder, "", then, now, func(was, is Version) error {
		if was.Entry.Kind != Absent {
			moved := was.Path != is.Path
			if moved && old[was.Path] || a[was.Path] != was.Entry {
				r.Fatalf("%q is moved twice, or not told as it was:\n%s", was.Path, w.diff("", then, now))
			}
			old[was.Path] = old[was.Path] || moved
			delete(made, was.Path)
		}
		set = append(set, is)
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	for _, x := range set {
		if x.Entry.Kind != Absent {
			made[x.Path] = x.Entry
		}
	}
	if !maps.Equal(made, b) {
		r.Fatalf("from %d to %d:\n%s\nmakes %v of %v, want %v", then, now, w.diff("", then, now), made, a, b)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d-x", Base{}, file("x")), put("d/a", Base{}, file("one")), put("f", Base{}, file("x")))
	w.commit(nodeA, edit("f", w.head(), file("y")))
	w.commit(nodeA, del("d", w.head()))
	v := w.m.View()
	defer v.Close()
	list := func(under id.Path, newest, oldest id.Revision) (got []string) {
		if err := v.Versions(w.folder, under, newest, oldest, func(x Version) error {
			got = append(got, fmt.Sprintf("%d %s %s", x.Revision, x.Path, show(x.Entry)))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got, want := list("d", 99, 0), []string{"3 d absent", "3 d/a absent", "1 d /", "1 d/a one"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := list("", 2, 2), []string{"2 f y"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
