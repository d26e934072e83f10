package meta

import (
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestPutDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")), put("l", Base{}, link("d/f")))
	if o.Kind != Accepted || o.Revision != 1 || len(o.Changes) != 0 {
		t.Fatalf("%+v", o)
	}
	w.wantTree("d: /", "d/f: one", "l: -> d/f")
	w.commit(nodeA, edit("d/f", w.head(), file("two")))
	w.wantTree("d: /", "d/f: two", "l: -> d/f")
	w.commit(nodeB, del("d", w.head()))
	w.wantTree("l: -> d/f")
	w.wantConflicts()
	v := w.m.View()
	defer v.Close()
	tot, err := v.Totals(w.folder)
	if err != nil || tot != (Totals{Symlinks: 1}) {
		t.Fatalf("%+v %v", tot, err)
	}
	var n int
	if err := v.History(w.folder, "d/f", func(Version) error { n++; return nil }); err != nil || n != 3 {
		t.Fatal(n, err)
	}
}

func TestEditEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f.txt", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f.txt", b, file("two")))
	o := w.commit(nodeB, edit("f.txt", b, file("three")))
	w.wantTree("f (conflict b r3).txt: three", "f.txt: two")
	w.wantConflicts("edit/edit open f.txt f (conflict b r3).txt")
	if len(o.Changes) != 1 || o.Changes[0].Kind != Copied || o.Changes[0].Base != w.head() || o.Changes[0].Conflict != 1 {
		t.Fatalf("%+v", o)
	}
}

// Three queued offline versions of one file against a newer head: one conflict,
// one copy, three versions in history.
func TestOfflineLineage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f", b, file("two")))
	w.commit(nodeB, edit("f", b, file("v1")))
	w.commit(nodeB, edit("f", own(1), file("v2")))
	o := w.commit(nodeB, edit("f", own(2), file("v3")))
	w.wantTree("f: two", "f (conflict b r3): v3")
	w.wantConflicts("edit/edit open f f (conflict b r3)")
	if len(o.Changes) != 1 || o.Changes[0].Kind != Copied || o.Changes[0].Conflict != 1 {
		t.Fatalf("%+v", o)
	}
	v := w.m.View()
	defer v.Close()
	var got []string
	if err := v.History(w.folder, "f (conflict b r3)", func(x Version) error { got = append(got, show(x.Entry)); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != "v3" || got[2] != "v1" {
		t.Fatal(got)
	}
}

func TestAloneNoConflict(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		commits [][]Change
		want    []string
	}{
		{"delete then create", [][]Change{{del("f", Base{Revision: 1})}, {put("f", own(1), file("two"))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two"}},
		{"create, delete, create", [][]Change{{put("g", Base{}, file("v1"))}, {del("g", own(1))}, {put("g", own(2), file("v2"))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one", "g: v2"}},
		{"move then edit", [][]Change{{mv("f", "g", Base{Revision: 1})}, {edit("g", own(1), file("two"))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: two"}},
		{"move directory then edit child", [][]Change{{mv("d", "b", Base{Revision: 1})}, {edit("b/e/y", own(1), file("two"))}, {edit("b/e/y", own(2), file("three"))}}, []string{"b: /", "b/e: /", "b/e/y: three", "b/x: one", "f: one"}},
		{"move directory then edit child by revision", [][]Change{{mv("d", "b", Base{Revision: 1})}, {edit("b/e/y", Base{Revision: 1}, file("two"))}}, []string{"b: /", "b/e: /", "b/e/y: two", "b/x: one", "f: one"}},
		{"edit child then delete directory", [][]Change{{edit("d/e/y", Base{Revision: 1}, file("two"))}, {del("d", Base{Revision: 1})}}, []string{"f: one"}},
		{"move there and back", [][]Change{{mv("d", "b", Base{Revision: 1})}, {mv("b", "d", own(1))}, {edit("d/x", own(2), file("x"))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: x", "f: one"}},
		{"all in one", [][]Change{{mv("d", "b", Base{Revision: 1}), mv("b", "c", own(1)), edit("c/x", own(1), file("two")), del("f", Base{Revision: 1}), put("f", own(1), dir()), put("f/z", Base{}, file("z"))}}, []string{"c: /", "c/e: /", "c/e/y: one", "c/x: two", "f: /", "f/z: z"}},
		{"file becomes directory and back", [][]Change{{put("f", Base{Revision: 1}, dir())}, {put("f/a", Base{}, file("x"))}, {put("f", own(1), file("y"))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: y"}},
		{"rename over", [][]Change{{put("g", Base{}, file("two"))}, {mv("g", "f", own(1))}}, nil},
		{"swap", [][]Change{{mv("f", "t", Base{Revision: 1}), mv("d", "f", Base{Revision: 1}), mv("t", "d", own(1))}}, []string{"d: one", "f: /", "f/e: /", "f/e/y: one", "f/x: one"}},
		{"empty dir", [][]Change{{put("n", Base{}, dir())}, {chmod("n", own(1), dir(), 0o700)}, {mv("n", "m", own(2))}, {del("m", own(3))}}, []string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("d", Base{}, dir()), put("d/e", Base{}, dir()), put("d/e/y", Base{}, file("one")), put("d/x", Base{}, file("one")), put("f", Base{}, file("one")))
			for _, c := range tc.commits {
				for i := range c {
					if c[i].Base.Revision != 0 {
						c[i].Base = w.at(c[i].Base.Revision)
					}
				}
				w.commit(nodeB, c...)
			}
			if tc.want != nil {
				w.wantTree(tc.want...)
				w.wantConflicts()
			}
		})
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	one := Base{Revision: 1}
	start := []Change{put("d", Base{}, dir()), put("d/e", Base{}, dir()), put("d/e/y", Base{}, file("one")), put("d/x", Base{}, file("one")), put("f", Base{}, file("one"))}
	tests := []struct {
		name      string
		a, b      []Change
		tree      []string
		conflicts []string
	}{
		{"equal content", []Change{edit("f", one, file("two"))}, []Change{edit("f", one, file("two"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two"}, nil},
		{"attributes against content", []Change{edit("f", one, file("two"))}, []Change{chmod("f", one, file("one"), 0o600)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two 600"}, nil},
		{"content against attributes", []Change{chmod("f", one, file("one"), 0o600)}, []Change{edit("f", one, file("two"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two 600"}, nil},
		{"both deleted", []Change{del("f", one)}, []Change{del("f", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one"}, nil},
		{"edit against delete", []Change{del("f", one)}, []Change{edit("f", one, file("two"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two"}, []string{"edit/delete automatic f"}},
		{"delete against edit", []Change{edit("f", one, file("two"))}, []Change{del("f", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two"}, []string{"edit/delete automatic f"}},
		{"create against create", []Change{put("n", Base{}, file("two"))}, []Change{put("n", Base{}, file("three"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one", "n: two", "n (conflict b r3): three"}, []string{"create/create open n n (conflict b r3)"}},
		{"directory against file with children", []Change{put("n", Base{}, file("two"))}, []Change{put("n", Base{}, dir()), put("n/a", Base{}, file("x")), put("n/b", Base{}, file("y"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one", "n: two", "n (conflict b r3): /", "n (conflict b r3)/a: x", "n (conflict b r3)/b: y"}, []string{"kind open n n (conflict b r3)"}},
		{"below a file", []Change{del("d", one), put("d", one, file("two"))}, []Change{edit("d/e/y", one, file("x")), put("d/n", Base{}, file("z"))},
			[]string{"d: two", "d (conflict b r3): /", "d (conflict b r3)/e: /", "d (conflict b r3)/e/y: x", "d (conflict b r3)/n: z", "f: one"}, []string{"kind open d d (conflict b r3)"}},
		{"file against directory", []Change{put("n", Base{}, dir()), put("n/a", Base{}, file("x"))}, []Change{put("n", Base{}, file("y"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one", "n: /", "n (conflict b r3): y", "n/a: x"}, []string{"kind open n n (conflict b r3)"}},
		{"both make a directory", []Change{put("n", Base{}, dir()), put("n/a", Base{}, file("x"))}, []Change{put("n", Base{}, dir()), put("n/b", Base{}, file("y"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one", "n: /", "n/a: x", "n/b: y"}, nil},
		{"directory deleted, child created", []Change{put("d/n", Base{}, file("x"))}, []Change{del("d", one)},
			[]string{"d: /", "d/n: x", "f: one"}, nil},
		{"child created in deleted directory", []Change{del("d", one)}, []Change{put("d/e/n", Base{}, file("x"))},
			[]string{"d: /", "d/e: /", "d/e/n: x", "f: one"}, nil},
		{"directory deleted, child edited", []Change{edit("d/e/y", one, file("x"))}, []Change{del("d", one)},
			[]string{"d: /", "d/e: /", "d/e/y: x", "f: one"}, []string{"edit/delete automatic d/e/y"}},
		{"edit follows a move", []Change{mv("f", "g", one)}, []Change{edit("f", one, file("two"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: two"}, nil},
		{"edit below follows a move", []Change{mv("d", "g", one)}, []Change{edit("d/e/y", one, file("two")), put("d/e/n", Base{}, file("x"))},
			[]string{"f: one", "g: /", "g/e: /", "g/e/n: x", "g/e/y: two", "g/x: one"}, nil},
		{"move takes an edit along", []Change{edit("d/x", one, file("two")), put("d/n", Base{}, file("x"))}, []Change{mv("d", "g", one)},
			[]string{"f: one", "g: /", "g/e: /", "g/e/y: one", "g/n: x", "g/x: two"}, nil},
		{"moved to two places", []Change{mv("f", "g", one)}, []Change{mv("f", "h", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: one"}, []string{"rename/rename automatic f"}},
		{"moved to two places and edited", []Change{mv("f", "g", one), edit("g", Base{}, file("two"))}, []Change{mv("f", "h", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: two", "h: one"}, []string{"rename/rename automatic f"}},
		{"moved to the same place", []Change{mv("f", "g", one)}, []Change{mv("f", "g", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: one"}, nil},
		{"two moved to one place", []Change{mv("f", "g", one)}, []Change{mv("d", "g", one)},
			[]string{"g: one", "g (conflict b r3): /", "g (conflict b r3)/e: /", "g (conflict b r3)/e/y: one", "g (conflict b r3)/x: one"}, []string{"kind open g g (conflict b r3)"}},
		{"move of a deleted file", []Change{del("f", one)}, []Change{mv("f", "g", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: one"}, []string{"edit/delete automatic f"}},
		{"move of a deleted directory", []Change{del("d", one)}, []Change{mv("d", "g", one)},
			[]string{"f: one", "g: /", "g/e: /", "g/e/y: one", "g/x: one"}, []string{"edit/delete automatic d"}},
		{"delete of a moved file", []Change{mv("f", "g", one)}, []Change{del("f", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "g: one"}, nil},
		{"move into own child", nil, []Change{mv("d", "d/e/z", one)},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: one"}, nil},
		{"directories merged by a move", []Change{put("g", Base{}, dir()), put("g/x", Base{}, file("two")), put("g/z", Base{}, file("z"))}, []Change{mv("d", "g", one)},
			[]string{"f: one", "g: /", "g/e: /", "g/e/y: one", "g/x: two", "g/x (conflict b r3): one", "g/z: z"}, []string{"create/create open g/x g/x (conflict b r3)"}},
		{"foreign base counts as none", []Change{edit("f", one, file("two"))}, []Change{edit("f", Base{Revision: 2, Hash: [8]byte{9}}, file("three"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two", "f (conflict b r3): three"}, []string{"create/create open f f (conflict b r3)"}},
		{"content of an old version without base", []Change{edit("f", one, file("two"))}, []Change{put("f", Base{}, file("one"))},
			[]string{"d: /", "d/e: /", "d/e/y: one", "d/x: one", "f: two"}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, start...)
			fix := func(in []Change) (out []Change) {
				for _, c := range in {
					if c.Base == one {
						c.Base = w.at(1)
					}
					out = append(out, c)
				}
				return out
			}
			a, b := fix(tc.a), fix(tc.b)
			if len(a) > 0 {
				w.commit(nodeA, a...)
			}
			w.commit(nodeB, b...)
			w.wantTree(tc.tree...)
			w.wantConflicts(tc.conflicts...)
			w.checkInvariants()
		})
	}
}

// What an author does below a directory that its queue moved, to where
// somebody else's directory is, does not touch what others have there.
func TestBelowAnOwnMoveOthersStay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		then      Change
		tree      []string
		conflicts []string
	}{
		{"created", put("x/e/z", own(2), file("mine")),
			[]string{"y: /", "y/e: /", "y/e/f: one", "y/e/z: theirs", "y/e/z (conflict a r4): mine"}, []string{"create/create open y/e/z y/e/z (conflict a r4)"}},
		{"deleted", del("x/e/z", own(2)), []string{"y: /", "y/e: /", "y/e/f: one", "y/e/z: theirs"}, nil},
		{"the directory deleted", del("x/e", own(2)), []string{"y: /", "y/e: /", "y/e/z: theirs"}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")), put("x", Base{}, dir()))
			b := w.head()
			w.commit(nodeB, mv("x", "y", b), put("y/e", Base{}, dir()), put("y/e/z", Base{}, file("theirs")))
			w.from(nodeA, b, mv("d", "x/e", b))
			w.from(nodeA, b, tc.then)
			w.wantTree(tc.tree...)
			w.wantConflicts(tc.conflicts...)
			w.checkInvariants()
		})
	}
}

// The version that a change was made from is found across the moves of its author,
// and of directories that it followed, but not across those of others.
func TestBaseAcrossMoves(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		story     func(w *world, b Base)
		tree      []string
		conflicts []string
	}{
		{"edited where the author moved it", func(w *world, b Base) {
			w.from(nodeA, b, mv("d", "m", b))
			w.commit(nodeB, edit("m/f", w.head(), file("two")))
			w.from(nodeA, b, mv("m", "n", own(2)))
			w.commit(nodeB, edit("n/f", w.head(), file("three")))
			w.from(nodeA, b, edit("n/f", own(3), file("four")))
		}, []string{"n: /", "n/f: three", "n/f (conflict a r6): four"}, []string{"edit/edit open n/f n/f (conflict a r6)"}},
		{"attributes where the author moved it", func(w *world, b Base) {
			w.from(nodeA, b, mv("d", "m", b))
			w.commit(nodeB, edit("m/f", w.head(), file("two")))
			w.from(nodeA, b, mv("m", "n", own(2)))
			w.from(nodeA, b, chmod("n/f", own(3), file("one"), 0o600))
		}, []string{"n: /", "n/f: two 600"}, nil},
		{"edited where others moved it first", func(w *world, b Base) {
			w.commit(nodeB, mv("d", "m", b))
			w.commit(nodeB, edit("m/f", w.head(), file("two")))
			w.from(nodeA, b, mv("d", "n", b))
			w.from(nodeA, b, mv("n", "o", own(2)))
			w.from(nodeA, b, edit("o/f", own(3), file("three")))
		}, []string{"o: /", "o/f: two", "o/f (conflict a r5): three"}, []string{"rename/rename automatic d", "edit/edit open o/f o/f (conflict a r5)"}},
		{"others moved something to the path", func(w *world, b Base) {
			w.commit(nodeC, put("e", Base{}, file("two")))
			w.commit(nodeC, del("e", own(1)))
			w.commit(nodeB, mv("d/f", "e", b))
			w.commit(nodeC, put("e", own(2), file("three")))
		}, []string{"d: /", "e: one", "e (conflict c r5): three"}, []string{"create/create open e e (conflict c r5)"}},
		{"others moved a directory into a deleted one", func(w *world, b Base) {
			w.commit(nodeB, put("e", Base{}, dir()))
			e := w.head()
			w.commit(nodeB, mv("d", "e/d", b), del("e/d/f", own(2)))
			w.from(nodeA, e, del("e", e))
		}, []string{"e: /", "e/d: /"}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")))
			tc.story(w, w.head())
			w.wantTree(tc.tree...)
			w.wantConflicts(tc.conflicts...)
			w.checkInvariants()
		})
	}
}

// What a move finds at its target is known to the author as what it moved: with
// the version that it had, under the name that it gave.
func TestBaseAtATakenTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		story     func(w *world, b Base)
		tree      []string
		conflicts []string
	}{
		{"a file, the same, unseen", func(w *world, b Base) {
			w.commit(nodeB, edit("f", b, file("two")), put("g", Base{}, file("two")))
			w.from(nodeA, b, mv("f", "g", b))
			w.from(nodeA, b, edit("g", own(2), file("three"))) // made from one
		}, []string{"d: /", "d/x: one", "g: two", "g (conflict a r4): three"}, []string{"edit/edit open g g (conflict a r4)"}},
		{"below a directory, the same", func(w *world, b Base) {
			w.commit(nodeB, put("e", Base{}, dir()), put("e/x", Base{}, file("one")))
			w.from(nodeA, b, mv("d", "e", b))
			w.from(nodeA, b, edit("e/x", own(2), file("two")))
		}, []string{"e: /", "e/x: two", "f: one"}, nil},
		{"below a directory, the same, unseen", func(w *world, b Base) {
			w.commit(nodeB, edit("d/x", b, file("two")), put("e", Base{}, dir()), put("e/x", Base{}, file("two")))
			w.from(nodeA, b, mv("d", "e", b))
			w.from(nodeA, b, edit("e/x", own(2), file("three")))
		}, []string{"e: /", "e/x: two", "e/x (conflict a r4): three", "f: one"}, []string{"edit/edit open e/x e/x (conflict a r4)"}},
		{"below a directory that followed, another", func(w *world, b Base) {
			w.commit(nodeB, put("g", Base{}, dir()))
			w.commit(nodeB, mv("g", "h", own(1)), put("h/e", Base{}, dir()), put("h/e/x", Base{}, file("theirs")))
			w.from(nodeA, b, mv("d", "g/e", b))
			w.from(nodeA, b, edit("g/e/x", own(2), file("two")))
		}, []string{"f: one", "h: /", "h/e: /", "h/e/x: theirs", "h/e/x (conflict a r4): two"}, []string{"create/create open h/e/x h/e/x (conflict a r4)"}},
		{"below a directory, another, unseen", func(w *world, b Base) {
			w.commit(nodeB, edit("d/x", b, file("two")), put("e", Base{}, dir()), put("e/x", Base{}, file("theirs")))
			w.from(nodeA, b, mv("d", "e", b))
			w.from(nodeA, b, chmod("e/x", own(2), file("one"), 0o600))
		}, []string{"e: /", "e/x: theirs", "e/x (conflict a r3): two 600", "f: one"}, []string{"create/create open e/x e/x (conflict a r3)"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("d", Base{}, dir()), put("d/x", Base{}, file("one")), put("f", Base{}, file("one")))
			tc.story(w, w.head())
			w.wantTree(tc.tree...)
			w.wantConflicts(tc.conflicts...)
			w.checkInvariants()
		})
	}
}

func TestConflictNamesWhoWonAndLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")), put("g", Base{}, file("one")))
	b := w.head()
	w.commit(nodeB, del("f", b), edit("g", b, file("two")))
	w.commit(nodeC, edit("f", b, file("two")), edit("g", b, file("three"))) // one wins, one loses
	v := w.m.View()
	defer v.Close()
	for n, want := range map[uint64][2]id.Node{1: {nodeC, nodeB}, 2: {nodeB, nodeC}} {
		c, ok, err := v.Conflict(w.folder, n)
		if err != nil || !ok || [2]id.Node{c.WinnerNode, c.LoserNode} != want {
			t.Errorf("%+v %v", c, err)
		}
	}
}

// An edit of a move's new name in the same commit, where the move itself came too
// late, follows the first move and is not dropped.
func TestEditInTheCommitOfALateMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeB, mv("f", "g", b))
	o := w.commit(nodeA, mv("f", "h", b), edit("h", own(2), file("two")))
	w.wantTree("g: two")
	if c := o.Changes[len(o.Changes)-1]; c.Proposed != "h" || c.Kind != Followed || c.Path != "g" || c.Base != w.head() {
		t.Errorf("%+v", c)
	}
}

// A directory that others deleted while its author moved it comes back as the
// author's disk had it: at Seen, with its own later work, without what it never saw.
func TestMoveOfADeletedDirectoryRestoresWhatWasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d/e", Base{}, file("one")))
	b := w.head()
	w.commit(nodeB, put("d/f", Base{}, file("two")), edit("d/e", b, file("two")))
	seen := w.head()
	w.commit(nodeB, put("d/g", Base{}, file("three")), edit("d/f", seen, file("three")))
	w.from(nodeA, seen, put("d/h", Base{}, file("four")), chmod("d", b, dir(), 0o700))
	w.commit(nodeB, del("d", w.head()), del("d/h", w.head()))
	w.from(nodeA, seen, mv("d", "m", own(2)))
	w.wantTree("m: / 700", "m/e: two", "m/f: two", "m/h: four")
	w.commit(nodeC, del("m", w.head()))
	w.from(nodeA, seen, mv("d", "n", b))
	w.wantTree("n: /", "n/e: two", "n/f: two")
	w.checkInvariants()
}

// checkInvariants verifies parents, totals and the hash chain of the folder.
func (w *world) checkInvariants() {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	dirs := map[id.Path]bool{"": true}
	var tot Totals
	if err := v.Tree(w.folder, "", ^id.Revision(0), func(x Version) error {
		if !dirs[x.Path.Dir()] {
			w.t.Errorf("%q has no live parent", x.Path)
		}
		switch x.Entry.Kind {
		case Dir:
			dirs[x.Path] = true
			tot.Dirs++
		case File:
			tot.Files++
			tot.Bytes += uint64(x.Entry.Size)
		case Symlink:
			tot.Symlinks++
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	if got, err := v.Totals(w.folder); err != nil || got != tot {
		w.t.Errorf("totals %+v, counted %+v (%v)", got, tot, err)
	}
	head, err := v.Head(w.folder)
	if err != nil {
		w.t.Fatal(err)
	}
	var last id.Digest
	for r := id.Revision(1); r <= head.Revision; r++ {
		c, _, err := v.Commit(w.folder, r)
		if err != nil {
			w.t.Fatal(err)
		}
		sum := newEffects()
		if err := v.d.changes(w.folder, r, func(x version) error { sum.add(&x); return nil }); err != nil {
			w.t.Fatal(err)
		}
		if digest, count := sum.sum(); digest != c.Effects || count != c.Changes || chainHash(last, c) != c.Hash {
			w.t.Errorf("hash chain is broken at revision %d", r)
		}
		last = c.Hash
	}
	open := 0
	if err := v.Conflicts(w.folder, func(c Conflict) error {
		if c.State == ConflictOpen {
			open++
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	if n, _ := v.OpenConflicts(w.folder); n != open {
		w.t.Errorf("%d open conflicts counted, %d there", n, open)
	}
	w.checkOpen()
}
