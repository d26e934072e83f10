package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// sides are what View.Sides says of a record, as base, current, other.
func (w *world) sides(n uint64) string {
	w.t.Helper()
	x := w.conflict(n)
	v := w.m.View()
	defer v.Close()
	s, err := v.Sides(x)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, y := range []Version{s.Base, s.Current, s.Other} {
		out = append(out, fmt.Sprintf("%s@%s", show(y.Entry), y.Revision))
	}
	return strings.Join(out, " ")
}

// TestSidesOfADeletion: the other side of an edit against a deletion is the deletion,
// also where that was dropped and is in no version.
func TestSidesOfADeletion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		first, then func(b Base) Change
		want        string
	}{
		{func(b Base) Change { return edit("f", b, file("two")) }, func(b Base) Change { return del("f", b) }, "one@1 two@2 absent@0"},
		{func(b Base) Change { return del("f", b) }, func(b Base) Change { return edit("f", b, file("two")) }, "one@1 two@3 absent@2"},
	} {
		w := newWorld(t)
		w.commit(nodeA, put("f", Base{}, file("one")))
		b := w.head()
		w.commit(nodeA, tc.first(b))
		w.commit(nodeB, tc.then(b))
		w.wantConflicts("edit/delete automatic f")
		if got := w.sides(1); got != tc.want {
			t.Errorf("sides: %q, want %q", got, tc.want)
		}
	}
}

const hiddenAt = "f (conflict b r3)"

// hiddenClash is clash in a folder that keeps losers in history alone.
func hiddenClash(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.historyMode()
	clash(w, "f")
	w.wantTree("f: two")
	w.wantConflicts("edit/edit open f " + hiddenAt)
	if x := w.conflict(1); !x.Hidden || x.Loser != 3 {
		t.Fatalf("%+v", x)
	}
	return w
}

func TestHiddenLoser(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	if got := w.sides(1); got != "one@1 two@2 three@3" {
		t.Error(got)
	}
	v := w.m.View()
	defer v.Close()
	x, ok, err := v.At(w.folder, hiddenAt, 3)
	if err != nil || !ok || x.Entry.Kind != Absent || x.Lost != file("three") || x.From != "f" {
		t.Errorf("%+v %v", x, err)
	}
	if c, _, _ := v.Commit(w.folder, 3); c.Changes != 1 {
		t.Errorf("%+v", c)
	}
	w.checkInvariants()
}

// What its author builds on it, without knowing that it lost, goes the same way.
func TestHiddenLineage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.historyMode()
	w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("d/f", b, file("two")))
	w.commit(nodeB, edit("d/f", b, file("v1")))
	w.commit(nodeC, mv("d", "e", w.head()))
	w.commit(nodeB, edit("d/f", own(1), file("v2")))
	o := w.commit(nodeB, chmod("d/f", own(2), file("v2"), 0o600))
	w.wantTree("e: /", "e/f: two")
	w.wantConflicts("edit/edit open e/f d/f (conflict b r3)")
	if len(o.Changes) != 1 || o.Changes[0].Kind != Copied || o.Changes[0].Path != "d/f (conflict b r3)" || o.Changes[0].Base != w.head() {
		t.Errorf("%+v", o)
	}
	if got := w.sides(1); got != "one@1 two@4 v2 600@6" {
		t.Error(got)
	}
	w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: KeepLoser, Seen: w.head()}))
	w.wantTree("e: /", "e/f: v2 600")
	if got := w.sides(1); got != "one@1 two@4 v2 600@6" {
		t.Errorf("after: %s", got)
	}
	w.checkInvariants()
}

func TestHiddenResolve(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		keep Keep
		tree []string
	}{
		{KeepWinner, []string{"f: two"}},
		{KeepLoser, []string{"f: three"}},
		{KeepBoth, []string{"f: two", hiddenAt + ": three"}},
		{KeepWith, []string{"f: x"}},
	} {
		w := hiddenClash(t)
		w.must(w.do(nodeC, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: tc.keep, Seen: w.head(), Entry: file("x")}))
		w.wantTree(tc.tree...)
		x := w.conflict(1)
		if x.State != ConflictResolved || x.Hidden != (tc.keep != KeepBoth) {
			t.Errorf("keep %s: %+v", tc.keep, x)
		}
		if got := w.sides(1); !strings.HasPrefix(got, "one@1 two@2 three@") {
			t.Errorf("keep %s: %s", tc.keep, got)
		}
		// The next revision's hash covers the record, whether the resolution made one or not.
		w.commit(nodeA, put("z", Base{}, file("z")))
		w.checkInvariants()
	}
}

// A side that was kept in history alone comes beside the path also where that has been
// moved since, not into a directory of the old name.
func TestHiddenResolveMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.historyMode()
	w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("d/f", b, file("two")))
	w.commit(nodeB, edit("d/f", b, file("three")))
	w.commit(nodeC, mv("d", "e", w.head()))
	w.must(w.do(nodeC, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: KeepBoth, Seen: w.head()}))
	w.wantTree("e: /", "e/f: two", "e/f (conflict b r3): three")
	if x := w.conflict(1); x.State != ConflictResolved || x.Hidden || x.CopyPath != "e/f (conflict b r3)" {
		t.Errorf("%+v", x)
	}
	if got := w.sides(1); !strings.HasPrefix(got, "one@1 two@4 three@") {
		t.Error(got)
	}
	w.checkInvariants()
}

// The name under which history keeps a loser is free for a user's file, which no
// resolution touches.
func TestHiddenNameIsFree(t *testing.T) {
	t.Parallel()
	for _, keep := range []Keep{KeepWinner, KeepLoser, KeepBoth} {
		w := hiddenClash(t)
		w.commit(nodeC, put(hiddenAt, Base{}, file("mine")))
		w.checkInvariants()
		if got := w.sides(1); got != "one@1 two@2 three@3" {
			t.Error(got)
		}
		w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: keep, Seen: w.head()}))
		want := map[Keep][]string{
			KeepWinner: {"f: two", hiddenAt + ": mine"}, KeepLoser: {"f: three", hiddenAt + ": mine"},
			KeepBoth: {"f: two", "f (conflict a r5): three", hiddenAt + ": mine"},
		}[keep]
		w.wantTree(want...)
		w.checkInvariants()
	}
}

func TestHiddenSettled(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	w.commit(nodeC, del("f", w.head()))
	w.wantConflicts("edit/edit open f " + hiddenAt)
	w.commit(nodeC, put("f", w.head(), file("three")))
	if x := w.conflict(1); x.State != ConflictResolved || x.Resolution != "other" || x.ResolvedBy != nodeC {
		t.Errorf("%+v", x)
	}
	w.checkInvariants()
}

// Directories, and files that were moved, still go beside: they would vanish.
func TestHistoryModeStillBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.historyMode()
	w.commit(nodeA, put("f", Base{}, file("one")), put("g", Base{}, file("two")))
	b := w.head()
	w.commit(nodeA, put("t", b, file("three")), put("k", b, file("x")))
	w.commit(nodeB, mv("g", "t", b), put("k", b, dir()), put("k/in", b, file("y")))
	w.wantTree("f: one", "k: x", "k (conflict b r3): /", "k (conflict b r3)/in: y", "t: three", "t (conflict b r3): two")
	w.checkInvariants()
}

// Two losers of one commit that would have the same name have two.
func TestHiddenNamesDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f", b, file("two")))
	w.commit(nodeB, edit("f", b, file("three"))) // a copy, of the mode before
	w.historyMode()
	b = w.head()
	w.commit(nodeA, edit("f", b, file("x")), edit(hiddenAt, b, file("y")))
	w.commit(nodeC, edit("f", b, file("v1")), edit(hiddenAt, b, file("v2")))
	w.wantTree("f: x", hiddenAt+": y")
	if got, want := []string{w.sides(2), w.sides(3)}, []string{"two@2 x@4 v1@5", "three@3 y@4 v2@5"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	w.checkInvariants()
}

// A rollback leaves alone what no disk has: the past it brings back has no loser, and
// the record stays open.
func TestHiddenRollback(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	for _, r := range []id.Revision{1, 3} {
		o := w.must(w.do(nodeC, RollbackCmd{Folder: w.folder, Target: r, TargetHash: w.at(r).Hash}))
		v := w.m.View()
		if c, _, _ := v.Commit(w.folder, o.Revision); c.Changes != 1 {
			t.Errorf("back to %s: %+v", r, c)
		}
		_ = v.Close()
	}
	w.wantTree("f: two")
	w.wantConflicts("edit/edit open f " + hiddenAt)
	w.checkInvariants()
}

func TestConflictsOption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := func(v string) Outcome {
		return w.do(nodeA, FolderCmd{Op: FolderSet, ID: w.folder, Options: map[string]string{"conflicts": v}})
	}
	for _, v := range []string{"history", "copy", ""} {
		w.must(set(v))
	}
	if o := set("none"); o.Kind != Refused || !strings.Contains(o.Reason, "copy or history") {
		t.Errorf("%+v", o)
	}
}

// The rows of a hidden loser, of a record that has one, and of the index.
func TestGoldenHidden(t *testing.T) {
	t.Parallel()
	w := hiddenClash(t)
	b := w.at(1)
	w.commit(nodeC, put("f", b, link("x")))
	var lines []string
	for _, k := range []byte{keyVersion, keyConflict, keyOpen, keyState} {
		prefix := []byte{k}
		if err := (reads{w.db}).each(prefix, kv.PrefixEnd(prefix), func(k, v []byte) error {
			lines = append(lines, fmt.Sprintf("%x = %x", k, v))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	golden.Lines(t, "hidden.txt", lines)
}

// What goes on with a loser whose record was resolved meanwhile is told again.
func TestHiddenReopens(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		keep Keep
		more string
		tree []string
		open string
	}{
		{KeepWinner, "v2", []string{"f: two"}, "two@2 v2@4"},
		{KeepWinner, "two", []string{"f: two"}, ""},
		{KeepLoser, "v2", []string{"f: three"}, "three@4 v2@5"},
		{KeepLoser, "three", []string{"f: three"}, ""},
		{KeepBoth, "v2", []string{"f: two", hiddenAt + ": v2"}, ""},
	} {
		w := hiddenClash(t)
		w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: tc.keep, Seen: w.head()}))
		o := w.commit(nodeB, edit("f", own(1), file(tc.more)))
		w.wantTree(tc.tree...)
		if tc.open != "" {
			if got := w.sides(2); got != "one@1 "+tc.open || o.Changes[0].Conflict != 2 || w.conflict(2).State != ConflictOpen {
				t.Errorf("keep %s: %s %+v", tc.keep, got, o)
			}
			w.must(w.do(nodeC, ResolveCmd{Folder: w.folder, Conflict: 2, Keep: KeepLoser, Seen: w.head()}))
			w.wantTree("f: v2")
		} else if w.conflictCount() != 1 {
			t.Errorf("keep %s: %d records", tc.keep, w.conflictCount())
		}
		w.checkInvariants()
	}
}
