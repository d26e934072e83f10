package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

// upWorld is a world whose node is made and run by the fake, in a working directory
// that is the user's home too. steps tells what was done.
type upWorld struct {
	*world
	home, wd string
	steps    []string
	folders  []control.Folder
	state    control.FolderStatus
}

func newUpWorld(t *testing.T) *upWorld {
	w := &upWorld{world: newWorld(t), wd: t.TempDir()}
	w.home = w.env["LOCKSTEP_HOME"]
	w.env["HOME"] = w.wd
	w.Getwd = func() (string, error) { return w.wd, nil }
	did := func(s string) { w.steps = append(w.steps, s) }
	w.Node.Init = func(o node.InitOptions) error {
		did("init " + o.Name)
		return os.WriteFile(filepath.Join(o.Home, "node.json"), nil, 0o600)
	}
	w.Node.Join = func(_ context.Context, o node.JoinOptions) error {
		did("join " + o.Token)
		return os.WriteFile(filepath.Join(o.Home, "node.json"), nil, 0o600)
	}
	running := false
	w.Node.Run = func(ctx context.Context, o node.RunOptions) error {
		did("run")
		running = true
		o.Ready("192.0.2.1:7417")
		<-ctx.Done()
		running = false
		return nil
	}
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
		if !running {
			return control.Status{}, control.Errorf(control.CodeNotRunning, "not running")
		}
		st := control.Status{Node: control.NodeStatus{Name: "desk", Address: "192.0.2.1:7417", Listen: "0.0.0.0:7417"}}
		for _, f := range w.folders {
			fs := w.state
			fs.Name, fs.Path = f.Name, f.Path
			st.Folders = append(st.Folders, fs)
		}
		return st, nil
	}
	w.state = control.FolderStatus{State: control.StateIdle, HeadRevision: 3, AppliedRevision: 3, Files: 2, Bytes: 7}
	w.fake.OnFolders = func() ([]control.Folder, error) { return w.folders, nil }
	w.fake.OnFolderAdd = func(r control.FolderAddRequest) (control.FolderAddResult, error) {
		did("add " + strings.TrimPrefix(string(r.Path), w.wd) + " " + r.Name)
		name := r.Name
		if name == "" {
			name = filepath.Base(string(r.Path))
		}
		if st, err := os.Stat(string(r.Path)); err != nil || !st.IsDir() {
			t.Errorf("added before it was there: %v", err)
		}
		w.folders = append(w.folders, control.Folder{Name: name, Path: string(r.Path), Subscribed: true})
		return control.FolderAddResult{Name: name, Path: string(r.Path)}, nil
	}
	w.fake.OnInvite = func(r control.InviteRequest) (control.Invite, error) {
		did("invite " + r.Role + " " + r.TTL.String())
		return control.Invite{Token: "lockstep1-T", Expires: time.Date(2026, 11, 23, 11, 0, 0, 0, time.Local)}, nil
	}
	return w
}

// up runs `up` until it says that all is here, or ends.
func (w *upWorld) up(t *testing.T, want int, args ...string) {
	t.Helper()
	w.out.Reset()
	w.err.Reset()
	w.steps = nil
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := &stopWriter{buf: &w.out, at: "all of it is here", stop: cancel}
	d := w.Deps
	d.Out = out
	if code := Main(ctx, d, append([]string{"up"}, args...)); code != want {
		t.Errorf("up %q: exit %d, want %d: %s", args, code, want, w.err.String())
	}
}

type stopWriter struct {
	buf  interface{ Write([]byte) (int, error) }
	at   string
	stop func()
}

func (w *stopWriter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.at) {
		w.stop()
	}
	return w.buf.Write(b)
}

func (w *upWorld) did(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Join(w.steps, ", "); got != strings.Join(want, ", ") {
		t.Errorf("did: %s; want: %s", got, strings.Join(want, ", "))
	}
}

func TestUpFirstMachine(t *testing.T) {
	t.Parallel()
	w := newUpWorld(t)
	w.up(t, 0, "My Notes", "--name", "notes", "--node-name", "desk")
	w.did(t, "init desk", "run", "add /My Notes notes", "invite auto 1h0m0s")
	for _, want := range []string{
		"made a new cluster of this one node, desk\nits home is ", "new folder notes at ", "good once, until 11:00",
		"\nlockstep up --join lockstep1-T --name notes ~/'My Notes'\n", "notes: all of it is here at revision 3: 2 files, 7 B\n",
	} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("stdout lacks %q:\n%s", want, w.out.String())
		}
	}
	if !strings.Contains(w.err.String(), "ready on 192.0.2.1:7417") || strings.Contains(w.err.String(), "warning") {
		t.Errorf("stderr %q", w.err.String())
	}
	// The same again starts the node again; a folder that is there is not added twice.
	w.up(t, 0, "My Notes", "--name", "notes")
	w.did(t, "run", "invite auto 1h0m0s")
	// Without a path the one folder is in the line.
	w.up(t, 0)
	w.did(t, "run", "invite auto 1h0m0s")
	if !strings.Contains(w.out.String(), "--name notes ~/'My Notes'\n") {
		t.Errorf("stdout %s", w.out.String())
	}
}

func TestUpNextMachine(t *testing.T) {
	t.Parallel()
	w := newUpWorld(t)
	w.folders = []control.Folder{{Name: "photos"}}
	w.up(t, 0, "--join", "lockstep1-T", "--name", "sync", "a/Sync")
	w.did(t, "join lockstep1-T", "run", "add /a/Sync sync") // and no token that nobody asked for
	for _, want := range []string{"joined the cluster as node desk", "not on this node: photos", "lockstep up --name photos ~/photos", "lockstep invite"} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("stdout lacks %q:\n%s", want, w.out.String())
		}
	}
	// A token for a home that has a node: refused, whatever it is; nothing runs.
	w.up(t, 1, "--join", "lockstep1-T")
	w.did(t)
	if !strings.Contains(w.err.String(), w.home) {
		t.Errorf("stderr %q", w.err.String())
	}
}

func TestUpRefusesFirst(t *testing.T) {
	t.Parallel()
	w := newUpWorld(t)
	if err := os.WriteFile(filepath.Join(w.wd, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "no", "where")
	for _, path := range []string{elsewhere, "file"} {
		w.up(t, 1, "--join", "lockstep1-T", path)
		w.did(t)
		if !strings.Contains(w.err.String(), path) {
			t.Errorf("stderr %q", w.err.String())
		}
	}
	if err := os.Symlink(filepath.Dir(w.home), filepath.Join(w.wd, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{w.home, filepath.Dir(w.home), filepath.Join(w.home, "new"), "link", "link/" + filepath.Base(w.home)} {
		w.up(t, 1, "--join", "lockstep1-T", path)
		w.did(t)
		if !strings.Contains(w.err.String(), "the node's home") {
			t.Errorf("%s: stderr %q", path, w.err.String())
		}
	}
	w.up(t, 2, "--name", "N", "file")
	w.up(t, 2, "--prefer", "both")
	w.did(t)
}

// TestUpUnmounted: the directory of a folder that the node keeps is never made: its
// disk may just not be mounted.
func TestUpUnmounted(t *testing.T) {
	t.Parallel()
	w := newUpWorld(t)
	w.up(t, 0, "sync")
	if err := os.Remove(filepath.Join(w.wd, "sync")); err != nil {
		t.Fatal(err)
	}
	w.up(t, 0, "sync")
	w.did(t, "run", "invite auto 1h0m0s")
	if _, err := os.Stat(filepath.Join(w.wd, "sync")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the missing root was made: %v", err)
	}
}

func TestUpWhereItRuns(t *testing.T) {
	t.Parallel()
	w := newUpWorld(t)
	if err := os.WriteFile(filepath.Join(w.home, "node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	node := control.NodeStatus{Name: "desk", Address: "127.0.0.1:7417", Listen: "127.0.0.1:7417"}
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) { return control.Status{Node: node}, nil }
	w.up(t, 0, "more", "--listen", ":1")
	w.did(t, "add /more ", "invite auto 1h0m0s")
	for _, want := range []string{"loopback only (127.0.0.1:7417)", "--listen and --advertise do nothing", "config.toml"} {
		if !strings.Contains(w.err.String(), want) {
			t.Errorf("stderr lacks %q: %s", want, w.err.String())
		}
	}
	// With --json there is one document, which begins with the folder's.
	for range 2 {
		w.up(t, 0, "more", "--json")
		var res struct {
			control.FolderAddResult
			Home, Node, Line string
		}
		if err := json.Unmarshal(w.out.Bytes(), &res); err != nil || res.Path != filepath.Join(w.wd, "more") || res.Home != w.home ||
			res.Line != "lockstep up --join lockstep1-T --name more ~/more" {
			t.Errorf("up --json: %+v, %v", res, err)
		}
	}
	// No quorum for a token: told, and no failure.
	w.fake.OnInvite = func(control.InviteRequest) (control.Invite, error) {
		return control.Invite{}, control.Errorf(control.CodeNoQuorum, "make an invite: commits need b")
	}
	w.up(t, 0, "more")
	if !strings.Contains(w.err.String(), "no line for the next machine yet: make an invite: commits need b; later: lockstep invite") {
		t.Errorf("stderr %s", w.err.String())
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a/b-c_d.e": "a/b-c_d.e", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "": "''", "-x": "'-x'", "é": "'é'", "a;rm": "'a;rm'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestWatchdogTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		usec, pid, socket string
		want              time.Duration
	}{
		{"3000000", "", "/s", 3 * time.Second}, {"3000000", "1", "/s", 0}, {"3000000", "", "", 0}, {"", "", "/s", 0}, {"x", "", "/s", 0}, {"-1", "", "/s", 0},
	} {
		env := map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid, "NOTIFY_SOCKET": c.socket}
		if got := watchdogTime(func(k string) string { return env[k] }); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}
