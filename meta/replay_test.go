package meta

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// dump is every row of a store.
func dump(t testing.TB, db *kv.DB) []byte {
	t.Helper()
	var out bytes.Buffer
	it, err := db.Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		fmt.Fprintf(&out, "%x = %x\n", it.Key(), it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The same log gives the same store byte for byte: entry by entry, in batches, with
// effects spilled all the time, and with crashes between the batches of a commit.
func TestReplayProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		if rapid.Bool().Draw(r, "history") {
			w.historyMode()
		}
		n := 0
		var all []*author
		for _, node := range []id.Node{nodeA, nodeB, nodeC} {
			a := newAuthor(w, node, &n, "a", "b", "c")
			a.fail = r.Fatalf
			all = append(all, a)
		}
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			a := all[rapid.IntRange(0, len(all)-1).Draw(r, "who")]
			switch rapid.IntRange(0, 6).Draw(r, "what") {
			case 0, 1, 2:
				a.act(r)
			case 3:
				if len(a.queue) > 0 {
					a.send()
				}
			case 4:
				for len(a.queue) > 0 {
					a.send()
				}
				a.sync()
			case 5:
				if h := w.head(); h.Revision > 1 && len(a.queue) == 0 {
					to := w.at(id.Revision(rapid.IntRange(1, int(h.Revision)).Draw(r, "target")))
					a.next++
					w.must(w.do(a.node, RollbackCmd{Folder: w.folder, Target: to.Revision, TargetHash: to.Hash}))
				}
			case 6:
				if len(a.queue) == 0 && w.resolveSome(r, a.node) {
					a.next++
				}
			}
		}
		want := dump(t, w.db)
		for _, limit := range []int{maxBatch, 1, 1000} {
			if got := replay(t, r, w, limit); !bytes.Equal(got, want) {
				r.Fatalf("limit %d: the stores differ:\n%s", limit, diffLines(got, want))
			}
		}
	})
}

// replay applies w's log to a new machine in batches and with crashes.
func replay(t testing.TB, r *rapid.T, w *world, limit int) []byte {
	db := memDB(t)
	m, err := NewMachine(oneDB{db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.limit = limit
	for i := 0; i < len(w.log); {
		k := min(rapid.IntRange(1, 8).Draw(r, "batch"), len(w.log)-i)
		if rapid.IntRange(0, 3).Draw(r, "crash") == 0 {
			crash(t, m, db, w.log[i:i+k])
			if m, err = NewMachine(oneDB{db}, nil); err != nil {
				t.Fatal(err)
			}
			m.limit = limit
		}
		// From the applied index on, as after a crash; entries before it are skipped.
		if err := m.ApplyBatch(w.log[max(0, i-2) : i+k]); err != nil {
			t.Fatal(err)
		}
		i += k
	}
	return dump(t, db)
}

// crash applies some entries and stops within one, its effects spilled in part.
func crash(t testing.TB, m *Machine, db *kv.DB, entries []IndexedEntry) {
	x := newTxn(db, 1)
	applied := m.AppliedIndex()
	for _, e := range entries[:len(entries)-1] {
		if e.Index <= applied {
			continue
		}
		if _, _, err := x.entry(e.Data); err != nil {
			t.Fatal(err)
		}
		x.endEntry(e.Index)
	}
	if last := entries[len(entries)-1]; last.Index > applied {
		if _, _, err := x.entry(last.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.close(); err != nil {
		t.Fatal(err)
	}
}

func diffLines(a, b []byte) string {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(x), len(y)) {
		if !bytes.Equal(x[i], y[i]) {
			return fmt.Sprintf("%.400s\n%.400s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d rows", len(x), len(y))
}

func TestTwoFoldersInOneBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := id.Folder{0xf1}
	w.must(w.do(nodeB, FolderCmd{Op: FolderCreate, ID: other, Name: "other"}))
	for i := range 10 {
		for _, f := range []id.Folder{w.folder, other} {
			w.must(w.do(nodeB, CommitCmd{Folder: f, Origin: OriginEdit, Changes: []Change{put(id.Path(fmt.Sprint("f", i)), Base{}, file(fmt.Sprint(i)))}}))
		}
	}
	db := memDB(t)
	m, err := NewMachine(oneDB{db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyBatch(w.log); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(dump(t, db), dump(t, w.db)) {
		t.Error("stores differ")
	}
}

// oneBadRead fails the read of a table that brings left to zero.
type oneBadRead struct{ left atomic.Int64 }

func (*oneBadRead) String() string { return "one bad read" }

func (b *oneBadRead) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && b.left.Add(-1) == 0 {
		return syscall.EIO
	}
	return nil
}

// A replica whose store fails to read, whichever read it is, stops: it does not
// take what it could not read for absent.
func TestFailedReadStopsTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var puts, dels []Change
	for i := range 2000 {
		p := id.Path(fmt.Sprintf("f%06d", i))
		puts = append(puts, put(p, Base{}, file(fmt.Sprint("c", i%200))))
		if i%10 == 0 {
			dels = append(dels, del(p, Base{}))
		}
	}
	w.commit(nodeA, puts...)
	b := w.head()
	for i := range dels {
		dels[i].Base = b
	}
	mem, bad := vfs.NewMem(), new(oneBadRead)
	open := func(dir string) (*kv.DB, *Machine) {
		db, err := kv.Open(dir, kv.Options{NoWAL: true, FS: errorfs.Wrap(mem, bad)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMachine(oneDB{db}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return db, m
	}
	db, m := open("start")
	if err := errors.Join(m.ApplyBatch(w.log), db.Close()); err != nil {
		t.Fatal(err)
	}
	w.commit(nodeB, dels...)
	w.must(w.do(nodeB, RollbackCmd{Folder: w.folder, Target: b.Revision, TargetHash: b.Hash}))
	want := dump(t, w.db)
	for n := int64(1); ; n++ {
		dir := fmt.Sprint("copy-", n)
		if _, err := vfs.Clone(mem, mem, "start", dir); err != nil {
			t.Fatal(err)
		}
		db, m := open(dir)
		bad.left.Store(n)
		err := m.ApplyBatch(w.log)
		unread := bad.left.Swap(0) > 0
		if err == nil && !bytes.Equal(dump(t, db), want) {
			t.Errorf("read %d failed: no error, and another state", n)
		}
		_ = db.Close()
		if unread {
			return // fewer reads than n
		}
	}
}
