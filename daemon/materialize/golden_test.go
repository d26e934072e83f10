package materialize

import (
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// goldenBatch is the batch of the golden intents.
const goldenBatch = "0123456789abcdef"

// goldenIntents has each op, and each field once.
func goldenIntents() []intent {
	st := vfs.Stat{Kind: vfs.File, Mode: 0o4755, Size: 1 << 40, MTime: -5, CTime: 1 << 60, Ino: 1 << 63}
	file := meta.Entry{Kind: meta.File, Mode: 0o644, MTime: 2, Size: 8, Content: id.Sum([]byte("the old\n")), Manifest: id.Sum([]byte("m"))}
	kept := keptDir + "/" + goldenBatch
	return []intent{
		{op: opRemove, path: "gone", kept: kept + "-0", expect: st, was: file, wasVer: meta.Base{Own: 7, Revision: 300, Hash: [8]byte{1, 2, 8}}},
		{op: opRmdir, path: "d/e", expect: vfs.Stat{Kind: vfs.Dir, Mode: 0o755}, was: meta.Entry{Kind: meta.Dir, Mode: 0o755}},
		{op: opLift, path: "to", from: "from", stage: kept + "-1", expect: st, was: file},
		{op: opMove, path: "b\nc\xff", from: "d", expect: st, was: meta.Entry{Kind: meta.Symlink, Target: "../x"}},
		{op: opPut, lifted: true, path: "to", from: "from", stage: kept + "-1", kept: kept + "-2", expect: st, new: st, was: file},
		{op: opAttr, path: "f", expect: st, new: vfs.Stat{Mode: 0o600, MTime: 9}, was: file},
		{op: opDirMode, path: "d", new: vfs.Stat{Kind: vfs.Dir, Mode: 0o500}},
	}
}

func storedIntents(t *testing.T) []byte {
	t.Helper()
	text := hex.EncodeToString(encodeIntents(goldenIntents()))
	stored := golden.Text(t, "intents.golden", text+"\n")
	b, err := hex.DecodeString(strings.TrimSpace(stored))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenIntents(t *testing.T) {
	t.Parallel()
	b := storedIntents(t)
	got, err := decodeIntents(b)
	if err != nil || !reflect.DeepEqual(got, goldenIntents()) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i := range b {
		if _, err := decodeIntents(b[:i]); !errors.Is(err, errIntents) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		b[i] ^= 1
		if _, err := decodeIntents(b); !errors.Is(err, errIntents) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		b[i] ^= 1
	}
	// A later version, sound, is no damage: it must not be dropped as such.
	b[len(intentsMagic)]++
	if _, err := decodeIntents(resum(b[:len(b)-32])); err == nil || errors.Is(err, errIntents) {
		t.Errorf("a later version: %v", err)
	}
}

// put writes a file that an earlier run may have left.
func (w *world) put(p id.Path, b []byte) {
	w.t.Helper()
	h, err := w.user.Create(p, 0o600)
	w.must(err)
	_, err = h.WriteAt(b, 0)
	w.must(errors.Join(err, h.Sync(), h.Close()))
}

// TestGoldenKept: what an earlier run left in kept is found under the stored names
// and by the stored intents, and given to the Keeper as what it was.
func TestGoldenKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	w.must(w.user.Mkdir(".lockstep/tmp", 0o700))
	w.must(w.user.Mkdir(".lockstep/kept", 0o700))
	w.put(".lockstep/kept/0123456789abcdef.batch", storedIntents(t))
	w.put(".lockstep/kept/0123456789abcdef-0", []byte("the old\n"))
	w.put(".lockstep/kept/0123456789abcdef-2", []byte("another"))
	w.put(".lockstep/tmp/intents-fedcba9876543210", storedIntents(t)[:100]) // never finished
	w.restart()
	w.must(w.x.Recover(context.Background()))
	if n, _ := w.x.KeptFiles(); n != 2 {
		t.Fatalf("%d displaced files are known, want 2", n)
	}
	if w.stat(".lockstep/tmp/intents-fedcba9876543210").Kind != vfs.Absent {
		t.Error("unfinished intents are still there")
	}
	w.advance(2 * hashedAge)
	if _, err := w.x.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := []id.Path{"gone"}; !reflect.DeepEqual(w.rescued, want) {
		t.Errorf("rescued %q, want %q", w.rescued, want)
	}
	if want := []string{"to=another"}; !reflect.DeepEqual(w.returned, want) {
		t.Errorf("returned %q, want %q", w.returned, want)
	}
	if w.stat(".lockstep/kept/0123456789abcdef.batch").Kind != vfs.Absent {
		t.Error("the batch of which nothing is kept is still there")
	}
}

// TestGoldenNames: what a batch leaves has names of the form that TestGoldenKept reads.
func TestGoldenNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	e, to := w.file("old", 0o644, 1), w.file("new", 0o644, 2)
	w.make("f", e)
	w.restart()
	w.allDone(w.run(w.diff(map[id.Path]meta.Entry{"f": e}, map[id.Path]meta.Entry{"f": to}, nil)))
	names, err := w.user.ReadDir(".lockstep/kept")
	w.must(err)
	form := regexp.MustCompile(`^[0-9a-f]{16}(-0|\.batch)$`)
	for _, n := range names {
		if !form.MatchString(n) {
			t.Errorf("a name of another form: %q", n)
		}
	}
	if len(names) != 2 {
		t.Errorf("%q in kept, want a displaced file and its batch", names)
	}
	got := strings.Join([]string{string(tmpDir + "/" + planPrefix), string(tmpDir + "/" + intentsPrefix), string(batchPath(goldenBatch)), string(bigPath(id.Sum(nil)))}, "\n")
	golden.Text(t, "names.golden", got+"\n")
}
