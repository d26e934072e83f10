package meta

import (
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// back rolls p ("" is everything) back to r.
func (w *world) back(p id.Path, r id.Revision) Outcome {
	w.t.Helper()
	return w.do(nodeC, RollbackCmd{Folder: w.folder, Path: p, Target: r, TargetHash: w.at(r).Hash})
}

// A rollback that takes back a rename takes the open record back with the path, to
// before the conflict or to after it, and again when that rollback is taken back.
func TestHiddenRenameRolledBack(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	w.commit(nodeC, mv("f", "g", w.head())) // 4
	w.wantConflicts("edit/edit open g " + hiddenAt)
	for _, tc := range []struct {
		to                id.Revision
		tree, path, sides string
	}{
		{1, "f: one", "f", "one@1 one@5 three@3"},
		{4, "g: two", "g", "one@1 two@6 three@3"},
		{3, "f: two", "f", "one@1 two@7 three@3"},
		{5, "f: one", "f", "one@1 one@8 three@3"},
	} {
		w.must(w.back("", tc.to))
		w.wantTree(tc.tree)
		w.wantConflicts("edit/edit open " + tc.path + " " + hiddenAt)
		if got := w.sides(1); got != tc.sides {
			t.Errorf("back to %s: %s", tc.to, got)
		}
		w.checkInvariants()
	}
	w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: KeepLoser, Seen: w.head()}))
	w.wantTree("f: three")
	w.checkInvariants()
}

// The conflict came after the rename: what both were made from is told at its name then.
func TestRolledBackBeforeRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.historyMode()
	w.commit(nodeA, put("f", Base{}, file("one")))
	w.commit(nodeA, mv("f", "g", w.head()))
	b := w.head()
	w.commit(nodeA, edit("g", b, file("two")))
	w.commit(nodeB, edit("g", b, file("three")))
	w.must(w.back("", 1))
	w.wantTree("f: one")
	w.wantConflicts("edit/edit open f g (conflict b r4)")
	if got := w.sides(1); got != "one@2 one@5 three@4" {
		t.Error(got)
	}
	w.checkInvariants()
}

// What is brought back is the loser's content: decided, wherever it was.
func TestHiddenRolledBackToLoser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.historyMode()
	w.commit(nodeA, put("f", Base{}, file("three")))
	w.commit(nodeA, edit("f", w.head(), file("one")))
	b := w.head()
	w.commit(nodeA, edit("f", b, file("two")))
	w.commit(nodeB, edit("f", b, file("three")))
	w.wantConflicts("edit/edit open f f (conflict b r4)")
	w.commit(nodeA, mv("f", "g", w.head()))
	w.must(w.back("", 1))
	w.wantTree("f: three")
	if x := w.conflict(1); x.State != ConflictResolved || x.Resolution != "other" || x.Path != "f" {
		t.Errorf("%+v", x)
	}
	w.checkInvariants()
}

// With a copy on the disks the record follows likewise; a directory that goes back with
// both sides in it takes both along.
func TestRenameRolledBackWithCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clash(w, "f")
	w.commit(nodeC, mv("f", "g", w.head()))
	w.must(w.back("", 3))
	w.wantTree("f: two", hiddenAt+": three")
	w.wantConflicts("edit/edit open f " + hiddenAt)
	w.checkInvariants()

	w = newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()))
	clash(w, "d/f")
	at := w.head()
	w.commit(nodeC, mv("d", "e", at))
	w.commit(nodeC, mv("e", "k", w.head()))
	w.must(w.back("", at.Revision))
	w.wantTree("d: /", "d/f: two", "d/f (conflict b r4): three")
	w.wantConflicts("edit/edit open d/f d/f (conflict b r4)")
	w.checkInvariants()
}

// A rollback of one path brings nothing back elsewhere: the record stays with its path.
func TestRollbackOfTheNewNameAlone(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	w.commit(nodeC, mv("f", "g", w.head()))
	w.commit(nodeC, put("f", Base{}, file("x")))
	w.must(w.back("g", 1))
	w.wantTree("f: x")
	w.wantConflicts("edit/edit open g " + hiddenAt)
	w.checkInvariants()
}
