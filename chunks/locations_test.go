package chunks

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

func (r *rig) countRows(prefix string) (n int) {
	it, err := r.kv.Iter([]byte(prefix), kv.PrefixEnd([]byte(prefix)))
	if err != nil {
		r.t.Fatal(err)
	}
	for it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) unpacked(f File) int64 {
	r.t.Helper()
	n, err := r.Unpacked(context.Background(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func TestLocate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, n := range []int{1, 50000, 6 << 20} {
		r := newRig(t)
		b := noise(n, n)
		r.files.set(9, b)
		f := r.ingest(b, Locate(9))
		if got := r.unpacked(f); got != int64(n) {
			t.Errorf("%d of %d bytes unpacked", got, n)
		}
		r.mustHold(f, b)
		r.sync()
		r.reopen()
		r.mustHold(f, b)

		rd := r.Reader()
		opens := r.files.opens
		for _, row := range r.rows(f) {
			if _, err := rd.Get(ctx, row.ID, Chunk, nil); err != nil {
				t.Error(err)
			}
		}
		if r.files.opens != opens+1 {
			t.Errorf("the reader opened one file %d times", r.files.opens-opens)
		}
		if err := rd.Close(); err != nil {
			t.Error(err)
		}

		if err := r.PackFile(ctx, f, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if got := r.unpacked(f); got != 0 {
			t.Errorf("%d bytes unpacked after PackFile", got)
		}
		r.sync()
		r.files.set(9, nil)
		if err := r.DropFile(9); err != nil {
			t.Fatal(err)
		}
		if r.countRows(prefixFile)+r.countRows(prefixLocation) != 0 {
			t.Error("DropFile left rows")
		}
		r.reopen()
		r.mustHold(f, b)
	}
}

// TestDropFiles: the locations in many files go at once, and no other's.
func TestDropFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := noise(3, 300<<10)
	var drop []uint64
	for n := uint64(1); n <= 20; n++ {
		r.files.set(n, b)
		if _, err := r.Ingest(t.Context(), bytes.NewReader(b), int64(len(b)), Locate(n)); err != nil {
			t.Fatal(err)
		}
		if n != 7 {
			drop = append(drop, n)
		}
	}
	each := r.countRows(prefixFile) / 20
	if err := r.DropFiles(drop); err != nil {
		t.Fatal(err)
	}
	if got := r.countRows(prefixFile); got != each || each == 0 {
		t.Errorf("%d rows of files left, want %d", got, each)
	}
	if got := r.countRows(prefixLocation); got != each {
		t.Errorf("%d locations left, want %d", got, each)
	}
}

func TestChangedLocationIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := noise(1, 1<<20)
	r.files.set(1, b)
	f := r.ingest(b, Locate(1))
	rows := r.rows(f)
	was := r.countRows(prefixLocation)

	bad := slices.Clone(b)
	bad[rows[2].Offset+5] ^= 1
	r.files.set(1, bad[:len(bad)-1])
	var me *MissingError
	for _, i := range []int{2, len(rows) - 1} {
		if _, err := r.Get(context.Background(), rows[i].ID, Chunk, nil); !errors.As(err, &me) || me.ID != rows[i].ID {
			t.Errorf("chunk %d of a changed file: %v", i, err)
		}
		if r.Has([]id.Digest{rows[i].ID})[0] {
			t.Errorf("chunk %d is still said to be here", i)
		}
	}
	if got := r.countRows(prefixLocation); got != was-2 {
		t.Errorf("%d locations, were %d", got, was)
	}
	if _, err := r.Get(context.Background(), rows[0].ID, Chunk, nil); err != nil {
		t.Errorf("a chunk that did not change: %v", err)
	}
	// The same content in another file is found behind the bad one.
	r.files.set(2, b)
	if err := r.AddFile(context.Background(), 2, f); err != nil {
		t.Fatal(err)
	}
	r.mustHold(f, b)
	r.files.set(1, nil)
	r.mustHold(f, b)
	if err := r.PackFile(context.Background(), f, bytes.NewReader(bad)); !errors.Is(err, ErrChanged) {
		t.Errorf("pack a changed file: %v", err)
	}
	if got, want := r.unpacked(f), int64(rows[2].Len); got != want {
		t.Errorf("%d bytes left unpacked, want the %d that changed", got, want)
	}
}

func TestRescue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t)
	a, b := noise(1, 3<<20), noise(2, 3<<20)
	r.files.set(1, slices.Concat(a, b))
	f1 := r.ingest(slices.Concat(a, b), Locate(1))
	r.files.set(2, a)
	f2 := r.ingest(a, Locate(2))
	end := func() int64 { return r.app.active.end }
	before := end()
	if err := r.Rescue(ctx, 1, bytes.NewReader(slices.Concat(a, b))); err != nil {
		t.Fatal(err)
	}
	if got := end() - before; got < 3<<20 || got > 4<<20 {
		t.Errorf("rescue packed %d bytes, file 2 holds half of the 6 MiB", got)
	}
	r.sync()
	r.files.set(1, nil)
	if err := r.DropFile(1); err != nil {
		t.Fatal(err)
	}
	r.mustHold(f1, slices.Concat(a, b))
	// File 2 goes too, and its reader has lost a chunk already.
	bad := slices.Clone(a)
	bad[1<<20] ^= 1
	r.files.set(2, bad)
	if err := r.Rescue(ctx, 2, bytes.NewReader(bad)); !errors.Is(err, ErrChanged) {
		t.Errorf("rescue a changed file: %v", err)
	}
	if err := r.DropFile(2); err != nil {
		t.Fatal(err)
	}
	missing := 0
	for p, err := range r.Assemble(ctx, f2, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if !p.Local {
			missing++
		}
	}
	if missing != 1 {
		t.Errorf("%d chunks missing, one was lost", missing)
	}
}

// TestPackModeDoesNotTrustLocations: what is in some file is packed all the same.
func TestPackModeDoesNotTrustLocations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := noise(1, 300000)
	r.files.set(1, b)
	r.ingest(b, Locate(1))
	f := r.ingest(b, Pack)
	if got := r.unpacked(f); got != 0 {
		t.Errorf("%d bytes are only in a file", got)
	}
}

func TestAddLocationsRefusesNonsense(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, row := range []Row{{Len: 0}, {Len: MaxChunk + 1}, {Len: 1, Offset: -1}} {
		if err := r.AddLocations(1, []Row{row}); err == nil {
			t.Errorf("%+v accepted", row)
		}
	}
}
