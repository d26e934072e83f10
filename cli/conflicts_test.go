package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

var conflictTime = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func record() control.Conflict {
	return control.Conflict{
		ID: "docs#1", Folder: "docs", Path: "a.txt", CopyPath: "a (conflict b r3).txt", Kind: "edit/edit", State: "open",
		BaseRevision: 1, WinnerRevision: 2, LoserRevision: 3, WinnerNode: "a", LoserNode: "b", Time: conflictTime,
	}
}

func TestConflictsTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := []control.Conflict{record()}
	w.fake.OnConflicts = func(r control.ConflictsRequest, emit func(control.Conflict) error) error {
		for _, c := range list {
			if err := emit(c); err != nil {
				return err
			}
		}
		return nil
	}
	if out := w.run(t, 0, "conflicts"); !strings.Contains(out, "docs#1  edit/edit  a r2     b r3   Nov 23") || !strings.Contains(out, "--keep current|other|both") {
		t.Error(out)
	}
	c := record()
	c.Folder, c.ID = "photographs", "photographs#1234"
	c.Path, c.Kind, c.WinnerNode, c.LoserNode = strings.Repeat("päth/", 40)+"end\x1b[31m", "rename/rename", strings.Repeat("n", 63), "a-long-name-too"
	c.State, c.Resolution, c.ResolvedBy = "resolved", "with", strings.Repeat("n", 63)
	list = append(list, c)
	x := record()
	x.ID, x.Path, x.WinnerNode, x.LoserNode = "photos#12", c.Path, "workstation", "laptop"
	x.State, x.Resolution, x.ResolvedBy = "resolved", "current", "laptop"
	for list, limit := range map[*control.Conflict]int{&x: tableWidth, &c: tableWidth + 22} {
		one := w.oneConflict(*list)
		for line := range strings.Lines(w.run(t, 0, "conflicts", "--all")) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > limit || strings.Contains(line, "\x1b") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		w.fake.OnConflicts = one
	}
	c.ID, c.State, c.WinnerRevision = "photographs#1235", "automatic", 0
	list = append(list, c)
	out := w.run(t, 0, "conflicts", "--all")
	if !strings.Contains(out, "file by nnnnnnnnn…") || !strings.Contains(out, "by rule") {
		t.Error(out)
	}
	list = nil
	if out := w.run(t, 0, "conflicts"); out != "no open conflicts\n" {
		t.Errorf("%q", out)
	}
}

// oneConflict makes the fake list one, and returns what it did before.
func (w *world) oneConflict(c control.Conflict) func(control.ConflictsRequest, func(control.Conflict) error) error {
	before := w.fake.OnConflicts
	w.fake.OnConflicts = func(_ control.ConflictsRequest, emit func(control.Conflict) error) error { return emit(c) }
	return before
}

// shown makes the fake show one conflict with these contents; "" is no such side.
func shown(w *world, base, current, other string) {
	file := func(path string, rev uint64, text string) *control.ConflictSide {
		if text == "" {
			return nil
		}
		return &control.ConflictSide{Path: path, Revision: rev, Node: "a", Kind: "file", Size: int64(len(text)), Mode: "0644", Time: conflictTime, Content: fmt.Sprint(text)}
	}
	d := control.ConflictDetail{Conflict: record(), Revision: 3,
		Base: file("a.txt", 1, base), Current: file("a.txt", 2, current), Other: file("a (conflict b r3).txt", 3, other)}
	w.fake.OnConflict = func(r control.ConflictRequest) (control.ConflictDetail, error) {
		if r.ID() != "docs#1" {
			return control.ConflictDetail{}, control.Errorf(control.CodeFailed, "there is no conflict %s", r.ID())
		}
		return d, nil
	}
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		text := map[uint64]string{1: base, 2: current, 3: other}[r.Rev.Number]
		if r.Target.Folder != "docs" || text == "unreadable" {
			return errors.New("nobody online has its content")
		}
		_, err := io.WriteString(start(control.CatInfo{Size: int64(len(text))}), text)
		return err
	}
	w.fake.OnFolders = func() ([]control.Folder, error) { return []control.Folder{{Name: "docs", Subscribed: true}}, nil }
}

func TestConflictsShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tc := range []struct {
		name                 string
		base, current, other string
		want, not            []string
	}{
		{"text", "one\nx\n", "two\nx\n", "three\nx\n", []string{"-one\n+two\n x\n", "-one\n+three\n x\n", "-two\n+three\n x\n", "resolve docs#1 --keep"}, []string{"note"}},
		{"no base", "", "two\n", "three\n", []string{"-two\n+three\n", "none"}, []string{"from base"}},
		{"binary", "one\n", "t\x00o\n", "three\n", []string{"from base to current: current is binary", "-one\n+three", "from current to other: current is binary"}, nil},
		{"large", "one\n", strings.Repeat("x", 4<<20+1), "three\n", []string{"current is larger than 4 MiB"}, nil},
		{"equal", "one\n", "two\n", "two\n", []string{"from current to other: the same content"}, nil},
		{"a side is gone", "one\n", "", "three\n", []string{"from base to current: current is absent", "absent"}, nil},
		{"not to be had", "one\n", "unreadable", "three\n", []string{"current cannot be read: nobody online has its content", "-one\n+three"}, nil},
	} {
		shown(w, tc.base, tc.current, tc.other)
		out := w.run(t, 0, "conflicts", "show", "docs#1")
		for _, s := range tc.want {
			if !strings.Contains(out, s) {
				t.Errorf("%s: no %q in\n%.2000s", tc.name, s, out)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(out, s) {
				t.Errorf("%s: %q in\n%.2000s", tc.name, s, out)
			}
		}
		var doc struct {
			control.ConflictDetail
			Diffs []conflictDiff
		}
		if err := json.Unmarshal([]byte(w.run(t, 0, "conflicts", "show", "1", "--json")), &doc); err != nil || doc.ID != "docs#1" || len(doc.Diffs) == 0 {
			t.Errorf("%s: %+v %v", tc.name, doc, err)
		}
	}
	shown(w, "one", "two", "three")
	for side, want := range map[string]string{"base": "one", "current": "two", "other": "three"} {
		if out := w.run(t, 0, "conflicts", "show", "docs#1", "--side", side); out != want {
			t.Errorf("%s: %q", side, out)
		}
	}
	shown(w, "", "two", "three")
	w.run(t, 1, "conflicts", "show", "docs#1", "--side", "base")
	w.run(t, 1, "conflicts", "show", "docs#2")
	w.run(t, 2, "conflicts", "show", "docs#1", "--side", "base", "--json")
}

func TestConflictsResolve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var got control.ResolveRequest
	var body []byte
	w.fake.OnResolve = func(r control.ResolveRequest, with io.Reader) (res control.ResolveResult, err error) {
		got, body = r, nil
		if r.With != nil {
			if body, err = io.ReadAll(with); err != nil {
				return res, err
			}
		}
		res.Conflict, res.Revision, res.OnDisk = record(), 7, true
		res.State, res.Resolution = "resolved", r.Keep
		return res, nil
	}
	if out := w.run(t, 0, "conflicts", "resolve", "docs#1", "--keep", "other", "--seen", "5", "-m", "why"); out != "docs#1 is resolved: a.txt: the other version took its place, revision 7\n" {
		t.Error(out)
	}
	if got.ID() != "docs#1" || got.Keep != "other" || got.Seen != 5 || got.Message != "why" || got.With != nil {
		t.Errorf("%+v", got)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "merged")
	for _, text := range []string{"", "merged", strings.Repeat("0123456789", 100000)} {
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		out := w.run(t, 0, "conflicts", "resolve", "docs#1", "--with", name, "--json")
		if string(body) != text || got.Keep != "with" || got.With.Size != int64(len(text)) || got.With.Mode != 0o640 || !strings.Contains(out, `"revision":7`) {
			t.Errorf("%+v, %d bytes: %s", got, len(body), out)
		}
	}
	w.run(t, 1, "conflicts", "resolve", "docs#1", "--with", dir)
	w.run(t, 1, "conflicts", "resolve", "docs#1", "--with", name+"x")
}

// A file that grows, shrinks or is rewritten while it is read is no version.
func TestSteadyFile(t *testing.T) {
	t.Parallel()
	a := &app{Deps: newWorld(t).Deps}
	name := filepath.Join(t.TempDir(), "f")
	for what, change := range map[string]func() error{
		"grows":     func() error { return os.WriteFile(name, make([]byte, 200), 0o644) },
		"shrinks":   func() error { return os.Truncate(name, 50) },
		"rewritten": func() error { return os.Chtimes(name, time.Now(), time.Now().Add(time.Second)) },
	} {
		if err := os.WriteFile(name, make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := a.openSteady(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f, make([]byte, 40)); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, f); err == nil || n >= 60 || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("%s: %d bytes, %v", what, n, err)
		}
		_ = f.file.Close()
	}
}
