package local

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

func open(t testing.TB) *DB {
	t.Helper()
	d, err := Open("local", Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func commit(t testing.TB, b *Batch) {
	t.Helper()
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
}

func drawRow(t *rapid.T) Row {
	r := Row{
		Base:  meta.Base{Own: id.Sequence(rapid.Uint64().Draw(t, "own")), Revision: id.Revision(rapid.Uint64().Draw(t, "rev"))},
		Entry: meta.Entry{Kind: meta.Kind(rapid.IntRange(0, 3).Draw(t, "kind")), Mode: rapid.Uint32().Draw(t, "mode"), MTime: rapid.Int64().Draw(t, "mtime"), Size: rapid.Int64().Draw(t, "size"), Target: rapid.StringN(0, 20, 60).Draw(t, "target")},
		Stat:  vfs.Stat{Kind: vfs.Kind(rapid.IntRange(0, 4).Draw(t, "skind")), Mode: rapid.Uint32().Draw(t, "smode"), Size: rapid.Int64().Draw(t, "ssize"), MTime: rapid.Int64().Draw(t, "smtime"), CTime: rapid.Int64().Draw(t, "ctime"), Ino: rapid.Uint64().Draw(t, "ino"), Dev: rapid.Uint64().Draw(t, "dev")},
		Firm:  rapid.Bool().Draw(t, "firm"),
		File:  rapid.Uint64().Draw(t, "file"),

		Unpacked: rapid.Bool().Draw(t, "unpacked"),
	}
	copy(r.Base.Hash[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "hash"))
	if rapid.Bool().Draw(t, "content") {
		r.Entry.Content = id.Sum([]byte("c"))
	}
	if rapid.Bool().Draw(t, "manifest") {
		r.Entry.Manifest = id.Sum([]byte("m"))
	}
	return r
}

func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRow(t)
		got, err := decodeRow(r.encode())
		if err != nil || got != r {
			t.Fatalf("got %+v, %v; want %+v", got, err, r)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(Row{}.encode())
	f.Add(Row{Entry: meta.Entry{Kind: meta.File, Content: id.Sum(nil), Size: 3}, Stat: vfs.Stat{Ino: 7}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		if again, err := decodeRow(r.encode()); err != nil || again != r {
			t.Fatalf("decoded %+v, encoded and decoded again %+v, %v", r, again, err)
		}
	})
}

func FuzzDecodePlacement(f *testing.F) {
	for _, p := range goldenPlacements {
		f.Add(p.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePlacement("a", b)
		if err != nil {
			return
		}
		if again, err := decodePlacement("a", p.encode()); err != nil || again != p {
			t.Fatalf("decoded %+v, encoded and decoded again %+v, %v", p, again, err)
		}
	})
}

// TestTreeRanges compares the ranges of keys with the plain definition, over
// names that sort around the separators.
func TestTreeRanges(t *testing.T) {
	d, f, g := open(t), id.Folder{1}, id.Folder{2}
	paths := []id.Path{"a", "a/b", "a/b/c", "a-b", "a-b/x", "a.b", "ab", "ab/c", "a/\x01", "a/b\xff", "a/b\xff/z", "\xff", "\xff/y"}
	b := d.NewBatch()
	for i, p := range paths {
		b.Put(f, p, Row{Entry: meta.Entry{Kind: meta.File}, File: uint64(i + 1)}, nil)
		b.Put(g, p, Row{}, nil)
	}
	commit(t, b)
	for _, dir := range append([]id.Path{""}, paths...) {
		want := map[id.Path]bool{}
		kids := map[string]bool{}
		for _, p := range paths {
			if p.Below(dir) {
				want[p] = true
			}
			if p.Dir() == dir {
				kids[p.Base()] = true
			}
		}
		got := map[id.Path]bool{}
		if err := d.Below(f, dir, func(p id.Path, r Row) error {
			if r.Entry.Kind != meta.File {
				return fmt.Errorf("%q is of the other folder", p)
			}
			if !got[p.Dir()] && p.Dir() != dir && want[p.Dir()] {
				return fmt.Errorf("%q came before its parent", p)
			}
			got[p] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("below %q: got %v, want %v", dir, got, want)
		}
		gotKids := map[string]bool{}
		if err := d.Children(f, dir, func(n string, _ Row) error { gotKids[n] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gotKids, kids) {
			t.Errorf("children of %q: got %v, want %v", dir, gotKids, kids)
		}
	}
}

func TestInodeFollowsMove(t *testing.T) {
	d, f := open(t), id.Folder{1}
	r := Row{Entry: meta.Entry{Kind: meta.File}, Stat: vfs.Stat{Kind: vfs.File, Ino: 9}}
	b := d.NewBatch()
	b.Put(f, "old", r, nil)
	commit(t, b)
	for _, putFirst := range []bool{true, false} {
		from, to := id.Path("old"), id.Path("new")
		if !putFirst {
			from, to = to, from
		}
		b = d.NewBatch()
		if putFirst {
			b.Put(f, to, r, nil)
			b.Delete(f, from, r)
		} else {
			b.Delete(f, from, r)
			b.Put(f, to, r, nil)
		}
		commit(t, b)
		if p, ok, err := d.ByInode(f, 9); p != to || !ok || err != nil {
			t.Errorf("put first %v: inode 9 is at %q, %v, %v; want %q", putFirst, p, ok, err, to)
		}
	}
	b = d.NewBatch()
	b.Delete(f, "old", r)
	commit(t, b)
	if p, ok, _ := d.ByInode(f, 9); ok {
		t.Errorf("inode 9 is still at %q after its path was deleted", p)
	}
}

func TestQueueIsInOrderByLane(t *testing.T) {
	d := open(t)
	b := d.NewBatch()
	for _, s := range []id.Sequence{300, 2, 1, 256} {
		b.Enqueue(Item{Lane: id.Folder{1}, Sequence: s, Body: []byte(s.String())})
		b.Enqueue(Item{Lane: id.Folder{2}, Sequence: s + 1000, Body: []byte("other")})
	}
	commit(t, b)
	b = d.NewBatch()
	b.Dequeue(id.Folder{1}, 2)
	commit(t, b)
	var got []string
	if err := d.Queue(id.Folder{1}, 1, func(i Item) error { got = append(got, string(i.Body)); return nil }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1", "256", "300"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFileNumbersAreNotReused(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := d.NewFile()
	b := d.NewBatch()
	b.Put(id.Folder{1}, "a", Row{File: n}, nil)
	commit(t, b)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if m := d.NewFile(); m <= n {
		t.Errorf("number %d came again after %d", m, n)
	}
	if f, p, ok, err := d.FilePath(n); f != (id.Folder{1}) || p != "a" || !ok || err != nil {
		t.Errorf("file %d: %v %q %v %v", n, f, p, ok, err)
	}
}
