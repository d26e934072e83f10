package materialize

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// stopping is a Content that ends the run after some files.
type stopping struct {
	*store
	after int
	stop  context.CancelFunc
}

func (s *stopping) Fill(ctx context.Context, reqs []FillRequest) []error {
	errs := s.store.Fill(ctx, reqs)
	if s.after -= len(reqs); s.after <= 0 {
		s.stop()
	}
	return errs
}

// TestLeftoversAreUsed: what a run that was cut short had staged of small files is not
// pulled again, whether the program ended or the machine; damaged files are.
func TestLeftoversAreUsed(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"end", "crash", "damage", "twice"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, vfs.MemOptions{EnforceModes: true})
			want := map[id.Path]meta.Entry{"d": dirEntry(0o755), "d/e": dirEntry(0o500), "f": w.file("top", 0o400, 3)}
			for i := range 300 {
				want[id.Path(fmt.Sprintf("d/%03d", i))] = w.file(strings.Repeat(fmt.Sprint(i, " "), 2<<10), 0o444, 5)
				want[id.Path(fmt.Sprintf("d/e/%03d", i))] = w.file(fmt.Sprint("e", i), 0o644, 5)
			}
			items := w.diff(nil, want, nil)
			ctx, stop := context.WithCancel(context.Background())
			w.x.opts.Content, w.x.opts.Workers = &stopping{store: w.store, after: 300, stop: stop}, 1
			w.must(w.x.Recover(context.Background()))
			if _, err := w.x.Stage(ctx, items); err == nil {
				t.Fatal("staged to the end")
			}
			first := w.fills
			for range map[string]int{"twice": 2}[how] + 1 {
				w.restart()
				w.must(w.x.Recover(context.Background()))
			}
			if how == "damage" {
				walk(t, root{w.user}, tmpDir, func(p id.Path, st vfs.Stat) {
					if st.Kind == vfs.File {
						w.must(w.user.Chmod(p, 0o600))
						h, err := w.user.Reopen(p)
						w.must(err)
						_, err = h.WriteAt([]byte("!"), 0)
						w.must(err)
						w.must(h.Close())
					}
				})
			}
			w.fills = 0
			w.allDone(w.run(items))
			sameTree(t, tree(t, w.user), w.wanted(want))
			if again := first + w.fills - 601; how != "damage" && again > 0 {
				t.Errorf("filled %d files, then %d of 601", first, w.fills)
			}
			w.clean()
		})
	}
}

// TestLeftoversMakeRoom: where the disk is full, they go first.
func TestLeftoversMakeRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{Capacity: 10_000})
	w.must(w.x.Recover(context.Background()))
	w.must(w.user.Mkdir(tmpDir+"/left-1", 0o700))
	h, err := w.user.Create(tmpDir+"/left-1/0", 0o600)
	w.must(err)
	_, err = h.WriteAt(make([]byte, 8_000), 0)
	w.must(err)
	w.must(h.Close())
	w.allDone(w.run([]Item{{Path: "f", Want: w.file(strings.Repeat("x", 5_000), 0o644, 1)}}))
	w.clean()
}

// TestBigStageIsGoneOnWith: in place, unless the user has another name of it.
func TestBigStageIsGoneOnWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	w.must(w.x.Recover(context.Background()))
	seen := &oldSeen{store: w.store}
	w.x.opts.Content = seen
	big := w.file(strings.Repeat("b", bigFile), 0o640, 7)
	part := func() {
		h, err := w.user.Create(bigPath(big.Content), 0o600)
		w.must(err)
		_, err = h.WriteAt([]byte("part"), 0)
		w.must(err)
		w.must(h.Close())
	}
	part()
	before := w.stat(bigPath(big.Content))
	w.allDone(w.run([]Item{{Path: "big", Want: big}}))
	if got := w.stat("big"); got.Ino != before.Ino || string(seen.old) != "part" {
		t.Errorf("inode %d became %d, %d bytes offered", before.Ino, got.Ino, len(seen.old))
	}
	w.clean()
}

// A big file's stage of a version that was replaced before it had come goes once nothing
// is missing, and for want of space, but not while it is in use.
func TestBigStageOfAReplacedVersionGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	w.must(w.x.Recover(context.Background()))
	old, now := w.file(strings.Repeat("o", bigFile), 0o640, 7), w.file(strings.Repeat("n", bigFile), 0o640, 8)
	w.missing[old.Content] = true
	if res := w.run([]Item{{Path: "big", Want: old}}); res["big"].State != Missing {
		t.Fatalf("the old version: %v", res["big"].State)
	}
	staged, err := w.x.Stage(context.Background(), []Item{{Path: "big", Want: now}})
	w.must(err)
	w.must(w.x.DropLeftovers())
	if _, err := w.fs.Open(bigPath(old.Content)); err == nil {
		t.Error("the stage of the old version is still there")
	}
	res, err := w.x.Commit(context.Background(), staged, nil, nil)
	w.must(err)
	for _, r := range res {
		if r.State != Done {
			t.Errorf("%q: %v, %v", r.Item.Path, r.State, r.Err)
		}
	}
	w.must(w.x.DropLeftovers())
	w.clean()
}

func TestBigStageOfAReplacedVersionMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{Capacity: 3 * bigFile / 2})
	w.must(w.x.Recover(context.Background()))
	old, now := w.file(strings.Repeat("o", bigFile), 0o640, 7), w.file(strings.Repeat("n", bigFile), 0o640, 8)
	h, err := w.fs.Create(bigPath(old.Content), 0o600)
	w.must(err)
	_, err = h.WriteAt([]byte(strings.Repeat("o", bigFile)), 0)
	w.must(err)
	w.must(h.Close())
	w.allDone(w.run([]Item{{Path: "big", Want: now}}))
	w.clean()
}

// A big file whose stage was cut short needs only the room for the rest of it.
func TestRestOfABigStageFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{Capacity: bigFile + bigFile/4})
	w.must(w.x.Recover(context.Background()))
	big := w.file(strings.Repeat("b", bigFile), 0o640, 7)
	h, err := w.fs.Create(bigPath(big.Content), 0o600)
	w.must(err)
	_, err = h.WriteAt([]byte(strings.Repeat("b", bigFile/2)), 0)
	w.must(err)
	w.must(h.Close())
	w.allDone(w.run([]Item{{Path: "big", Want: big}}))
	w.clean()
}
