package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/controltest"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

// world is a Deps whose daemon is a fake.
type world struct {
	Deps
	fake     *controltest.Fake
	env      map[string]string
	out, err bytes.Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{fake: &controltest.Fake{}, env: map[string]string{"LOCKSTEP_HOME": t.TempDir()}}
	w.Deps = Deps{
		Out: &w.out, Err: &w.err,
		Getenv:  func(k string) string { return w.env[k] },
		Getwd:   func() (string, error) { return "/w", nil },
		Now:     func() time.Time { return time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) },
		Service: func(string) control.Service { return w.fake },
		Node: Node{
			Version: "1.2.3",
			Init:    func(node.InitOptions) error { return errors.New("unexpected init") },
			Join:    func(context.Context, node.JoinOptions) error { return errors.New("unexpected join") },
			Run:     func(context.Context, node.RunOptions) error { return errors.New("unexpected run") },
		},
	}
	return w
}

// run runs one command and checks its exit code.
func (w *world) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	w.out.Reset()
	w.err.Reset()
	if got := Main(t.Context(), w.Deps, args); got != want {
		t.Errorf("%q: exit %d, want %d; stderr: %s", args, got, want, w.err.String())
	}
	return w.out.String()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for code, exit := range map[control.Code]int{
		control.CodeFailed: 1, control.CodeUsage: 2, control.CodeNotRunning: 3,
		control.CodeTimeout: 4, control.CodeNoQuorum: 4, control.CodeProblems: 5, "unheard-of": 1,
	} {
		w.fake.OnNodes = func() ([]control.ClusterMember, error) {
			return nil, control.Errorf(code, "list nodes: it\nbroke").WithHint("mend it")
		}
		out := w.run(t, exit, "node", "ls")
		if got := w.err.String(); out != "" || got != "lockstep: list nodes: it; broke; mend it\n" {
			t.Errorf("%s: stdout %q, stderr %q", code, out, got)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, args := range [][]string{
		{}, {"nothing"}, {"folder"}, {"folder", "nothing"}, {"node"}, {"cat"}, {"cat", "docs"}, {"cat", "docs@head", "x"},
		{"rollback", "docs"}, {"rollback", "docs:../x@1"}, {"status", "--nothing"}, {"status", "--watch", "--check"},
		{"wait", "--timeout", "soon"}, {"wait", "--timeout", "0s"}, {"wait", "/a/b"}, {"join"}, {"invite", "--role", "king"},
		{"invite", "--ttl", "1y"}, {"invite", "--ttl", "0s"}, {"folder", "add"}, {"folder", "add", ""},
		{"folder", "add", "x", "--prefer", "all"}, {"folder", "add", "x", "--name", "No"}, {"folder", "rm"},
		{"log", "docs", "-n", "-1"}, {"log", "docs", "--since", "whenever"}, {"up", "--name", "x"}, {"conflicts", "nothing"},
		{"conflicts", "show"}, {"conflicts", "show", "docs"}, {"conflicts", "show", "docs#x"}, {"conflicts", "show", "#0"}, {"conflicts", "show", "Docs#1"},
		{"conflicts", "show", "docs#1", "--side", "mine"}, {"conflicts", "resolve", "docs#1"}, {"conflicts", "resolve", "docs#1", "--keep", "mine"},
		{"conflicts", "resolve", "docs#1", "--keep", "both", "--with", "x"}, {"conflicts", "resolve", "--keep", "both"},
		{"cat", "--json", "docs@1"}, {"init", "extra"}, {"version", "extra"}, {"demo", "a", "b"},
		{"folder", "set"}, {"folder", "set", "docs", "mode"}, {"folder", "set", "docs", "mode="}, {"folder", "set", "docs", "mode=send", "mode=both"},
	} {
		out := w.run(t, 2, args...)
		lines := strings.Split(strings.TrimSuffix(w.err.String(), "\n"), "\n")
		if last := lines[len(lines)-1]; out != "" || !strings.HasPrefix(last, "lockstep: ") {
			t.Errorf("%q: stdout %q, last line of stderr %q", args, out, last)
		}
	}
}

func TestHome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		flag string
		env  map[string]string
		want string
	}{
		{"flag first", "/f", map[string]string{"LOCKSTEP_HOME": "/e", "HOME": "/h"}, "/f"},
		{"relative flag", "f/../g", nil, "/w/g"},
		{"variable", "", map[string]string{"LOCKSTEP_HOME": "/e", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/e"},
		{"xdg", "", map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/lockstep"},
		{"relative xdg is ignored", "", map[string]string{"XDG_DATA_HOME": "x", "HOME": "/h"}, "/h/.local/share/lockstep"},
		{"none", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &app{homeFlag: c.flag, Deps: Deps{
				Getenv: func(k string) string { return c.env[k] },
				Getwd:  func() (string, error) { return "/w", nil },
			}}
			got, err := a.home()
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestJSONIsOneDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) { return control.Status{}, nil }
	w.fake.OnFolders = func() ([]control.Folder, error) { return []control.Folder{{Name: "docs", Subscribed: true}}, nil }
	w.fake.OnNodes = func() ([]control.ClusterMember, error) { return []control.ClusterMember{{Name: "a"}}, nil }
	w.fake.OnLog = func(r control.LogRequest, emit func(control.LogEntry) error) (control.Freshness, error) {
		if r.Target.Folder != "docs" {
			return control.Freshness{}, errors.New("wrong folder")
		}
		return control.Freshness{}, errors.Join(emit(control.LogEntry{Commit: &control.LogCommit{Revision: 2}}),
			emit(control.LogEntry{Commit: &control.LogCommit{Revision: 1}}))
	}
	w.fake.OnConflicts = func(control.ConflictsRequest, func(control.Conflict) error) error { return nil }
	w.fake.OnWait = func(_ context.Context, r control.WaitRequest) (control.WaitResult, error) {
		return control.WaitResult{Folders: []control.WaitFolder{{Name: r.Folder}}}, nil
	}
	w.fake.OnRollback = func(r control.RollbackRequest, emit func(control.RollbackChange) error) (control.RollbackResult, error) {
		if err := emit(control.RollbackChange{Path: "a"}); err != nil {
			return control.RollbackResult{}, err
		}
		return control.RollbackResult{Folder: "docs", DryRun: r.DryRun}, nil
	}
	w.fake.OnInvite = func(control.InviteRequest) (control.Invite, error) { return control.Invite{Token: "t"}, nil }
	w.fake.OnFolderAdd = func(r control.FolderAddRequest) (control.FolderAddResult, error) {
		return control.FolderAddResult{Path: string(r.Path)}, nil
	}
	w.fake.OnFolderRemove = func(control.FolderRemoveRequest) (control.FolderRemoveResult, error) {
		return control.FolderRemoveResult{}, nil
	}
	for _, args := range [][]string{
		{"status"}, {"folder", "ls"}, {"folder", "add", "x"}, {"folder", "rm", "docs"}, {"node", "ls"}, {"log"}, {"log", "docs"},
		{"conflicts"}, {"conflicts", "ls", "--all"}, {"wait", "docs"}, {"rollback", "docs@1"}, {"rollback", "docs@1", "--dry-run"},
		{"invite"}, {"version"},
	} {
		out := w.run(t, 0, append(args, "--json")...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%q: %v in %q", args, err, out)
		}
		if plain := w.run(t, 0, args...); plain == "" {
			t.Errorf("%q: nothing printed", args)
		}
	}
	if out := w.run(t, 0, "invite"); out != "t\n" {
		t.Errorf("the token is not alone on stdout: %q", out)
	}
	var log []map[string]any
	if err := json.Unmarshal([]byte(w.run(t, 0, "log", "--json")), &log); err != nil || len(log) != 2 || log[0]["revision"] != 2.0 {
		t.Errorf("log: %v, %v", log, err)
	}
}

func TestStatusCheckAndBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	st := control.Status{Cluster: control.ClusterStatus{HasQuorum: true}, Folders: []control.FolderStatus{{Name: "docs", State: control.StateIdle}}}
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) { return st, nil }
	w.run(t, 0, "status", "--check")
	st.Folders[0].Blocked = []control.BlockedPath{control.NewBlockedPath("a\nb", "is a FIFO")}
	if out := w.run(t, 5, "status", "--check"); !strings.Contains(out, `a\nb: is a FIFO`) {
		t.Errorf("stdout %q", out)
	}
	w.run(t, 0, "status")
}

func TestStatusOfAFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
		return control.Status{Elsewhere: []string{"music", "photos"}, Folders: []control.FolderStatus{
			{Name: "docs", State: control.StateIdle, Summary: "well"}, {Name: "notes", State: control.StatePaused, Summary: "paused"},
		}}, nil
	}
	if out := w.run(t, 0, "status"); !strings.Contains(out, "not on this node: music, photos; to sync one here too: lockstep up --name music PATH") {
		t.Errorf("%s", out)
	}
	if out := w.run(t, 0, "status", "docs"); !strings.Contains(out, "well") || strings.Contains(out, "notes") || strings.Contains(out, "music") {
		t.Errorf("%s", out)
	}
	w.run(t, 0, "status", "docs:")
	w.run(t, 1, "status", "music")
}

// TestWaitCountsDisks: a member that is offline and lacks the revision is not counted.
func TestWaitCountsDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []control.FolderNode{{Name: "a", AppliedRevision: 7}, {Name: "b", AppliedRevision: 6}, {Name: "c", AppliedRevision: 8}}
	w.fake.OnWait = func(context.Context, control.WaitRequest) (control.WaitResult, error) {
		return control.WaitResult{Folders: []control.WaitFolder{{Name: "docs", Revision: 7, Nodes: nodes}}}, nil
	}
	if out := w.run(t, 0, "wait", "--all"); out != "docs: revision 7 is on 2 of 3 disks, not on that of b (0s)\n" {
		t.Errorf("%q", out)
	}
	nodes = nodes[:1]
	if out := w.run(t, 0, "wait", "--all"); out != "docs: revision 7 is on 1 disk (0s)\n" {
		t.Errorf("%q", out)
	}
}

func TestErrorListsPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnWait = func(context.Context, control.WaitRequest) (control.WaitResult, error) {
		p := control.NewBlockedPath("x", "permission denied")
		p.Folder = "docs"
		return control.WaitResult{}, control.Errorf(control.CodeFailed, "wait: 1 path cannot be synced").WithPaths([]control.BlockedPath{p})
	}
	w.run(t, 1, "wait")
	if got := w.err.String(); got != "lockstep: wait: 1 path cannot be synced\n  docs:x: permission denied\n" {
		t.Errorf("stderr %q", got)
	}
	w.fake.OnWait = func(context.Context, control.WaitRequest) (control.WaitResult, error) {
		return control.WaitResult{}, control.Errorf(control.CodeFailed, "wait: stopped").WithPaths([]control.BlockedPath{{Folder: "docs", Reason: "paused"}})
	}
	w.run(t, 1, "wait")
	if got := w.err.String(); got != "lockstep: wait: stopped\n  docs: paused\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestCatStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var fail error
	w.fake.OnCat = func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
		if r.Rev.Kind != control.RevHead || r.Rev.Back != 1 || r.Target.Local != "/w/a/b" {
			return errors.New("wrong request")
		}
		if _, err := io.WriteString(start(control.CatInfo{}), "bytes"); err != nil {
			return err
		}
		return fail
	}
	if out := w.run(t, 0, "cat", "a/b@head~1"); out != "bytes" {
		t.Errorf("got %q", out)
	}
	fail = errors.New("chunk lost")
	w.run(t, 1, "cat", "a/b@head~1")
	if !strings.Contains(w.err.String(), "not whole") {
		t.Errorf("stderr %q", w.err.String())
	}
}

func TestDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(t, 1, "daemon")
	if !strings.Contains(w.err.String(), "lockstep init") {
		t.Errorf("stderr %q", w.err.String())
	}
	home := w.env["LOCKSTEP_HOME"]
	if err := os.WriteFile(filepath.Join(home, "node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, sock := notifySocket(t)
	w.env["NOTIFY_SOCKET"] = sock
	w.run(t, 2, "daemon", "--log-level", "loud")

	ctx, cancel := context.WithCancel(t.Context())
	w.Node.Run = func(ctx context.Context, o node.RunOptions) error {
		o.Ready("127.0.0.1:1")
		<-ctx.Done()
		return ctx.Err()
	}
	done := make(chan int, 1)
	go func() { done <- Main(ctx, w.Deps, []string{"daemon"}) }()
	buf := make([]byte, 64)
	n, err := l.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("systemd was told %q, %v", buf[:n], err)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("stopped by a signal: exit %d", code)
	}
	w.Node.Run = func(context.Context, node.RunOptions) error { return errors.New("lock home: taken") }
	w.run(t, 1, "daemon")
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain é 日": "plain é 日", "a\nb": `a\nb`, "a\xffb": `a\xffb`, "\x1b[31m": `\u001b[31m`, "a\tb": `a\tb`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestTableAligns(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	tab := newTable("A", "N", "LAST")
	tab.right = map[int]bool{1: true}
	tab.paint = func(_ int, s string) string { return green + s + plain }
	for range blockRows {
		if err := tab.addTo(&buf, "é", "1", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.print(&buf); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(green, "", plain, "").Replace(buf.String())
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != blockRows+1 || lines[0] != "A  N  LAST" || lines[1] != "é  1  x" {
		t.Errorf("%d lines, %q, %q", len(lines), lines[0], lines[1])
	}
}
