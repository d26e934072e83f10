package meta

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// once checks that every content that was written is at the head exactly once.
func (w *world) once(r *rapid.T, all []*author) {
	at := make(map[id.Digest][]id.Path)
	v := w.m.View()
	defer v.Close()
	if err := v.Tree(w.folder, "", ^id.Revision(0), func(x Version) error {
		if x.Entry.Kind == File {
			at[x.Entry.Content] = append(at[x.Entry.Content], x.Path)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range all {
		for _, c := range a.wrote {
			if len(at[c]) != 1 {
				r.Fatalf("%s is at %q\n%s", c.Short(), at[c], w.story.String())
			}
		}
	}
}

// What somebody makes at a path that he has moved away is new, also where others had
// moved it before him: it is no edit of what went.
func TestNewAtAPathMovedAwayByOthers(t *testing.T) {
	t.Parallel()
	for _, to := range []id.Path{"b", "c"} { // the same target, and another
		w := newWorld(t)
		w.commit(nodeA, put("a", Base{}, file("one")))
		b := w.head()
		w.from(nodeA, b, mv("a", "b", b))
		w.from(nodeB, b, mv("a", to, b))
		w.from(nodeB, b, put("a", own(1), file("two")))
		w.wantTree("a: two", "b: one")
		w.checkInvariants()
	}
}

// What somebody makes at a path from which he has moved on what others had put elsewhere
// is new there too, and does not go to where that was.
func TestNewAtAPathMovedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("b", Base{}, file("one")))
	b := w.head()
	w.from(nodeB, b, mv("b", "a", b))
	w.from(nodeA, b, mv("b", "c", own(1)))
	w.from(nodeA, b, mv("c", "b", own(2)))
	w.from(nodeA, b, put("a", Base{}, file("two")))
	w.from(nodeA, b, put("c", own(3), file("three")))
	w.wantTree("a: two", "b: one", "c: three")
	w.checkInvariants()
}

// A move is followed to where the entry went, not to where what came to its place later
// went, nor to what is at its target now.
func TestMovedAndItsPlaceTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("a", Base{}, file("one")))
	b := w.head()
	w.from(nodeA, b, mv("a", "b", b))
	w.from(nodeA, b, put("a", w.head(), file("two")))
	w.from(nodeA, b, mv("a", "c", w.head()))
	w.from(nodeB, b, mv("a", "k", b))
	w.wantTree("b: one", "c: two")
	w.wantConflicts("rename/rename automatic a")

	w = newWorld(t)
	w.commit(nodeA, put("a", Base{}, file("one")))
	b = w.head()
	w.from(nodeA, b, mv("a", "b", b))
	w.from(nodeA, b, mv("b", "c", w.head()))
	w.from(nodeA, b, put("b", w.head(), file("two")))
	w.from(nodeB, b, mv("a", "k", b))
	w.wantTree("b: two", "c: one")
	w.wantConflicts("rename/rename automatic a")
}

// A directory that one moves and that is deleted at its new place comes back where another
// one moves it, but without the files that others have moved out of it meanwhile.
func TestMovedOutOfAMovedDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")), put("d/g", Base{}, file("two")), put("d/h", Base{}, file("three")))
	b := w.head()
	w.from(nodeA, b, mv("d", "e", b))
	w.from(nodeC, w.head(), mv("e/f", "f", w.head()), mv("e/g", "g", w.head()))
	w.from(nodeA, w.head(), edit("g", w.head(), file("x")))
	w.from(nodeA, w.head(), del("e", w.head()))
	w.from(nodeB, b, mv("d", "k", b))
	w.wantTree("f: one", "g: x", "k: /", "k/g: two", "k/h: three")
	w.checkInvariants()
}

// What is moved into a directory that others have renamed to another does not go
// over a file of the mover's there.
func TestMovedOntoOnesOwnElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("a", Base{}, dir()), put("f", Base{}, file("one")))
	b := w.head()
	w.from(nodeC, b, put("c", Base{}, dir()), put("c/f", Base{}, file("two")))
	w.from(nodeB, b, mv("a", "c", b))
	w.from(nodeC, b, mv("f", "a/f", b))
	w.wantTree("c: /", "c/f: two", "c/f (conflict c r4): one")
	w.checkInvariants()
}

// A rollback brings back what was moved or deleted; a move from an older base is then of
// that, and makes no second file of it.
func TestMovedAndRolledBack(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name   string
		change Change // after "a: one"
		from   id.Path
		later  bool // the mover has seen the change
		want   []string
		record string
	}{
		{"moved", mv("a", "b", Base{}), "a", false, []string{"c: one"}, ""},
		{"moved, seen", mv("a", "b", Base{}), "b", true, []string{"a: one"}, "rename/rename automatic b"},
		{"deleted", del("a", Base{}), "a", false, []string{"c: one"}, ""},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.commit(nodeA, put("a", Base{}, file("one")))
			first := w.head()
			k.change.Base = first
			w.from(nodeA, first, k.change)
			base := first
			if k.later {
				base = w.head()
			}
			w.must(w.do(nodeA, RollbackCmd{Folder: w.folder, Target: first.Revision, TargetHash: first.Hash}))
			w.from(nodeB, base, mv(k.from, "c", base))
			w.wantTree(k.want...)
			if k.record == "" {
				w.wantConflicts()
			} else {
				w.wantConflicts(k.record)
			}
			w.checkInvariants()
		})
	}
}

// Where files are made and renamed only, in directories that are renamed too, by several
// who do not know of each other, every file is in one place.
func TestMovesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) { moveAbout(t, r, false) })
}

// Where the whole folder is rolled back too, to before renames, or to before files were
// made and then forward again, every file is in one place: where a rename from an older
// base or the rollback puts it.
func TestMovesRolledBackProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) { moveAbout(t, r, true) })
}

func moveAbout(t *testing.T, r *rapid.T, rollbacks bool) {
	w := newWorld(t)
	n := 0
	var all []*author
	ops := []string{"create", "mkdir", "move", "move", "move"}
	for _, node := range []id.Node{nodeA, nodeB, nodeC} {
		a := newAuthor(w, node, &n, "a", "b", "c")
		a.fail = r.Fatalf
		all = append(all, a)
	}
	for range rapid.IntRange(1, 30).Draw(r, "steps") {
		a := all[rapid.IntRange(0, len(all)-1).Draw(r, "who")]
		switch k := rapid.IntRange(0, 6).Draw(r, "what"); {
		case k < 3:
			a.do(r, rapid.SampledFrom(ops).Draw(r, "op"))
		case k == 3:
			if len(a.queue) > 0 {
				a.send()
			}
		case k == 6 && rollbacks:
			if len(a.queue) == 0 && w.head().Revision > 0 {
				a.rollBack(r)
			}
		default:
			for len(a.queue) > 0 {
				a.send()
			}
			a.sync()
		}
	}
	for _, a := range all {
		for len(a.queue) > 0 {
			a.send()
		}
	}
	w.once(r, all)
	w.checkInvariants()
}

// rollBack makes the folder what it was, and again what it is where that lacks a file.
func (a *author) rollBack(r *rapid.T) {
	w := a.w
	head, all := w.head(), w.live()
	to := w.at(id.Revision(rapid.IntRange(1, int(head.Revision)).Draw(r, "target")))
	for {
		w.must(w.do(a.node, RollbackCmd{Folder: w.folder, Target: to.Revision, TargetHash: to.Hash}))
		a.next++
		w.story.WriteString(fmt.Sprintf("node %x rolls back to %d\n%s\n\n", a.node[0], to.Revision, w.headTree()))
		if len(w.live()) == len(all) {
			return
		}
		to = head
	}
}
