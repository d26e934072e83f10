package materialize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestMissingContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	gone := w.file("nobody has it", 0o644, 1)
	w.missing[gone.Content] = true
	w.make("old", w.file("old", 0o644, 1))
	items := w.diff(map[id.Path]meta.Entry{"old": w.file("old", 0o644, 1)}, map[id.Path]meta.Entry{
		"old": gone, "d": dirEntry(0o755), "d/gone": gone, "d/there": w.file("there", 0o644, 1), "d/e": dirEntry(0o555), "d/e/gone": gone,
	}, nil)
	res := w.run(items)
	for p, want := range map[id.Path]State{"old": Missing, "d/gone": Missing, "d/e/gone": Missing, "d": Done, "d/e": Done, "d/there": Done} {
		if r := res[p]; r.State != want || (want == Missing) != errors.Is(r.Err, ErrMissing) {
			t.Errorf("%q: %v %v, want %v", p, r.State, r.Err, want)
		}
	}
	sameTree(t, tree(t, w.user), w.wanted(map[id.Path]meta.Entry{
		"old": w.file("old", 0o644, 1), "d": dirEntry(0o755), "d/e": dirEntry(0o555), "d/there": w.file("there", 0o644, 1),
	}))
	w.clean()
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{Capacity: 1000})
	items := []Item{{Path: "f", Want: w.file(strings.Repeat("x", 2000), 0o644, 1)}}
	_, err := w.x.Stage(context.Background(), items)
	var full *NoSpaceError
	if !errors.As(err, &full) || full.Need != 2000 {
		t.Fatalf("got %v", err)
	}
	w.clean()
}

// TestDiskFullWhileStaging: the disk fills up although there was space before.
func TestDiskFullWhileStaging(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	w.mem.Fail(vfs.OpWrite, "", 2, errNoSpace)
	_, err := w.x.Stage(context.Background(), []Item{
		{Path: "a", Want: w.file("a", 0o644, 1)}, {Path: "b", Want: w.file("b", 0o644, 1)},
	})
	if !errors.Is(err, errNoSpace) {
		t.Fatalf("got %v", err)
	}
	w.mem.ClearFaults()
	w.clean()
}

func TestSyncFailureStopsStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	w.mem.Fail(vfs.OpSync, "", 1, nil)
	if _, err := w.x.Stage(context.Background(), []Item{{Path: "a", Want: w.file("a", 0o644, 1)}}); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	w.mem.ClearFaults()
	w.clean()
}

// oldSeen is a Content that reports what it was offered of an earlier attempt.
type oldSeen struct {
	*store
	old []byte
}

func (o *oldSeen) Fill(ctx context.Context, reqs []FillRequest) []error {
	for _, r := range reqs {
		if r.Resume {
			o.old, _ = io.ReadAll(io.NewSectionReader(r.Handle, 0, 1<<30))
		}
	}
	return o.store.Fill(ctx, reqs)
}

// TestBigStageSurvives: a big file's stage is found by a restart, whole or not.
func TestBigStageSurvives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	seen := &oldSeen{store: w.store}
	restart := func() {
		w.restart()
		w.x.opts.Content = seen
		w.must(w.x.Recover(context.Background()))
	}
	restart()
	big := w.file(strings.Repeat("b", bigFile), 0o640, 7)
	items := []Item{{Path: "d", Want: dirEntry(0o755)}, {Path: "d/big", Want: big}, {Path: "e", Want: big}}
	w.missing[big.Content] = true
	for _, step := range []string{"pulled in part", "whole"} {
		s, err := w.x.Stage(context.Background(), items)
		w.must(err)
		w.x.Discard(s)
		restart()
		delete(w.missing, big.Content)
		if step == "whole" && !bytes.HasPrefix(seen.old, []byte("part")) {
			t.Errorf("the part was not offered: %d bytes", len(seen.old))
		}
	}
	fills := w.fills
	w.allDone(w.run(items))
	if got := w.fills - fills; got != 1 { // e's own: one stage cannot be in two places
		t.Errorf("filled %d times, want 1", got)
	}
	sameTree(t, tree(t, w.user), w.wanted(map[id.Path]meta.Entry{"d": dirEntry(0o755), "d/big": big, "e": big}))
	w.clean()
}

// TestManyFiles: from groupSync files on there is one sync for all.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{EnforceModes: true, Umask: 0o077})
	want := map[id.Path]meta.Entry{}
	for d := range 20 {
		dir := id.Path(fmt.Sprintf("dir%d", d))
		want[dir] = dirEntry(0o555)
		for f := range 100 {
			want[dir.Join(fmt.Sprint(f))] = w.file(fmt.Sprint(d, f), 0o4755, int64(f)+1)
		}
	}
	w.allDone(w.run(w.diff(nil, want, nil)))
	sameTree(t, tree(t, w.user), w.wanted(want))
	if n := w.mem.OpCount(vfs.OpSync) + w.mem.OpCount(vfs.OpSyncDir); n > 30 { // the read-only directories one by one, no files
		t.Errorf("%d syncs of single files or directories", n)
	}
	// All of them replaced: several batches, all names durable.
	next := map[id.Path]meta.Entry{}
	for p, e := range want {
		if next[p] = e; e.Kind == meta.File {
			next[p] = w.file("new "+string(p), 0o600, 5)
		}
	}
	w.allDone(w.run(w.diff(want, next, nil)))
	sameTree(t, tree(t, w.mem.Crash(vfs.PowerCut, 0)), w.wanted(next))
	if n, _ := w.x.KeptFiles(); n != 2000 {
		t.Errorf("%d files kept", n)
	}
	w.clean()
	if len(w.returned) > 0 || len(w.rescued) != 2000 {
		t.Errorf("returned %d, rescued %d", len(w.returned), len(w.rescued))
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	s := newScenario(t, vfs.MemOptions{})
	staged, err := s.x.Stage(context.Background(), s.items)
	s.must(err)
	no := map[id.Path]bool{"f": true, "g": true, "k/z": true, "p/q": true, "s1": true}
	res, err := s.x.Commit(context.Background(), staged, func(it *Item) bool { return !no[it.Path] }, nil)
	s.must(err)
	for _, r := range res {
		off := no[r.Path] || r.Path.Within("p") || r.Path.Within("r")
		if off != (r.State == Raced) && r.Path != "s2" {
			t.Errorf("%q: %v %v", r.Path, r.State, r.Err)
		}
	}
	if st := s.stat("k"); st.Kind != vfs.Dir {
		t.Errorf("k is a %v", st.Kind)
	}
	if st := s.stat("p/q"); st.Kind != vfs.File {
		t.Errorf("p/q is a %v", st.Kind)
	}
	byPath := map[id.Path]Result{}
	for _, r := range res {
		byPath[r.Path] = r
	}
	s.check(byPath, false)
}

func TestCaseOnlyRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{FoldCase: true})
	old := map[id.Path]meta.Entry{"Dir": dirEntry(0o755), "Dir/x": w.file("x", 0o644, 1), "File": w.file("f", 0o644, 1)}
	for _, p := range []id.Path{"Dir", "Dir/x", "File"} {
		w.make(p, old[p])
	}
	want := map[id.Path]meta.Entry{"dir": old["Dir"], "dir/x": old["Dir/x"], "FILE": old["File"]}
	items := w.diff(old, want, map[id.Path]id.Path{"dir": "Dir", "dir/x": "Dir/x", "FILE": "File"})
	w.run(items)
	sameTree(t, tree(t, w.user), w.wanted(want))
	w.clean()
}

func TestDirectoryWithUsersFileStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vfs.MemOptions{})
	old := map[id.Path]meta.Entry{"d": dirEntry(0o755), "d/x": w.file("x", 0o644, 1), "e": dirEntry(0o755)}
	for _, p := range []id.Path{"d", "d/x", "e"} {
		w.make(p, old[p])
	}
	want := map[id.Path]meta.Entry{"e": w.file("e", 0o644, 1)}
	items := w.diff(old, want, nil)
	w.make("d/mine", w.file("mine", 0o644, 1))
	w.make("e/mine", w.file("mine", 0o644, 1))
	res := w.run(items)
	if res["d"].State != Busy || res["e"].State != Busy || res["d/x"].State != Done {
		t.Errorf("d %v, e %v, d/x %v", res["d"].State, res["e"].State, res["d/x"].State)
	}
	if content(t, w.user, "d/mine") != "mine" || content(t, w.user, "e/mine") != "mine" {
		t.Error("the user's files are gone")
	}
	w.clean()
}
