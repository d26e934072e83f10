package meta

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestCopyName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 130)
	for _, tc := range []struct {
		name string
		dir  bool
		n    int
		want string
	}{
		{"plan.txt", false, 1, "plan (conflict a r7).txt"},
		{"plan.txt", false, 2, "plan (conflict a r7) 2.txt"},
		{"plan.d", true, 1, "plan.d (conflict a r7)"},
		{".bashrc", false, 1, ".bashrc (conflict a r7)"},
		{"a.tar.gz", false, 1, "a.tar (conflict a r7).gz"},
		{"plan (conflict b.c r3)", true, 1, "plan (conflict a r7)"},
		{"dot. (conflict b r3)", false, 1, "dot. (conflict a r7)"},
		{"dot.", false, 1, "dot. (conflict a r7)"},
		{"plan (conflict b r3).txt", false, 1, "plan (conflict a r7).txt"},
		{"plan (conflict b r3) 2.txt", false, 1, "plan (conflict a r7).txt"},
		{"plan (conflict b r3) (conflict c r4).txt", false, 1, "plan (conflict a r7).txt"},
		{" (conflict b r3)", false, 1, " (conflict b r3) (conflict a r7)"},
		{"x." + strings.Repeat("e", 40), false, 1, "x." + strings.Repeat("e", 40) + " (conflict a r7)"},
		{long + ".txt", false, 1, strings.Repeat("é", 117) + " (conflict a r7).txt"},
	} {
		if got := copyName(tc.name, tc.dir, "a", 7, tc.n, id.MaxComponent); got != tc.want {
			t.Errorf("%.60q: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestCopyNameProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.StringN(1, -1, id.MaxComponent).Draw(r, "name")
		got := copyName(name, rapid.Bool().Draw(r, "dir"), "node", id.Revision(rapid.Uint64().Draw(r, "rev")), rapid.IntRange(1, 99).Draw(r, "n"), id.MaxComponent)
		if len(got) > id.MaxComponent || utf8.ValidString(name) && !utf8.ValidString(got) {
			r.Fatalf("%q: %q", name, got)
		}
		if again := copyName(got, false, "node", 1, 1, id.MaxComponent); strings.Count(again, "(conflict") > strings.Count(name, "(conflict")+1 {
			r.Fatalf("%q: copies nest: %q", name, again)
		}
	})
}

// A path so long that no copy's name fits goes to an ancestor.
func TestCopyOfALongPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var changes []Change
	p := id.Path("")
	for i := range 16 {
		n := 254
		if i == 15 {
			n = 250
		}
		p = p.Join(strings.Repeat("d", n))
		changes = append(changes, put(p, Base{}, dir()))
	}
	p += "/fghijk"
	if p.Check() != nil {
		t.Fatal(p.Check(), len(p))
	}
	w.commit(nodeA, append(changes, put(p, Base{}, file("one")))...)
	b := w.head()
	w.commit(nodeA, edit(p, b, file("two")))
	o := w.commit(nodeB, edit(p, b, file("three")))
	if o.Changes[0].Kind != Copied || o.Changes[0].Path.Check() != nil {
		t.Fatalf("%+v", o)
	}
	w.checkInvariants()
}
