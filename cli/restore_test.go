package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// stored is one entry of a tree that a fake daemon serves.
type stored struct {
	path, kind, mode, data string
}

var storedTime = time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)

// tree serves a folder "docs" at revision 7; path is what the user asks for.
func (w *world) tree(path string, list []stored) {
	w.fake.OnTree = func(r control.TreeRequest, emit func(control.TreeItem) error) error {
		info := control.TreeInfo{Folder: "docs", Path: path, Revision: 7, Kind: "directory"}
		for _, x := range list {
			if x.path == path {
				info.Kind = x.kind
			}
			if x.kind == "file" {
				info.Files++
				info.Bytes += int64(len(x.data))
			}
		}
		if err := emit(control.TreeItem{Info: &info}); err != nil {
			return err
		}
		for _, x := range list {
			st := control.PathState{Kind: x.kind, Mode: x.mode, Revision: 7}
			switch x.kind {
			case "file":
				sum := blake3.Sum256([]byte(x.data))
				st.Size, st.Content, st.MTime = int64(len(x.data)), fmt.Sprintf("%x", sum), &storedTime
			case "symlink":
				st.Target = x.data
			}
			it := control.TreeItem{State: &st}
			it.Path, it.PathB64 = control.EncodePath(x.path)
			if err := emit(it); err != nil {
				return err
			}
		}
		return nil
	}
	contents := map[string]string{}
	for _, x := range list {
		contents[x.path+"@7"] = x.data
	}
	w.history(contents)
}

var sampleTree = []stored{
	{"d", "directory", "0755", ""},
	{"d/closed", "directory", "0555", ""},
	{"d/closed/in", "file", "0600", "inside\n"},
	{"d/empty", "directory", "0700", ""},
	{"d/link", "symlink", "0000", "../no/where"},
	{"d/odd\xff\n", "file", "0755", ""},
	{"d/text", "file", "0640", "text\n"},
}

// disk lists what is below dir: kind, mode, content or target, a line each.
func disk(t *testing.T, dir string) string {
	t.Helper()
	var sb strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case fi.IsDir():
			fmt.Fprintf(&sb, "%q dir %o\n", rel, fi.Mode().Perm())
		case fi.Mode()&os.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			fmt.Fprintf(&sb, "%q -> %s\n", rel, to)
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if !fi.ModTime().Equal(storedTime) {
				rel += " another time"
			}
			fmt.Fprintf(&sb, "%q %o %q\n", rel, fi.Mode().Perm(), b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sb.String()
}

const sampleDisk = `"." dir 755
"closed" dir 555
"closed/in" 600 "inside\n"
"empty" dir 700
"link" -> ../no/where
"odd\xff\n" 755 ""
"text" 640 "text\n"
`

func posix(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: needs the modes and names of POSIX, which Windows has not")
	}
	if runtime.GOOS == "darwin" {
		t.Skip("SKIPPED: needs names that are not UTF-8, which macOS refuses")
	}
}

// dest is a directory that can be removed again, closed directories in it or not.
func dest(t *testing.T) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(p, 0o700)
			}
			return nil
		})
	})
	return dir
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreTree(t *testing.T) {
	t.Parallel()
	posix(t)
	w := newWorld(t)
	w.tree("d", sampleTree)
	to := filepath.Join(dest(t), "new", "out")
	if out := w.run(t, 0, "restore", "docs:d@7", "--to", to, "--dry-run"); !strings.Contains(out, "would restore docs:d@7 to "+to+": 4 files, 12 B\n") {
		t.Errorf("dry run:\n%s", out)
	}
	if _, err := os.Lstat(filepath.Dir(to)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dry run made a directory: %v", err)
	}
	if out := w.run(t, 0, "restore", "docs:d@7", "--to", to); out != "restored docs:d@7 to "+to+": 4 files, 12 B\n" {
		t.Errorf("%q", out)
	}
	if got := disk(t, to); got != sampleDisk {
		t.Errorf("got\n%swant\n%s", got, sampleDisk)
	}
	// Again: nothing is left to do, and nothing was changed.
	w.fake.OnCat = nil
	if out := w.run(t, 0, "restore", "docs:d@7", "--to", to); !strings.HasSuffix(out, ": 0 files, 0 B, 4 there already\n") {
		t.Errorf("%q", out)
	}
	if got := disk(t, to); got != sampleDisk {
		t.Errorf("got\n%s", got)
	}
}

func TestRestoreNeverOverwrites(t *testing.T) {
	t.Parallel()
	posix(t)
	w := newWorld(t)
	w.tree("d", sampleTree)
	to := dest(t)
	write(t, to+"/text", "mine\n")
	write(t, to+"/closed", "a file where a directory comes")
	write(t, to+"/odd\xff\n/x", "a directory where a file comes")
	write(t, to+"/link", "a file where a symlink comes")
	write(t, to+"/else", "not in the tree")
	before := disk(t, to)
	w.run(t, 1, "restore", "docs:d@7", "--to", to)
	for _, s := range []string{": 5 paths were not written\n", "  text: exists with other content", "  closed: a file is there", "  closed/in: its directory", `  odd\xff\n: a directory is there`, "  link: exists"} {
		if !strings.Contains(w.err.String(), s) {
			t.Errorf("stderr does not say %q:\n%s", s, w.err.String())
		}
	}
	if got := disk(t, to); got != strings.Replace(before, "\"link", "\"empty\" dir 700\n\"link", 1) {
		t.Errorf("got\n%swant the same and an empty directory\n%s", got, before)
	}
	var res restoreResult
	out := w.run(t, 1, "restore", "docs:d@7", "--to", to, "--force", "--json")
	if err := json.Unmarshal([]byte(out), &res); err != nil || res.Replaced != 3 || res.Failed != 1 || res.Files != 2 || len(res.Problems) != 1 {
		t.Errorf("%s: %v", out, err)
	}
	got := disk(t, to)
	for _, s := range []string{`"text" 640 "text\n"`, `"closed" dir 555`, `"closed/in" 600`, `"link" -> ../no/where`, `"else another time" 644 "not in the tree"`, `a directory where`} {
		if !strings.Contains(got, s) {
			t.Errorf("no %s in\n%s", s, got)
		}
	}
	// With force the attributes of what is the same already come back too.
	if err := os.Chmod(to+"/text", 0o777); err != nil {
		t.Fatal(err)
	}
	w.run(t, 1, "restore", "docs:d@7", "--to", to, "--force")
	if got := disk(t, to); !strings.Contains(got, `"text" 640 "text\n"`) {
		t.Errorf("got\n%s", got)
	}
}

func TestRestoreFile(t *testing.T) {
	t.Parallel()
	posix(t)
	w := newWorld(t)
	w.tree("d/text", sampleTree[6:])
	to := dest(t)
	wd := to
	w.Getwd = func() (string, error) { return wd, nil }
	if err := os.Mkdir(to+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{
		"a.txt": "a.txt", "dir": "dir/text", "new/": "new/text", to + "/deep/er/name": "deep/er/name", "dir/../b": "b", ".": "text",
	} {
		w.run(t, 0, "restore", "docs:d/text@7", "--to", arg)
		if b, err := os.ReadFile(filepath.Join(to, want)); err != nil || string(b) != "text\n" {
			t.Errorf("--to %s: %q, %v", arg, b, err)
		}
	}
	// A symlink at DEST is itself what is there; the place that it names is not touched.
	write(t, to+"/target", "theirs\n")
	if err := os.Symlink("target", to+"/sym"); err != nil {
		t.Fatal(err)
	}
	w.run(t, 1, "restore", "docs:d/text@7", "--to", "sym")
	w.run(t, 0, "restore", "docs:d/text@7", "--to", "sym", "--force")
	if b, _ := os.ReadFile(to + "/target"); string(b) != "theirs\n" {
		t.Errorf("written through a symlink: %q", b)
	}
	if fi, err := os.Lstat(to + "/sym"); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("sym: %v, %v", fi, err)
	}
	w.run(t, 2, "restore", "docs:d/text@7")
	w.run(t, 2, "restore", "docs:d/text", "--to", "x")
}

// What names of the daemon, of DEST or of symlinks in it could do outside.
func TestRestoreStaysBelowDest(t *testing.T) {
	t.Parallel()
	posix(t)
	w := newWorld(t)
	to, outside := dest(t), dest(t)
	w.tree("", []stored{
		{"d", "directory", "0755", ""}, {"d/x", "file", "0644", "x"},
		{".lockstep", "directory", "0755", ""}, {".lockstep/id", "file", "0644", "x"}, {"y/.Lockstep", "file", "0644", "x"},
		{"../up", "file", "0644", "x"}, {"/abs", "file", "0644", "x"}, {"ok", "file", "0644", "x"},
	})
	if err := os.Symlink(outside, to+"/d"); err != nil {
		t.Fatal(err)
	}
	w.run(t, 1, "restore", "docs@7", "--to", to)
	if l, _ := os.ReadDir(outside); len(l) != 0 {
		t.Errorf("written outside: %v", l)
	}
	if l, _ := os.ReadDir(to); len(l) != 2 {
		t.Errorf("in DEST: %v", l)
	}
	if !strings.Contains(w.err.String(), ": 7 paths were not written") {
		t.Errorf("%s", w.err.String())
	}
	// Forced, the symlink itself gives way; nothing goes through it.
	w.run(t, 1, "restore", "docs@7", "--to", to, "--force")
	if l, _ := os.ReadDir(outside); len(l) != 0 {
		t.Errorf("written outside: %v", l)
	}
	if b, err := os.ReadFile(to + "/d/x"); err != nil || string(b) != "x" {
		t.Errorf("%q %v", b, err)
	}

	w.tree("", []stored{{"ok", "file", "0644", "x"}})
	write(t, to+"/file", "")
	for dest, says := range map[string]string{
		to + "/.lockstep/tmp": "own directory", to + "/a/.LOCKSTEP": "own directory", to + "/file": "there is a file",
		w.env["LOCKSTEP_HOME"] + "/sub": "home", w.env["LOCKSTEP_HOME"]: "home", to + "/ok/below": "not a directory",
	} {
		w.run(t, 1, "restore", "docs@7", "--to", dest)
		if !strings.Contains(w.err.String(), says) {
			t.Errorf("--to %s: stderr %q does not say %q", dest, w.err.String(), says)
		}
	}
	// The home by another name.
	if err := os.Symlink(w.env["LOCKSTEP_HOME"], to+"/alias"); err != nil {
		t.Fatal(err)
	}
	w.run(t, 1, "restore", "docs@7", "--to", to+"/alias/x")
	// A parent that becomes a symlink while a file is under way.
	w.tree("", []stored{{"e", "directory", "0755", ""}, {"e/x", "file", "0644", "x"}})
	cat := w.fake.OnCat
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		if err := errors.Join(os.Remove(to+"/e"), os.Symlink(outside, to+"/e")); err != nil {
			t.Error(err)
		}
		return cat(r, start)
	}
	w.run(t, 1, "restore", "docs@7", "--to", to)
	if l, _ := os.ReadDir(outside); len(l) != 0 {
		t.Errorf("written outside: %v", l)
	}
	noTemp(t, to)
}

func noTemp(t *testing.T, dir string) {
	t.Helper()
	l, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range l {
		if strings.HasPrefix(d.Name(), tempPrefix) {
			t.Errorf("%s was left", d.Name())
		}
	}
}

// A version whose bytes do not come whole, or come wrong, has no name; the others do.
func TestRestoreOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tree("", []stored{{"a", "file", "0644", "aaaa"}, {"b", "file", "0644", "bbbb"}, {"c", "file", "0644", "cccc"}})
	cat := w.fake.OnCat
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		switch r.Target.Rel {
		case "a":
			_, _ = io.WriteString(start(control.CatInfo{}), "aa")
			return errors.New("nobody online has chunk 12")
		case "b":
			_, err := io.WriteString(start(control.CatInfo{}), "BBBB")
			return err
		}
		return cat(r, start)
	}
	to := dest(t)
	w.run(t, 1, "restore", "docs@7", "--to", to)
	if l, _ := os.ReadDir(to); len(l) != 1 || l[0].Name() != "c" {
		t.Errorf("in DEST: %v", l)
	}
	if s := w.err.String(); !strings.Contains(s, "a: nobody online has chunk 12") || !strings.Contains(s, "b: its content came as") {
		t.Errorf("%s", s)
	}
}

// An interruption leaves whole files and no others; the same command goes on.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var list []stored
	for i := range 3 * restoreBatch {
		list = append(list, stored{fmt.Sprintf("f%04d", i), "file", "0644", fmt.Sprint("content ", i)})
	}
	w.tree("", list)
	cat := w.fake.OnCat
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		if n.Add(1) == restoreBatch+restoreBatch/2 {
			cancel()
		}
		return cat(r, start)
	}
	to := dest(t)
	stale := filepath.Join(to, tempPrefix+"X"+tempSuffix)
	write(t, stale, "of a restore that was killed")
	if err := os.Chtimes(stale, storedTime, storedTime); err != nil {
		t.Fatal(err)
	}
	w.out.Reset()
	w.err.Reset()
	if code := Main(ctx, w.Deps, []string{"restore", "docs@7", "--to", to}); code != 1 {
		t.Errorf("exit %d", code)
	}
	if s := w.err.String(); !strings.Contains(s, "128 files are restored so far, each whole") || !strings.Contains(s, "lockstep: interrupted") {
		t.Errorf("%s", s)
	}
	noTemp(t, to)
	l, _ := os.ReadDir(to)
	if len(l) != restoreBatch {
		t.Errorf("%d files", len(l))
	}
	for i, d := range l {
		if b, _ := os.ReadFile(filepath.Join(to, d.Name())); string(b) != list[i].data {
			t.Errorf("%s: %q", d.Name(), b)
		}
	}
	w.fake.OnCat = cat
	if out := w.run(t, 0, "restore", "docs@7", "--to", to); !strings.Contains(out, ": 256 files, ") || !strings.Contains(out, ", 128 there already") {
		t.Errorf("%s", out)
	}
}

// A file that is made at a name while its version is under way stays.
func TestRestoreLosesNoRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tree("", []stored{{"a", "file", "0644", "version"}})
	to := dest(t)
	cat := w.fake.OnCat
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		write(t, filepath.Join(to, "a"), "made meanwhile")
		return cat(r, start)
	}
	w.run(t, 1, "restore", "docs@7", "--to", to)
	if b, _ := os.ReadFile(filepath.Join(to, "a")); !bytes.Equal(b, []byte("made meanwhile")) {
		t.Errorf("%q", b)
	}
	if !strings.Contains(w.err.String(), "made here meanwhile") {
		t.Errorf("%s", w.err.String())
	}
	noTemp(t, to)
}

// Two restores to one place at once: what one wrote the other finds there.
func TestRestoresAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tree("", []stored{{"a", "file", "0644", "version"}})
	to := dest(t)
	cat := w.fake.OnCat
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		write(t, filepath.Join(to, "a"), "version")
		return cat(r, start)
	}
	if out := w.run(t, 0, "restore", "docs@7", "--to", to); !strings.HasSuffix(out, ": 0 files, 0 B, 1 there already\n") {
		t.Errorf("%s", out)
	}
	noTemp(t, to)
}
