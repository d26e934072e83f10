package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// returning is a node with a folder that has a history, and a directory with what a
// machine that was away brings back.
type returning struct {
	t    *testing.T
	ctx  context.Context
	c    *control.Client
	home string
	base string
	was  string // where the folder is kept first
	back string // what comes back
}

func newReturning(t *testing.T, patience time.Duration) *returning {
	t.Helper()
	base, h := newHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	t.Cleanup(startNode(t, ctx, h))
	r := &returning{t: t, ctx: ctx, c: control.NewClient(h), home: h, base: base, was: mkdir(t, base, "was"), back: mkdir(t, base, "back")}
	r.ok(r.add(r.was, "", false))
	return r
}

func (r *returning) ok(_ control.FolderAddResult, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *returning) add(dir, prefer string, dryRun bool) (control.FolderAddResult, error) {
	return r.c.FolderAdd(r.ctx, control.FolderAddRequest{Path: control.RawPath(dir), Name: "docs", Prefer: prefer, DryRun: dryRun})
}

func (r *returning) write(dir, p, text string) {
	r.t.Helper()
	full := filepath.Join(dir, p)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *returning) remove(dir, p string) {
	r.t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
		r.t.Fatal(err)
	}
}

// committed waits until all is in history and on the disk.
func (r *returning) committed() {
	r.t.Helper()
	if _, err := r.c.Wait(r.ctx, control.WaitRequest{Folder: "docs", Timeout: time.Minute}); err != nil {
		r.t.Fatal(err)
	}
}

// away ends the folder here: the node goes on with its history.
func (r *returning) away() {
	r.t.Helper()
	r.committed()
	if _, err := r.c.FolderRemove(r.ctx, control.FolderRemoveRequest{Name: "docs"}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *returning) folder() control.FolderStatus {
	r.t.Helper()
	st, err := r.c.Status(r.ctx, control.StatusRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(st.Folders) != 1 {
		r.t.Fatalf("folders: %+v", st.Folders)
	}
	return st.Folders[0]
}

func (r *returning) head() uint64 {
	r.t.Helper()
	all, err := r.c.Folders(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return all[0].HeadRevision
}

// has checks the files of the directory that came back.
func (r *returning) has(want map[string]string) {
	r.t.Helper()
	r.is(r.back, want)
}

func (r *returning) is(dir string, want map[string]string) {
	r.t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		switch {
		case err != nil:
			return err
		case rel == id.ReservedName:
			return filepath.SkipDir
		case d.IsDir():
			if rel != "." {
				got[filepath.ToSlash(rel)+"/"] = ""
			}
			return nil
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			got[rel] = "-> " + to
			return err
		}
		b, err := os.ReadFile(p)
		got[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for p, text := range want {
		if have, ok := got[p]; !ok || have != text {
			r.t.Errorf("%s: %q (there: %v), want %q", p, have, ok, text)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			r.t.Errorf("%s is there: %q", p, got[p])
		}
	}
}

func (r *returning) cat(p string, rev uint64) string {
	r.t.Helper()
	var out strings.Builder
	target := control.Target{Folder: "docs", Rel: control.RawPath(p)}
	q := control.CatRequest{Target: target, Rev: control.Rev{Kind: control.RevNumber, Number: rev, Text: fmt.Sprint(rev)}}
	err := r.c.Cat(r.ctx, q, func(control.CatInfo) io.Writer { return &out })
	if err != nil {
		r.t.Fatalf("cat %s@%d: %v", p, rev, err)
	}
	return out.String()
}

func counts(p *control.FolderPlan) string {
	return fmt.Sprintf("equal %d older %d deleted %d there %d here %d different %d unread %d",
		p.Equal.Count, p.Older.Count, p.DeletedThere.Count, p.OnlyThere.Count, p.OnlyHere.Count, p.Different.Count, p.Unread.Count)
}

// story is a small history with each way in which a path can stand to it; it fills
// the directory that comes back.
func (r *returning) story() {
	for p, text := range map[string]string{
		"equal": "same", "older": "1", "much older": "1", "gone": "bytes", "gone dir/sub/x": "bytes", "gone dir/new below": "-",
		"moved": "moving", "edited here": "1", "edited and deleted": "1", "becomes a dir": "file", "was a dir/in it": "i", "back and forth": "A",
	} {
		r.write(r.was, p, text)
	}
	if err := os.Symlink("one", filepath.Join(r.was, "link")); err != nil {
		r.t.Fatal(err)
	}
	r.remove(r.was, "gone dir/new below")
	r.committed()
	for _, p := range []string{"equal", "older", "much older", "gone", "gone dir/sub/x", "moved", "becomes a dir", "was a dir/in it", "back and forth"} {
		b, err := os.ReadFile(filepath.Join(r.was, p))
		if err != nil {
			r.t.Fatal(err)
		}
		r.write(r.back, p, string(b))
	}
	if err := os.Symlink("one", filepath.Join(r.back, "link")); err != nil {
		r.t.Fatal(err)
	}
	r.write(r.back, "edited here", "mine")
	r.write(r.back, "edited and deleted", "mine")
	r.write(r.back, "only here", "new")

	r.write(r.was, "older", "2")
	r.write(r.was, "edited here", "theirs")
	r.write(r.was, "back and forth", "B")
	r.write(r.was, "much older", "2")
	r.remove(r.was, "edited and deleted")
	r.remove(r.was, "gone")
	r.remove(r.was, "gone dir")
	r.remove(r.was, "becomes a dir")
	r.remove(r.was, "was a dir")
	r.remove(r.was, "link")
	r.write(r.was, "link", "a file now")
	if err := os.Rename(filepath.Join(r.was, "moved"), filepath.Join(r.was, "moved to")); err != nil {
		r.t.Fatal(err)
	}
	r.committed()
	r.write(r.was, "becomes a dir/in it", "i")
	r.write(r.was, "was a dir", "file")
	r.write(r.was, "much older", "3")
	r.write(r.was, "back and forth", "A")
	r.write(r.was, "only there", "t")
	r.committed()
	r.write(r.was, "back and forth", "C")
	r.away()
}

// TestReturningMachine: of what a directory brings, only what history does not hold
// makes a conflict. What was deleted meanwhile does not come back.
func TestReturningMachine(t *testing.T) {
	r := newReturning(t, time.Minute)
	r.story()
	before := r.head()
	dry, err := r.add(r.back, "", true)
	r.ok(dry, err)
	const want = "equal 1 older 5 deleted 4 there 3 here 2 different 1 unread 0"
	if got := counts(dry.Plan); got != want || !dry.DryRun || !dry.Joined {
		t.Errorf("dry run: %s, want %s; %+v", got, want, dry)
	}
	if _, err := os.Lstat(filepath.Join(r.back, id.ReservedName)); err == nil {
		t.Error("a dry run marked the directory")
	}
	if st, err := r.c.Status(r.ctx, control.StatusRequest{}); err != nil || len(st.Folders) != 0 {
		t.Errorf("a dry run added the folder: %+v, %v", st.Folders, err)
	}
	res, err := r.add(r.back, "", false)
	r.ok(res, err)
	if got := counts(res.Plan); got != want {
		t.Errorf("plan: %s, want %s", got, want)
	}
	r.committed()
	copyName := fmt.Sprintf("edited here (conflict a r%d)", r.head())
	r.has(map[string]string{
		"equal": "same", "older": "2", "much older": "3", "moved to": "moving", "only here": "new", "only there": "t",
		"edited here": "theirs", copyName: "mine", "edited and deleted": "mine", "link": "a file now",
		"becomes a dir/": "", "becomes a dir/in it": "i", "was a dir": "file", "back and forth": "C",
	})
	if f := r.folder(); f.ConflictsOpen != 1 || f.HeadRevision != before+1 {
		t.Errorf("%d conflicts at revision %d, want 1 at %d: what is known needs no commit", f.ConflictsOpen, f.HeadRevision, before+1)
	}
}

// TestPreferCluster: the folder's bytes win, mine are in history and on no disk.
func TestPreferCluster(t *testing.T) {
	r := newReturning(t, time.Minute)
	r.story()
	r.remove(r.back, "only there")
	r.write(r.back, "only there/a file where the folder has one/x", "clash")
	res, err := r.add(r.back, "cluster", false)
	r.ok(res, err)
	if res.Kept == nil || res.Kept.Files != 2 {
		t.Fatalf("kept %+v", res.Kept)
	}
	for p, text := range map[string]string{"edited here": "mine", "only there/a file where the folder has one/x": "clash"} {
		if got := r.cat(res.Kept.Path+"/"+p, res.Kept.Revision); got != text {
			t.Errorf("history has %q of %s, want %q", got, p, text)
		}
	}
	r.committed()
	r.has(map[string]string{
		"equal": "same", "older": "2", "much older": "3", "moved to": "moving", "only here": "new", "only there": "t",
		"edited here": "theirs", "edited and deleted": "mine", "link": "a file now",
		"becomes a dir/": "", "becomes a dir/in it": "i", "was a dir": "file", "back and forth": "C",
	})
	if f := r.folder(); f.ConflictsOpen != 0 {
		t.Errorf("%d conflicts", f.ConflictsOpen)
	}
}

// TestPreferMine: mine become the newest versions, theirs are their bases.
func TestPreferMine(t *testing.T) {
	r := newReturning(t, time.Minute)
	r.story()
	before := r.head()
	r.ok(r.add(r.back, "mine", false))
	r.committed()
	r.has(map[string]string{
		"equal": "same", "older": "2", "much older": "3", "moved to": "moving", "only here": "new", "only there": "t",
		"edited here": "mine", "edited and deleted": "mine", "link": "a file now",
		"becomes a dir/": "", "becomes a dir/in it": "i", "was a dir": "file", "back and forth": "C",
	})
	if f := r.folder(); f.ConflictsOpen != 0 {
		t.Errorf("%d conflicts", f.ConflictsOpen)
	}
	if got := r.cat("edited here", before); got != "theirs" {
		t.Errorf("before: %q", got)
	}
}

// TestPlanStops: where much differs nothing is done, and nothing is left behind.
func TestPlanStops(t *testing.T) {
	r := newReturning(t, time.Minute)
	for i := range planLimit + 1 {
		r.write(r.was, fmt.Sprintf("d/%03d", i), "theirs")
		r.write(r.back, fmt.Sprintf("d/%03d", i), "other!")
	}
	r.write(r.was, "stale", "1")
	r.committed()
	r.write(r.back, "stale", "1")
	r.write(r.was, "stale", "2")
	r.away()
	before := r.head()
	_, err := r.add(r.back, "", false)
	if control.CodeOf(err) != control.CodeFailed || !strings.Contains(err.Error(), "101 paths") || !strings.Contains(err.Error(), "1 older") || !strings.Contains(err.Error(), "--prefer") {
		t.Fatalf("error: %v", err)
	}
	if _, err := os.Lstat(folder.MarkerPath(r.back)); err == nil {
		t.Error("a marker was left behind")
	}
	if _, err := os.Lstat(filepath.Join(r.back, id.ReservedName)); err == nil {
		t.Error("a directory was left behind")
	}
	if got := r.head(); got != before {
		t.Errorf("revision %d, was %d", got, before)
	}
	dry, err := r.add(r.back, "", true)
	r.ok(dry, err)
	if !dry.Plan.Stops || len(dry.Plan.Different.First) != folder.FirstPaths {
		t.Errorf("dry run: %+v", dry.Plan)
	}
	r.ok(r.add(r.back, "both", false))
	r.committed()
	if f := r.folder(); f.ConflictsOpen != planLimit+1 || f.Files != 2*(planLimit+1)+1 {
		t.Errorf("%d conflicts, %d files", f.ConflictsOpen, f.Files)
	}
}

// TestJoinOneFolderTwice: of two adds of one folder at once, at two directories, one is
// carried out; nothing that the other found counts.
func TestJoinOneFolderTwice(t *testing.T) {
	r := newReturning(t, time.Minute)
	for i := range 50 {
		r.write(r.was, fmt.Sprint("f", i), "1")
	}
	r.committed()
	dirs := []string{r.back, mkdir(t, r.base, "second")}
	for i := range 50 {
		r.write(dirs[0], fmt.Sprint("f", i), "1")
		r.write(r.was, fmt.Sprint("f", i), "2")
	}
	r.away()
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, dir := range dirs {
		wg.Go(func() { _, errs[i] = r.add(dir, "", false) })
	}
	wg.Wait()
	won := slices.Index(errs, nil)
	if won < 0 || control.CodeOf(errs[1-won]) != control.CodeFailed {
		t.Fatalf("errors: %v", errs)
	}
	r.committed()
	want := make(map[string]string)
	for i := range 50 {
		want[fmt.Sprint("f", i)] = "2"
	}
	r.is(dirs[won], want)
	if f := r.folder(); f.ConflictsOpen != 0 || f.Path != dirs[won] {
		t.Errorf("%+v", f)
	}
}
