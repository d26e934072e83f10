package meta

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// clash makes f (two) and its copy (three), one open conflict at revision 3.
func clash(w *world, p id.Path) id.Path {
	w.t.Helper()
	w.commit(nodeA, put(p, Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit(p, b, file("two")))
	o := w.commit(nodeB, edit(p, b, file("three")))
	return o.Changes[0].Path
}

func (w *world) conflict(n uint64) Conflict {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	x, ok, err := v.Conflict(w.folder, n)
	if err != nil || !ok {
		w.t.Fatalf("conflict %d: %v %v", n, ok, err)
	}
	return x
}

// checkOpen: the index names the open records and nothing else, and each has both its
// sides: a live copy, or what lost in history.
func (w *world) checkOpen() {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	want := make(map[string]string)
	if err := v.Conflicts(w.folder, func(x Conflict) error {
		if x.State != ConflictOpen {
			return nil
		}
		for _, p := range []id.Path{x.Path, x.CopyPath} {
			want[string(p)] += fmt.Sprint(x.Number, " ")
		}
		lost := false
		if err := v.History(w.folder, x.CopyPath, func(y Version) error {
			lost = lost || y.Lost.Kind != Absent
			return nil
		}); err != nil {
			return err
		}
		if at, _, err := v.At(w.folder, x.CopyPath, ^id.Revision(0)); err != nil || x.Hidden && !lost || !x.Hidden && at.Entry.Kind == Absent {
			w.t.Errorf("conflict %d has no loser at %q: %v\n%s", x.Number, x.CopyPath, err, w.story.String())
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	prefix := folderKey(keyOpen, w.folder)
	if err := v.d.prefix(prefix, func(k, b []byte) error {
		var o rowOpen
		err := unpackRow(b, &o)
		got, p := "", string(k[len(prefix):])
		for _, n := range o.Numbers {
			got += fmt.Sprint(n, " ")
		}
		if got != want[p] {
			w.t.Errorf("the index has %q at %q, want %q", got, p, want[p])
		}
		delete(want, p)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	if len(want) != 0 {
		w.t.Errorf("not in the index: %q", want)
	}
}

// historyMode makes losers stay in history alone.
func (w *world) historyMode() {
	w.t.Helper()
	w.must(w.do(nodeA, FolderCmd{Op: FolderSet, ID: w.folder, Options: map[string]string{"conflicts": "history"}}))
}

// resolveSome resolves a random open conflict, if there is one.
func (w *world) resolveSome(r *rapid.T, n id.Node) (sent bool) {
	var open []uint64
	v := w.m.View()
	err := v.Conflicts(w.folder, func(x Conflict) error {
		if x.State == ConflictOpen {
			open = append(open, x.Number)
		}
		return nil
	})
	if err := errors.Join(err, v.Close()); err != nil {
		w.t.Fatal(err)
	}
	if len(open) == 0 {
		return false
	}
	x := w.conflict(rapid.SampledFrom(open).Draw(r, "conflict"))
	keep := rapid.SampledFrom([]Keep{KeepWinner, KeepLoser, KeepBoth, KeepWith}).Draw(r, "keep")
	before := w.tree()
	o := w.do(n, ResolveCmd{Folder: w.folder, Conflict: x.Number, Keep: keep, Seen: w.head(), Entry: file("with")})
	fmt.Fprintf(&w.story, "node %x resolves %d keep %s: %s\n%s\n\n", n[0], x.Number, keep, o.Reason, w.headTree())
	if o.Kind == Refused && before != w.tree() || o.Kind != Refused && w.conflict(x.Number).State != ConflictResolved {
		r.Fatalf("%s: %+v", keep, o)
	}
	return true
}

func TestSettledByHand(t *testing.T) {
	t.Parallel()
	const f, copied = "d/f", "d/f (conflict b r3)"
	for _, tc := range []struct {
		name    string
		changes func(Base) []Change
		want    string // state, resolution, path, copy
	}{
		{"copy deleted", func(b Base) []Change { return []Change{del(copied, b)} }, "resolved current d/f " + copied},
		{"both deleted", func(b Base) []Change { return []Change{del(copied, b), del(f, b)} }, "resolved current d/f " + copied},
		{"directory deleted", func(b Base) []Change { return []Change{del("d", b)} }, "resolved current d/f " + copied},
		{"copy moved over the path", func(b Base) []Change { return []Change{mv(copied, f, b)} }, "resolved other d/f " + copied},
		{"copy deleted, its content put at the path", func(b Base) []Change { return []Change{del(copied, b), edit(f, b, file("three"))} }, "resolved other d/f " + copied},
		{"copy moved elsewhere", func(b Base) []Change { return []Change{mv(copied, "g", b)} }, "resolved both d/f " + copied},
		{"path moved over the copy", func(b Base) []Change { return []Change{del(copied, b), mv(f, copied, b)} }, "resolved current d/f " + copied},
		{"directory moved", func(b Base) []Change { return []Change{mv("d", "e", b)} }, "open  e/f e/f (conflict b r3)"},
		{"both moved", func(b Base) []Change {
			return []Change{put("e", Base{}, dir()), mv(copied, "e/f (conflict b r3)", b), mv(f, "e/f", b)}
		}, "open  e/f e/f (conflict b r3)"},
		{"path moved", func(b Base) []Change { return []Change{mv(f, "g", b)} }, "open  g " + copied},
		{"path moved, copy deleted", func(b Base) []Change { return []Change{mv(f, "g", b), del(copied, b)} }, "resolved current d/f " + copied},
		{"path deleted", func(b Base) []Change { return []Change{del(f, b)} }, "open  d/f " + copied},
		{"path edited", func(b Base) []Change { return []Change{edit(f, b, file("four"))} }, "open  d/f " + copied},
		{"copy edited", func(b Base) []Change { return []Change{edit(copied, b, file("four"))} }, "open  d/f " + copied},
		{"its content put at the path, copy still there", func(b Base) []Change { return []Change{edit(f, b, file("three"))} }, "open  d/f " + copied},
		{"another path", func(b Base) []Change { return []Change{put("x", b, file("three"))} }, "open  d/f " + copied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{maxBatch, 1} {
				w := newWorld(t)
				w.m.limit = limit
				clash(w, f)
				w.from(nodeA, w.head(), tc.changes(w.head())...)
				x := w.conflict(1)
				if got := fmt.Sprintf("%s %s %s %s", x.State, x.Resolution, x.Path, x.CopyPath); got != tc.want {
					t.Errorf("limit %d: %s, want %s", limit, got, tc.want)
				}
				if x.State == ConflictResolved && (x.ResolvedBy != nodeA || x.ResolvedAt != w.head().Revision) {
					t.Errorf("resolved by %s at %s", x.ResolvedBy.Short(), x.ResolvedAt)
				}
				w.checkInvariants()
			}
		})
	}
}

// A record follows its directory again and again, and is resolved where it is then.
func TestSettleFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clash(w, "d/f")
	for _, to := range []id.Path{"e", "g"} {
		x := w.conflict(1)
		w.from(nodeC, w.head(), mv(x.Path.Dir(), to, w.head()))
	}
	w.must(w.do(nodeB, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: KeepLoser, Seen: w.head()}))
	w.wantTree("g: /", "g/f: three")
	w.checkInvariants()
}

// A copy is carried along with its directory wherever the path is by then.
func TestSettleCarried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clash(w, "d/f")
	w.from(nodeA, w.head(), mv("d/f", "g", w.head()))
	w.from(nodeA, w.head(), mv("d", "e", w.head()))
	if x := w.conflict(1); x.State != ConflictOpen || x.Path != "g" || x.CopyPath != "e/f (conflict b r3)" {
		t.Errorf("%+v", x)
	}
	w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: KeepLoser, Seen: w.head()}))
	w.wantTree("e: /", "g: three")
	w.checkInvariants()
}

// A rollback to before the conflict takes the copy away: resolved. One back to after it
// brings the copy, as a file, and leaves the record.
func TestSettleRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clash(w, "f")
	roll := func(r id.Revision) {
		t.Helper()
		w.must(w.do(nodeC, RollbackCmd{Folder: w.folder, Target: r, TargetHash: w.at(r).Hash}))
		w.checkInvariants()
	}
	roll(2)
	w.wantConflicts("edit/edit resolved f f (conflict b r3)")
	if x := w.conflict(1); x.Resolution != "current" || x.ResolvedBy != nodeC || x.ResolvedAt != 4 {
		t.Errorf("%+v", x)
	}
	roll(3)
	w.wantTree("f: two", "f (conflict b r3): three")
	w.wantConflicts("edit/edit resolved f f (conflict b r3)")
}

// Many records at once, through effects that are spilled and such that are not: the
// same records, in the same order.
func TestSettleMany(t *testing.T) {
	t.Parallel()
	var dumps []string
	for _, limit := range []int{maxBatch, 1, 2000} {
		w := newWorld(t)
		w.m.limit = limit
		var puts, edits, others []Change
		for i := range 50 {
			p := id.Path(fmt.Sprintf("d/%02d", i))
			puts, edits, others = append(puts, put(p, Base{}, file("one"))), append(edits, edit(p, Base{}, file("two"))), append(others, edit(p, Base{}, file(fmt.Sprint("c", i))))
		}
		w.commit(nodeA, puts...)
		b := w.head()
		for i := range edits {
			edits[i].Base, others[i].Base = b, b
		}
		w.commit(nodeA, edits...)
		w.commit(nodeB, others...)
		w.from(nodeA, w.head(), del("d", w.head()))
		w.wantTree()
		for n := range uint64(50) {
			if x := w.conflict(n + 1); x.State != ConflictResolved || x.Resolution != "current" {
				t.Fatalf("%+v", x)
			}
		}
		w.checkInvariants()
		dumps = append(dumps, string(dump(t, w.db)))
		for k := range strings.Lines(dumps[0]) {
			if strings.HasPrefix(k, "79") {
				t.Errorf("a row of the index is left: %s", k)
			}
		}
	}
	if dumps[1] != dumps[0] || dumps[2] != dumps[0] {
		t.Error("the stores differ")
	}
}

// What another disk still has of a side when the conflict is resolved is a change with
// its base, and never lost.
func TestEditsAgainstAResolution(t *testing.T) {
	t.Parallel()
	const f, copied = "f", "f (conflict b r3)"
	for _, tc := range []struct {
		keep Keep
		path id.Path
		tree []string
	}{
		{KeepLoser, f, []string{"f: three", "f (conflict c r5): z"}},
		{KeepWith, f, []string{"f: x", "f (conflict c r5): z"}},
		{KeepWinner, f, []string{"f: z"}},
		{KeepWinner, copied, []string{"f: two", copied + ": z"}},
		{KeepLoser, copied, []string{"f: three", copied + ": z"}},
		{KeepBoth, copied, []string{"f: two", copied + ": z"}},
	} {
		w := newWorld(t)
		clash(w, f)
		seen := w.head()
		w.must(w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: tc.keep, Seen: seen, Entry: file("x")}))
		w.commit(nodeC, edit(tc.path, seen, file("z")))
		w.wantTree(tc.tree...)
		w.checkInvariants()
	}
}

// A directory may be a side.
func TestResolveDirectories(t *testing.T) {
	t.Parallel()
	// d became a file at a, while b went on in the directory.
	fileWon := func(w *world) {
		w.commit(nodeA, put("d", Base{}, dir()), put("d/a", Base{}, file("one")))
		b := w.head()
		w.commit(nodeA, del("d", b), put("d", b, file("two")))
		w.commit(nodeB, put("d/b", b, file("x")), put("d/c", b, file("y")))
		w.wantTree("d: two", "d (conflict b r3): /", "d (conflict b r3)/b: x", "d (conflict b r3)/c: y")
	}
	// b made a file of d, while a made another file in it.
	dirWon := func(w *world) {
		w.commit(nodeA, put("d", Base{}, dir()), put("d/a", Base{}, file("one")))
		b := w.head()
		w.commit(nodeA, put("d/b", b, file("x")))
		w.commit(nodeB, del("d/a", b), put("d", b, file("two")))
		w.wantTree("d: /", "d (conflict b r3): two", "d/b: x")
	}
	for _, tc := range []struct {
		name  string
		make  func(*world)
		keep  Keep
		late  []Change
		tree  []string
		fails string
	}{
		{"the directory over the file", fileWon, KeepLoser, nil, []string{"d: /", "d/b: x", "d/c: y"}, ""},
		{"the file stays", fileWon, KeepWinner, nil, []string{"d: two"}, ""},
		{"with", fileWon, KeepWith, nil, []string{"d: z"}, ""},
		{"the file over the directory", dirWon, KeepLoser, nil, []string{"d: two"}, ""},
		{"a file for both", dirWon, KeepWith, nil, []string{"d: z"}, ""},
		{"the directory stays", dirWon, KeepWinner, nil, []string{"d: /", "d/b: x"}, ""},
		{"unseen in the directory that goes", dirWon, KeepLoser, []Change{put("d/new", Base{}, file("v1"))}, nil, "d/new"},
		{"unseen in the copy that goes", fileWon, KeepWinner, []Change{put("d (conflict b r3)/new", Base{}, file("v1"))},
			[]string{"d: two", "d (conflict b r3): /", "d (conflict b r3)/new: v1"}, ""},
		{"unseen in the copy that moves", fileWon, KeepLoser, []Change{put("d (conflict b r3)/new", Base{}, file("v1"))},
			[]string{"d: /", "d/b: x", "d/c: y", "d/new: v1"}, ""},
	} {
		w := newWorld(t)
		tc.make(w)
		seen := w.head()
		if tc.late != nil {
			w.commit(nodeC, tc.late...)
		}
		before := w.tree()
		o := w.do(nodeA, ResolveCmd{Folder: w.folder, Conflict: 1, Keep: tc.keep, Seen: seen, Entry: file("z")})
		if tc.fails != "" {
			if o.Kind != Refused || !strings.Contains(o.Reason, tc.fails) || w.tree() != before {
				t.Errorf("%s: %+v\n%s", tc.name, o, w.tree())
			}
			continue
		}
		if o.Kind == Refused {
			t.Errorf("%s: %s", tc.name, o.Reason)
		}
		w.wantTree(tc.tree...)
		w.checkInvariants()
		if t.Failed() {
			t.Fatal(tc.name)
		}
	}
}
