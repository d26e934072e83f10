package meta

import "testing"

// A node that comes back with a state older than its disk proposes what others did
// as its own: what they did after that must stand.
func TestAttributesOfALaterVersionChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := file("one")
	w.commit(nodeA, put("f", Base{}, one), put("d", Base{}, dir()), put("g", Base{}, one))
	b := w.head()
	w.commit(nodeA, chmod("f", b, one, 0o600), chmod("d", b, dir(), 0o700), chmod("g", b, one, 0o600))
	seen := w.head()
	w.commit(nodeA, chmod("f", seen, one, 0o640), chmod("d", seen, dir(), 0o750), edit("g", seen, file("two")))
	head, before := w.head(), w.fullTree()
	o := w.commit(nodeB, chmod("f", b, one, 0o600), chmod("d", b, dir(), 0o700), chmod("g", b, one, 0o600))
	if w.head() != head || w.fullTree() != before {
		t.Fatalf("revision %d, want %d\n%s", w.head().Revision, head.Revision, w.fullTree())
	}
	for _, c := range o.Changes {
		if c.Kind != Unchanged || c.Base != seen {
			t.Errorf("%+v, want unchanged since %v", c, seen)
		}
	}
	w.wantConflicts()
}

// What a path had since the base, and has no more, is not brought back.
func TestContentOfALaterVersionChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")), put("g", Base{}, file("one")), put("h", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f", b, file("two")), edit("g", b, file("two")), edit("h", b, file("two")))
	seen := w.head()
	w.commit(nodeA, edit("f", seen, file("one")), del("g", seen), edit("h", seen, file("three")))
	w.commit(nodeB, edit("f", b, file("two")), edit("g", b, file("two")), edit("h", b, file("two")))
	w.wantTree("f: one", "h: three")
	w.wantConflicts()
}

// What another file had at a path is not what the file had that was moved there since.
func TestAnotherFilesContentIsNotHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("p", Base{}, file("one")))
	b := w.head()
	w.commit(nodeB, put("q", Base{}, file("two")))
	w.commit(nodeB, del("q", w.head()))
	w.commit(nodeB, mv("p", "q", b))
	w.commit(nodeB, chmod("q", w.head(), file("one"), 0o600))
	w.commit(nodeC, edit("p", b, file("two")))
	w.wantTree("q: two 600")
	w.wantConflicts()
}

// A file that others deleted and the author moved goes beside what others made at its
// new place, also where that place had its content once; nothing there is overwritten.
func TestMovedContentIsNotHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("q", Base{}, file("one")))
	w.commit(nodeA, mv("q", "p", w.head()))
	b := w.head()
	w.commit(nodeB, put("q", Base{}, file("two")))
	w.commit(nodeB, del("p", w.head()))
	o := w.commit(nodeC, mv("p", "q", b))
	w.commit(nodeC, edit("q", own(o.Sequence), file("three")))
	w.wantTree("q: two", "q (conflict c r5): three")
	w.wantConflicts("edit/delete automatic p", "create/create open q q (conflict c r5)")
}
