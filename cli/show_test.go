package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

var aTime = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func fileState(size int64, mode string, rev uint64) *control.PathState {
	return &control.PathState{Kind: "file", Size: size, Mode: mode, MTime: &aTime, Content: fmt.Sprint("c", size), Revision: rev}
}

func dirState() *control.PathState {
	return &control.PathState{Kind: "directory", Mode: "0755", Revision: 1}
}

func TestShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnShow = func(r control.ShowRequest, emit func(control.ShowItem) error) error {
		if r.Target.Folder != "docs" || r.Rev.Number != 12 {
			return errors.New("wrong request")
		}
		c := control.ShowCommit{Folder: "docs", Tags: []string{"v1"}, LogCommit: control.LogCommit{
			Revision: 12, Time: aTime, Node: "laptop", Origin: "rollback", Target: 7, Message: "undo\x1b", Changes: 5, Hash: "abcd",
		}}
		err := emit(control.ShowItem{Commit: &c})
		for _, x := range []control.PathChange{
			{Action: "create", Path: "a\nb", New: fileState(2048, "0644", 12)},
			{Action: "rename", Path: "new", From: "old", Old: dirState(), New: dirState()},
			{Action: "rename", Path: "new/x", From: "old/x", Carried: true, Old: fileState(1, "0644", 3), New: fileState(1, "0644", 12)},
			{Action: "attributes", Path: "run.sh", Old: fileState(1, "0644", 3), New: fileState(1, "0755", 12)},
			{Action: "delete", Path: "z", Old: fileState(9, "0644", 3)},
		} {
			err = errors.Join(err, emit(control.ShowItem{Change: &x}))
		}
		return err
	}
	out := w.run(t, 0, "show", "docs@12")
	want := "revision  docs@12, docs@v1\ntime      " + when(aTime) + "\nby        laptop (rollback to revision 7)\nmessage   undo\\u001b\nhash      abcd\n\n" +
		"ACTION      KIND               SIZE  PATH\n" +
		"create      file            2.0 KiB  a\\nb\n" +
		"rename      directory                new <- old\n" +
		"attributes  file       0644 -> 0755  run.sh\n" +
		"delete      file                9 B  z\n" +
		"1 created, 1 with other attributes, 1 renamed, 1 deleted (1 more moved along)\n"
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	for _, l := range strings.Split(out, "\n") {
		if len(l) > 80 {
			t.Errorf("wider than 80 columns: %q", l)
		}
	}
	var doc struct {
		Folder   string
		Revision uint64
		Tags     []string
		List     []control.PathChange
	}
	if err := json.Unmarshal([]byte(w.run(t, 0, "show", "docs@12", "--json")), &doc); err != nil || doc.Folder != "docs" || doc.Revision != 12 || len(doc.List) != 5 || !doc.List[2].Carried {
		t.Errorf("%+v, %v", doc, err)
	}
	w.run(t, 2, "show", "docs")
	w.run(t, 2, "show", "docs@12", "-n", "-1")
	w.run(t, 1, "show", "docs@13")
}

// history serves contents by path and revision, for Cat.
func (w *world) history(contents map[string]string) {
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		s, ok := contents[string(r.Target.Rel)+"@"+r.Rev.Text]
		if !ok {
			return errors.New("no content of " + r.Target.String() + "@" + r.Rev.Text)
		}
		_, err := io.WriteString(start(control.CatInfo{Size: int64(len(s))}), s)
		return err
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	info := control.DiffInfo{Folder: "docs", OldRevision: 1, NewFolder: "docs", NewRevision: 5, LocalChanges: 1}
	changes := []control.PathChange{
		{Action: "create", Path: "new.txt", New: fileState(4, "0644", 5)},
		{Action: "modify", Path: "pic", Old: fileState(3, "0644", 1), New: fileState(5, "0644", 4)},
		{Action: "rename", Path: "b.txt", From: "a.txt", Edited: true, Old: fileState(8, "0644", 1), New: fileState(9, "0755", 3)},
		{Action: "modify", Path: "huge", Old: fileState(5<<20, "0644", 1), New: fileState(6<<20, "0644", 2)},
		{Action: "delete", Path: "d", Old: dirState()},
		{Action: "attributes", Path: "x", Old: fileState(1, "0644", 1), New: fileState(1, "0600", 2)},
		{Action: "modify", Path: "l", Old: &control.PathState{Kind: "symlink", Target: "to", Revision: 1}, New: &control.PathState{Kind: "symlink", Target: "else", Revision: 2}},
	}
	w.history(map[string]string{"new.txt@5": "new\n", "pic@1": "a\x00b", "pic@4": "a\x00bcd", "a.txt@1": "one\ntwo\n", "b.txt@3": "one\nthree"})
	var asked control.DiffRequest
	w.fake.OnDiff = func(r control.DiffRequest, emit func(control.DiffItem) error) error {
		asked = r
		err := emit(control.DiffItem{Info: &info})
		for _, x := range changes {
			err = errors.Join(err, emit(control.DiffItem{Change: &x}))
		}
		return err
	}
	out := w.run(t, 0, "diff", "docs@1")
	if asked.NewRev.Kind != control.RevHead || asked.New.Folder != "docs" {
		t.Errorf("asked %+v", asked)
	}
	if !strings.HasSuffix(out, "docs@1 to docs@5: 1 created, 3 modified, 1 with other attributes, 1 renamed, 1 deleted\n") || !strings.Contains(out, "b.txt <- a.txt (edited)") {
		t.Errorf("got\n%s", out)
	}
	if !strings.Contains(w.err.String(), "1 change is here not committed yet and not compared") {
		t.Errorf("stderr %q", w.err.String())
	}
	w.run(t, 0, "diff", "docs@1", "@4")
	if asked.New.Folder != "docs" || asked.NewRev.Number != 4 || strings.Contains(w.err.String(), "not compared") {
		t.Errorf("asked %+v, stderr %q", asked, w.err.String())
	}
	out = w.run(t, 0, "diff", "docs@1", "-p")
	want := `# create new.txt
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+new
# modify pic: binary, 3 B -> 5 B
# rename b.txt <- a.txt (edited) (mode 0644 -> 0755)
--- a/a.txt
+++ b/b.txt
@@ -1,2 +1,2 @@
 one
-two
+three
\ No newline at end of file
# modify huge: large, 5.0 MiB -> 6.0 MiB
# delete d: directory
# attributes x (0644 -> 0600)
# modify l: symlink to -> else
`
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if out := w.run(t, 0, "diff", "docs@1", "--name-only"); out != "new.txt\npic\nb.txt\nhuge\nd\nx\nl\n" {
		t.Errorf("names %q", out)
	}
	if out := w.run(t, 0, "diff", "docs@1", "--stat"); !strings.Contains(out, "+1 -1") || !strings.HasSuffix(out, "docs@1 to docs@5: 7 paths, +2 -1 lines\n") {
		t.Errorf("stat\n%s", out)
	}
	var doc struct {
		NewRevision uint64 `json:"new_revision"`
		List        []diffJSON
	}
	if err := json.Unmarshal([]byte(w.run(t, 0, "diff", "docs@1", "-p", "--json")), &doc); err != nil || doc.NewRevision != 5 || len(doc.List) != 7 ||
		doc.List[0].Patch == nil || doc.List[1].Patch != nil || !strings.HasPrefix(*doc.List[0].Patch, "--- /dev/null\n") {
		t.Errorf("%+v, %v", doc, err)
	}
	changes, info.File = changes[:1], true
	if out := w.run(t, 0, "diff", "docs:new.txt@1"); !strings.HasSuffix(out, "+new\n") {
		t.Errorf("a file's diff shows %q", out)
	}
	changes = nil
	if out := w.run(t, 0, "diff", "docs@1"); out != "" || !strings.Contains(w.err.String(), "docs@1 and docs@5 do not differ\n") {
		t.Errorf("no difference: %q, %q", out, w.err.String())
	}
	if out := w.run(t, 0, "diff", "docs@1", "--json"); !strings.HasSuffix(out, "\"list\":[]}\n") {
		t.Errorf("no difference: %q", out)
	}
	for _, args := range [][]string{{"docs"}, {"docs@1", "docs"}, {"docs@1", "@"}, {"docs@1", "-p", "--stat"}, {}} {
		w.run(t, 2, append([]string{"diff"}, args...)...)
	}
}

func TestPatchLabels(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"a b/ä.txt": "a/a b/ä.txt", "x\ny": `"a/x\012y"`, `say "hi"`: `"a/say \"hi\""`, `a\b`: `"a/a\\b"`, "\xff": `"a/\377"`, "\x1b[31m": `"a/\033[31m"`,
	} {
		text, b64 := control.EncodePath(path)
		if got := label("a/", text, b64); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}

func TestTagsCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked control.TagRequest
	w.fake.OnTag = func(r control.TagRequest) (control.Tag, error) {
		asked = r
		return control.Tag{Name: r.Name, Folder: "docs", Revision: 4, RevisionTime: aTime}, nil
	}
	w.fake.OnFolders = func() ([]control.Folder, error) { return []control.Folder{{Name: "docs", Subscribed: true}}, nil }
	w.fake.OnTags = func(r control.TagsRequest) ([]control.Tag, error) {
		if r.Folder == "none" {
			return nil, nil
		}
		return []control.Tag{{Name: "v1", Folder: "docs", Revision: 4, Node: "a"}}, nil
	}
	if out := w.run(t, 0, "tag", "v1"); !strings.HasPrefix(out, "docs@v1 is revision 4, of ") || asked.Target.Folder != "docs" || asked.Rev.Kind != control.RevHead {
		t.Errorf("%q, asked %+v", out, asked)
	}
	if w.run(t, 0, "tag", "v1", "docs@yesterday 14:00"); asked.Rev.Kind != control.RevTime {
		t.Errorf("asked %+v", asked)
	}
	if out := w.run(t, 0, "tag", "--delete", "v1", "docs"); out != "removed docs@v1; it was revision 4\n" || !asked.Remove {
		t.Errorf("%q, asked %+v", out, asked)
	}
	for _, args := range [][]string{{"12"}, {"head"}, {"head~1"}, {"2h ago", "docs"}, {"monday"}, {"V1"}, {"--delete", "v1", "docs@3"}, {}} {
		w.run(t, 2, append([]string{"tag"}, args...)...)
	}
	if out := w.run(t, 0, "tags"); !strings.Contains(out, "docs@v1") {
		t.Errorf("%q", out)
	}
	if out := w.run(t, 0, "tags", "none"); out != "" || !strings.Contains(w.err.String(), "no tags") {
		t.Errorf("%q", out)
	}
	var list []control.Tag
	if err := json.Unmarshal([]byte(w.run(t, 0, "tags", "docs:", "--json")), &list); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	w.run(t, 2, "tags", "Not/a/name")
}

func TestLogFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked control.LogRequest
	w.fake.OnLog = func(r control.LogRequest, emit func(control.LogEntry) error) (control.Freshness, error) {
		asked = r
		return control.Freshness{}, emit(control.LogEntry{Version: &control.LogVersion{Revision: 3, Action: "rename", Path: "old", To: "new"}})
	}
	out := w.run(t, 0, "log", "docs", "--match", "*.go", "--match", "src/**", "--since", "2h", "--until", "yesterday at 9am", "-n", "5")
	if len(asked.Match) != 2 || asked.Limit != 5 || !asked.Since.Equal(aTime.Add(-time.Hour)) || asked.Until.Hour() != 9 {
		t.Errorf("asked %+v", asked)
	}
	if !strings.Contains(out, "old -> new") {
		t.Errorf("%q", out)
	}
	w.run(t, 2, "log", "docs", "--until", "some day")
}

func TestTagNamesThatReadAsRevisions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 30, 0, 0, time.UTC)
	for _, s := range []string{"head", "head~2", "12", "now", "today", "yesterday", "noon", "monday", "sun", "3pm", "2026-11-23", "2h ago", "", "Big", "a b", "-x", "14:00"} {
		if err := checkTag(s, now); control.CodeOf(err) != control.CodeUsage {
			t.Errorf("tag %q: %v, want a refusal", s, err)
		}
	}
	for _, s := range []string{"v1.0", "before-the-move", "2026", "2026-11", "headline", "may"} {
		if err := checkTag(s, now); (err != nil) != (s == "2026") {
			t.Errorf("tag %q: %v", s, err)
		}
	}
}
