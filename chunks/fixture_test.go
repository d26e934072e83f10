package chunks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// fixtureObjects are what the packs in testdata hold, in this order.
func fixtureObjects() [][]byte {
	return [][]byte{noise(1, 1000), text(2, 8000), noise(3, 3000), {42}, text(4, 3000)}
}

// TestOldPacks reads the packs that version 1 wrote, sound and damaged, with no
// index. With -update it writes them; never do that once they were released.
func TestOldPacks(t *testing.T) {
	t.Parallel()
	sound := filepath.Join("testdata", "v1", "sound.pack")
	damaged := filepath.Join("testdata", "v1", "damaged.pack")
	if *update {
		writeFixtures(t, sound, damaged)
	}
	for _, c := range []struct {
		file    string
		missing map[int]bool
	}{
		{sound, nil},
		// A bit flipped in the second object, the header of the third overwritten,
		// the last one cut short.
		{damaged, map[int]bool{1: true, 2: true, 4: true}},
	} {
		b, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, func(o *Options) {
			if err := os.Mkdir(o.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(o.Dir, packName(1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		})
		for i, want := range fixtureObjects() {
			got, err := r.Get(context.Background(), id.Sum(want), Chunk, nil)
			switch {
			case c.missing[i] && !errors.Is(err, ErrMissing):
				t.Errorf("%s: object %d: %v", c.file, i, err)
			case !c.missing[i] && (err != nil || !bytes.Equal(got, want)):
				t.Errorf("%s: object %d: %v", c.file, i, err)
			}
		}
		// The store goes on behind it.
		for _, b := range fixtureObjects() {
			r.mustHold(r.ingest(b, Pack), b)
		}
		r.reopen()
		for _, b := range fixtureObjects() {
			r.mustHold(r.ingest(b, Pack), b)
		}
	}
}

func writeFixtures(t *testing.T, sound, damaged string) {
	r := newRig(t)
	at := map[int]int64{}
	for i, b := range fixtureObjects() {
		if err := r.Put(context.Background(), Chunk, id.Sum(b), b); err != nil {
			t.Fatal(err)
		}
		at[i+1] = r.app.active.end
	}
	r.sync()
	b, err := os.ReadFile(filepath.Join(r.o.Dir, packName(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(sound), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sound, b, 0o644); err != nil {
		t.Fatal(err)
	}
	b[at[2]-1] ^= 1
	copy(b[at[2]:], bytes.Repeat([]byte{0x58}, 16)) // the third record loses its head
	if err := os.WriteFile(damaged, b[:len(b)-5], 0o644); err != nil {
		t.Fatal(err)
	}
}
