package meta

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d/a", Base{}, file("one")), put("f", Base{}, file("one")))
	w.commit(nodeA, edit("d/a", w.head(), file("two")), put("d/b", Base{}, file("x")), del("f", w.head()))
	w.commit(nodeA, del("d", w.head()), put("d", own(3), file("z")))
	states := []string{"", w.treeAt(1), w.treeAt(2), w.treeAt(3)}
	roll := func(p id.Path, r id.Revision) Outcome {
		t.Helper()
		return w.must(w.do(nodeB, RollbackCmd{Folder: w.folder, Path: p, Target: r, TargetHash: w.at(r).Hash}))
	}
	for _, r := range []id.Revision{1, 3, 2, 1, 3} {
		before := w.head().Revision
		if o := roll("", r); o.Revision != before+1 {
			t.Errorf("%+v", o)
		}
		if got := w.tree(); got != states[r] {
			t.Errorf("rollback to %d:\n%s\nwant:\n%s", r, got, states[r])
		}
		w.checkInvariants()
	}
	if o := roll("", 3); o.Kind != Unchanged || o.Revision != 0 {
		t.Errorf("%+v", o)
	}
	roll("d", 1)
	w.wantTree("d: /", "d/a: one")
	w.commit(nodeA, del("d", w.head()))
	roll("d/a", 2)
	w.wantTree("d: /", "d/a: two")
	roll("f", 1)
	w.wantTree("d: /", "d/a: two", "f: one")
	if o := w.do(nodeB, RollbackCmd{Folder: w.folder, Target: 1, TargetHash: [8]byte{1}}); o.Kind != Refused {
		t.Errorf("%+v", o)
	}
	w.commit(nodeA, del("d", w.head()), put("d", w.head(), file("z")))
	if o := w.do(nodeB, RollbackCmd{Folder: w.folder, Path: "d/a", Target: 1, TargetHash: w.at(1).Hash}); o.Kind != Refused {
		t.Errorf("%+v", o)
	}
	if o := w.must(w.do(nodeB, RollbackCmd{Folder: w.folder})); o.Revision == 0 {
		t.Errorf("%+v", o)
	}
	w.wantTree()
	w.checkInvariants()
}

// A rollback is not the author's own work: what it brought was not seen.
func TestEditAgainstRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	w.commit(nodeA, edit("f", w.head(), file("two")))
	b := w.head()
	w.must(w.do(nodeB, RollbackCmd{Folder: w.folder, Target: 1, TargetHash: w.at(1).Hash}))
	w.commit(nodeB, edit("f", b, file("three")))
	w.wantTree("f: one", "f (conflict b r4): three")
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		keep Keep
		tree []string
	}{
		{KeepWinner, []string{"f: two"}},
		{KeepLoser, []string{"f: three"}},
		{KeepBoth, []string{"f: two", "f (conflict b r3): three"}},
		{KeepWith, []string{"f: x"}},
	} {
		w := newWorld(t)
		w.commit(nodeA, put("f", Base{}, file("one")))
		b := w.head()
		w.commit(nodeA, edit("f", b, file("two")))
		w.commit(nodeB, edit("f", b, file("three")))
		cmd := ResolveCmd{Folder: w.folder, Conflict: 1, Keep: tc.keep, Seen: b, Entry: file("x")}
		if o := w.do(nodeC, cmd); o.Kind != Refused {
			t.Errorf("keep %s: decided on an old state: %+v", tc.keep, o)
		}
		cmd.Seen = w.head()
		w.must(w.do(nodeC, cmd))
		w.wantTree(tc.tree...)
		w.wantConflicts("edit/edit resolved f f (conflict b r3)")
		w.checkInvariants()
		if o := w.do(nodeC, cmd); o.Kind != Refused {
			t.Errorf("resolved twice: %+v", o)
		}
	}
}

func TestCopyOfACopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("f.txt", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f.txt", b, file("two")))
	w.commit(nodeB, edit("f.txt", b, file("three")))
	b = w.head()
	p := id.Path("f (conflict b r3).txt")
	w.commit(nodeA, edit(p, b, file("x")))
	w.commit(nodeC, edit(p, b, file("y")), put("f (conflict c r5).txt", Base{}, file("z")))
	w.wantTree("f (conflict b r3).txt: x", "f (conflict c r5) 2.txt: z", "f (conflict c r5).txt: y", "f.txt: two")
}

func TestRevisionAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := w.now
	for i, at := range []time.Duration{10, 20, 90, 40, 50} {
		w.now = start.Add(at * time.Second)
		w.commit(nodeA, put(id.Path(fmt.Sprint(i)), Base{}, dir()))
	}
	v := w.m.View()
	defer v.Close()
	for _, tc := range []struct {
		at    time.Duration
		want  id.Revision
		later int
	}{{5, 0, 0}, {15, 1, 0}, {30, 2, 0}, {45, 4, 1}, {60, 5, 1}, {99, 5, 0}} {
		r, later, err := v.RevisionAt(w.folder, start.Add(tc.at*time.Second))
		if err != nil || r != tc.want || len(later) != tc.later {
			t.Errorf("%d: %s %v %v", tc.at, r, later, err)
		}
	}
}

// Whatever decides later changes is in the hash chain: two histories that differ
// in it have other hashes.
func TestTheChainHoldsWhatDecides(t *testing.T) {
	t.Parallel()
	v := version{Version: Version{Path: "a", Entry: file("one")}}
	moved, unseen, copied := v, v, v
	moved.moved, unseen.unseen, copied.copied = true, true, true
	seen := make(map[id.Digest]bool)
	for _, v := range []version{v, moved, unseen, copied} {
		e := newEffects()
		e.add(&v)
		sum, _ := e.sum()
		seen[sum] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d digests of 4 versions", len(seen))
	}
	w := newWorld(t)
	w.commit(nodeA, put("f", Base{}, file("one")))
	b := w.head()
	w.commit(nodeA, edit("f", b, file("two")))
	w.commit(nodeB, del("f", b)) // a record, and no revision
	w.commit(nodeA, put("g", Base{}, dir()))
	records := func() id.Digest {
		v := w.m.View()
		defer v.Close()
		c, err := v.Head(w.folder)
		x, _, err2 := v.Conflict(w.folder, 1)
		if err != nil || err2 != nil || c.Records != recordsHash(id.Digest{}, x) {
			t.Errorf("%s %v %v", c.Records, err, err2)
		}
		return c.Records
	}
	if records().IsZero() || w.head().Revision != 3 {
		t.Error("the record is not in the chain")
	}
}

// The search finds what a look at every header finds, and reads few of them.
func TestRevisionAtProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		db := memDB(t)
		f, tx := id.Folder{1}, newTxn(db, maxBatch)
		n := rapid.SampledFrom([]int{1, 63, 64, 65, 130, 700, 4100}).Draw(r, "revisions")
		back := rapid.Permutation([]int{0, 0, 0, 3, 200, 5000}).Draw(r, "clock goes back")
		times := make([]time.Time, n+1)
		for i := 1; i <= n; i++ {
			times[i] = time.Unix(int64(1e9+i*10-back[i/100%len(back)]*10), 0).UTC()
			tx.set(commitKey(f, id.Revision(i)), packRow(Commit{Time: times[i]}.row()))
			if err := tx.indexTime(f, id.Revision(i)); err != nil {
				t.Fatal(err)
			}
			tx.endEntry(uint64(i))
		}
		tx.set(folderKey(keyState, f), packRow(&rowState{Revision: uint64(n)}))
		tx.endEntry(uint64(n))
		if err := errors.Join(tx.flush(), tx.close()); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1e9+rapid.IntRange(-50, n*10+50).Draw(r, "time")), 0)
		var want id.Revision
		var wantLater []id.Revision
		for i := n; i > 0; i-- {
			if late := times[i].After(at); want == 0 && !late {
				want = id.Revision(i)
			} else if want != 0 && late && len(wantLater) < maxCandidates {
				wantLater = append([]id.Revision{id.Revision(i)}, wantLater...)
			}
		}
		v := newView(oneDB{db})
		defer v.Close()
		count := &countReads{Reader: v.d.r}
		v.d = reads{count}
		got, later, err := v.RevisionAt(f, at)
		if err != nil || got != want || !slices.Equal(later, wantLater) {
			r.Fatalf("at %v: %s and %d more, %v, want %s and %d", at, got, len(later), err, want, len(wantLater))
		}
		if most := 500 + 10*len(later); count.n > most {
			r.Errorf("%d reads for %d revisions", count.n, n)
		}
	})
}

type countReads struct {
	kv.Reader
	n int
}

func (c *countReads) Get(key []byte) ([]byte, bool, error) { c.n++; return c.Reader.Get(key) }

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ch, cancel := w.m.Watch()
	w.commit(nodeA, put("a", Base{}, dir()))
	w.commit(nodeA, put("b", Base{}, dir()))
	<-ch
	select {
	case <-ch:
		t.Error("two tokens")
	default:
	}
	cancel()
	w.commit(nodeA, put("c", Base{}, dir()))
	select {
	case <-ch:
		t.Error("a token after cancel")
	default:
	}
}

// A view does not change, and sees no commit that is under way.
func TestViewIsFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(nodeA, put("a", Base{}, dir()))
	v := w.m.View()
	defer v.Close()
	w.commit(nodeA, put("b", Base{}, dir()))
	n := 0
	if err := v.Tree(w.folder, "", 99, func(Version) error { n++; return nil }); err != nil || n != 1 {
		t.Error(n, err)
	}
	if _, ok, err := v.At(w.folder, "b", 99); ok || err != nil {
		t.Error(ok, err)
	}
}

// Histories of one path that are long are stepped over.
func TestLongHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 60 {
		w.commit(nodeA, put("a", own(id.Sequence(i)), file(fmt.Sprint("c", i))), put(id.Path(fmt.Sprint("b", i)), Base{}, dir()))
	}
	for _, r := range []id.Revision{1, 30, 60} {
		v := w.m.View()
		n := 0
		if err := v.Tree(w.folder, "", r, func(x Version) error {
			if n++; n == 1 && show(x.Entry) != fmt.Sprint("c", r-1) {
				t.Errorf("revision %d: %s", r, show(x.Entry))
			}
			return nil
		}); err != nil || n != int(r)+1 {
			t.Error(r, n, err)
		}
		_ = v.Close()
	}
	w.checkInvariants()
}
