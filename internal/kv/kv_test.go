package kv

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t *testing.T, dir string, o Options) *DB {
	t.Helper()
	d, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func set(t *testing.T, d *DB, sync bool, keys ...string) {
	t.Helper()
	b := d.NewBatch()
	for _, k := range keys {
		b.Set([]byte(k), []byte("v"+k))
	}
	if err := b.Commit(sync); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, r Reader, lo, hi string) (out []string) {
	t.Helper()
	var end []byte
	if hi != "" {
		end = []byte(hi)
	}
	it, err := r.Iter([]byte(lo), end)
	if err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		if string(it.Value()) != "v"+string(it.Key()) {
			t.Errorf("%s = %q", it.Key(), it.Value())
		}
		out = append(out, string(it.Key()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReadWrite(t *testing.T) {
	d := open(t, "db", Options{InMemory: true})
	defer d.Close()
	set(t, d, true, "a", "b", "c", "d")
	snap := d.Snapshot()
	defer snap.Close()
	b := d.NewReadBatch()
	b.Delete([]byte("b"))
	b.DeleteRange([]byte("c"), []byte("d"))
	b.Set([]byte("e"), []byte("ve"))
	if got, want := keys(t, b, "", ""), []string{"a", "d", "e"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the batch sees %v, want %v", got, want)
	}
	if got, want := keys(t, d, "", ""), []string{"a", "b", "c", "d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("before the commit the store has %v, want %v", got, want)
	}
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
	if got, want := keys(t, d, "b", "e"), []string{"d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the store has %v in [b, e), want %v", got, want)
	}
	if got, want := keys(t, snap, "", ""), []string{"a", "b", "c", "d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the snapshot has %v, want %v", got, want)
	}
	if v, ok, err := d.Get([]byte("b")); v != nil || ok || err != nil {
		t.Errorf("a deleted key gives %q, %v, %v", v, ok, err)
	}
}

func TestSeek(t *testing.T) {
	d := open(t, "db", Options{InMemory: true})
	defer d.Close()
	set(t, d, true, "a", "c", "e")
	it, err := d.Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var got []string
	it.Seek([]byte("b"))
	for it.Next() {
		got = append(got, string(it.Key()))
	}
	it.Seek([]byte("a"))
	if it.Next() {
		got = append(got, string(it.Key()))
	}
	if want := []string{"c", "e", "a"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// crash opens a strict in-memory filesystem's durable part.
func crash(fs *vfs.MemFS) vfs.FS { return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0}) }

// A synced batch carries every batch before it, even if it is empty itself.
func TestSyncIsDurable(t *testing.T) {
	for _, empty := range []bool{false, true} {
		fs := vfs.NewCrashableMem()
		d := open(t, "db", Options{FS: fs})
		for i := range 10 {
			set(t, d, false, fmt.Sprint(i))
		}
		want := 10
		if empty {
			set(t, d, true)
		} else {
			set(t, d, true, "last")
			want++
		}
		set(t, d, false, "unsynced")
		e := open(t, "db", Options{FS: crash(fs)})
		if got := keys(t, e, "", ""); len(got) != want {
			t.Errorf("sync by an empty batch %v: %d keys survive, want %d: %v", empty, len(got), want, got)
		}
		e.Close()
		d.Close()
	}
}

// Without a WAL what survives is what was flushed.
func TestNoWALSurvivesFlush(t *testing.T) {
	fs := vfs.NewCrashableMem()
	d := open(t, "db", Options{FS: fs, NoWAL: true})
	defer d.Close()
	set(t, d, true, "a")
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	set(t, d, true, "b")
	e := open(t, "db", Options{FS: crash(fs), NoWAL: true})
	defer e.Close()
	if got, want := keys(t, e, "", ""), []string{"a"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheckpointHasEverything(t *testing.T) {
	for _, noWAL := range []bool{false, true} {
		dir := t.TempDir()
		d := open(t, filepath.Join(dir, "db"), Options{NoWAL: noWAL})
		set(t, d, false, "a", "b")
		if err := d.Checkpoint(filepath.Join(dir, "copy")); err != nil {
			t.Fatal(err)
		}
		set(t, d, false, "c")
		e := open(t, filepath.Join(dir, "copy"), Options{NoWAL: noWAL})
		if got, want := keys(t, e, "", ""), []string{"a", "b"}; !reflect.DeepEqual(got, want) {
			t.Errorf("without WAL %v: got %v, want %v", noWAL, got, want)
		}
		e.Close()
		d.Close()
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ in, want string }{{"a", "b"}, {"a\xff", "b"}, {"a\x00", "a\x01"}} {
		if got := PrefixEnd([]byte(c.in)); string(got) != c.want {
			t.Errorf("PrefixEnd(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := PrefixEnd([]byte("\xff\xff")); got != nil {
		t.Errorf("PrefixEnd of the last prefix = %q, want nil", got)
	}
}

// damaged is a store with the keys a to z in a table that is damaged on disk.
func damaged(t *testing.T) *DB {
	t.Helper()
	fs := vfs.NewMem()
	d := open(t, "db", Options{NoWAL: true, FS: fs})
	for c := 'a'; c <= 'z'; c++ {
		set(t, d, false, string(c))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Ext(name) != ".sst" {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin("db", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damage"), 3); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d = open(t, "db", Options{NoWAL: true, FS: fs})
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Damage is an error for who reads, not the end of the process, and an iterator
// that has met it does not begin anew with a seek.
func TestDamageIsAnError(t *testing.T) {
	d := damaged(t)
	if _, ok, err := d.Get([]byte("b")); ok || !errors.Is(err, ErrDamaged) {
		t.Errorf("Get: %v, %v", ok, err)
	}
	it, err := d.Iter([]byte("a"), []byte("zz"))
	if err != nil {
		t.Fatal(err)
	}
	if it.Seek([]byte("b")); it.Next() || !errors.Is(it.Err(), ErrDamaged) {
		t.Errorf("after a seek: %v", it.Err())
	}
	if it.Seek([]byte("zz")); it.Next() || !errors.Is(it.Err(), ErrDamaged) {
		t.Errorf("after a second seek: %v", it.Err())
	}
	if err := it.Close(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Close: %v", err)
	}
}

// A store that was put to rest holds what it held, durable or not before, and goes on.
func TestRest(t *testing.T) {
	for _, noWAL := range []bool{false, true} {
		dir := t.TempDir()
		d := open(t, dir, Options{NoWAL: noWAL})
		set(t, d, false, "a", "b")
		snap := d.Snapshot()
		if err := d.Rest(); err != nil {
			t.Fatal(err)
		}
		if n := d.cache.Size(); n != 0 {
			t.Errorf("%d bytes are cached", n)
		}
		set(t, d, false, "c")
		if got, want := keys(t, d, "", ""), []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) {
			t.Errorf("it holds %v, want %v", got, want)
		}
		if got, want := keys(t, snap, "", ""), []string{"a", "b"}; !reflect.DeepEqual(got, want) {
			t.Errorf("the snapshot holds %v, want %v", got, want)
		}
		if err := errors.Join(snap.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
