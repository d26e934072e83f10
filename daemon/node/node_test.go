package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestInitMakesAHomeOnce(t *testing.T) {
	h := filepath.Join(t.TempDir(), "home")
	if err := Init(InitOptions{Home: h, Name: "a", Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	c, err := home(h).load()
	if err != nil {
		t.Fatal(err)
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "0" || c.Advertise != c.Listen {
		t.Errorf("listen %q, advertise %q: want the port bound, and the same for both", c.Listen, c.Advertise)
	}
	if st, err := os.Stat(h); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the home's mode is %v, want 0700 (%v)", st.Mode(), err)
	}
	before, err := os.ReadFile(home(h).config())
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(InitOptions{Home: h, Name: "b", Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "a node is in") {
		t.Errorf("a second init: %v", err)
	}
	if after, err := os.ReadFile(home(h).config()); err != nil || string(after) != string(before) {
		t.Errorf("a refused init changed the home: %v", err)
	}
}

// A directory with other things in it is no home, and stays as open as it was.
func TestInitLeavesOtherDirectoriesAlone(t *testing.T) {
	h := t.TempDir()
	if err := os.WriteFile(filepath.Join(h, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Init(InitOptions{Home: h, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("init in a directory of the user's: %v", err)
	}
	if st, err := os.Stat(h); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("its mode is %v now (%v)", st.Mode(), err)
	}
}

func TestInitRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, c := range map[string]struct {
		o     InitOptions
		usage bool
		says  string
	}{
		"bad name":      {InitOptions{Name: "Big Name"}, true, "name"},
		"bad advertise": {InitOptions{Advertise: "no port"}, true, "advertise"},
		"bad listen":    {InitOptions{Listen: "127.0.0.1:99999"}, true, "99999"},
		"port in use":   {InitOptions{Listen: busy.Addr().String()}, false, "listen"},
	} {
		c.o.Home = filepath.Join(t.TempDir(), "home")
		if c.o.Listen == "" {
			c.o.Listen = "127.0.0.1:0"
		}
		err := Init(c.o)
		if err == nil || errors.Is(err, ErrUsage) != c.usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := home(c.o.Home).load(); !errors.Is(err, ErrNoNode) {
			t.Errorf("%s: left a node behind: %v", name, err)
		}
	}
}

func TestConfigIsStrict(t *testing.T) {
	h := home(t.TempDir())
	for name, text := range map[string]string{
		"unknown field": `{"version":1,"cluster":"00000000000000000000000000000000","name":"a","listen":"","advertise":"","extra":1}`,
		"newer version": `{"version":2,"cluster":"00000000000000000000000000000000","name":"a","listen":"","advertise":""}`,
		"cut short":     `{"version":1`,
	} {
		if err := os.WriteFile(h.config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.load(); err == nil || errors.Is(err, ErrNoNode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneDaemonOnAHome(t *testing.T) {
	h := home(t.TempDir())
	release, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.lock(); !errors.Is(err, errInUse) {
		t.Errorf("a second lock: %v", err)
	}
	release()
	again, err := h.lock()
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
}

type oneDB struct{ d *kv.DB }

func (o oneDB) Acquire() (*kv.DB, func()) { return o.d, func() {} }

// TestMembershipSurvivesAnEmptyState: after a crash the replicated state may start
// from nothing; who was a member must be known, or nobody could send it the log.
func TestMembershipSurvivesAnEmptyState(t *testing.T) {
	l, err := local.Open("local", local.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self, other, told := id.Node{1}, id.Node{2}, id.Node{3}
	machine := func() *meta.Machine {
		d, err := kv.Open("meta", kv.Options{InMemory: true, NoWAL: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		m, err := meta.NewMachine(oneDB{d}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := machine()
	ms, err := newMembers(self, m, l, []meta.NodeRecord{{ID: self}, {ID: told, Address: "told:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ms.refresh(); err != nil {
		t.Fatal(err)
	}
	if !ms.IsMember(told) {
		t.Error("what the inviter told does not count while the state is empty")
	}
	var dropped []id.Node
	ms.drop = func(n id.Node) { dropped = append(dropped, n) }
	apply(t, m, 1, meta.Envelope{Node: self}, meta.ClusterCmd{ID: id.Cluster{9}, First: meta.NodeRecord{ID: self, Name: "a", Address: "a:1"}})
	session := id.NewSession()
	apply(t, m, 2, meta.Envelope{Node: self, Session: session}, meta.Session{})
	invite := id.Sum([]byte("secret"))
	apply(t, m, 3, meta.Envelope{Node: self, Session: session, Sequence: 1}, meta.InviteCmd{Op: meta.InviteAdd, Hash: invite, Expires: time.Now().Add(time.Hour)})
	apply(t, m, 4, meta.Envelope{Node: self, Session: session, Sequence: 2}, meta.NodeCmd{Op: meta.NodeAdmit, Invite: invite, Record: meta.NodeRecord{ID: other, Name: "b", Address: "b:1"}})
	if err := ms.refresh(); err != nil {
		t.Fatal(err)
	}
	if !ms.IsMember(other) || ms.IsMember(told) || len(dropped) != 1 || dropped[0] != told {
		t.Errorf("after the log: members %v, dropped %v", ms.records(), dropped)
	}
	if ms.removed() {
		t.Error("a member counts as removed")
	}
	session = id.NewSession()
	apply(t, m, 5, meta.Envelope{Node: other, Session: session}, meta.Session{})
	kept, err := l.Members()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, m, 6, meta.Envelope{Node: other, Session: session, Sequence: 1}, meta.NodeCmd{Op: meta.NodeRemove, Record: meta.NodeRecord{ID: self}})
	if err := ms.refresh(); err != nil {
		t.Fatal(err)
	}
	if !ms.removed() {
		t.Error("a node that was removed does not know it")
	}
	if err := l.SetMembers(kept); err != nil {
		t.Fatal(err)
	}
	// The state is gone, the log comes again, entry by entry.
	m = machine()
	if ms, err = newMembers(self, m, l, nil); err != nil {
		t.Fatal(err)
	}
	apply(t, m, 1, meta.Envelope{Node: self}, meta.ClusterCmd{ID: id.Cluster{9}, First: meta.NodeRecord{ID: self, Name: "a", Address: "a:1"}})
	if err := ms.refresh(); err != nil {
		t.Fatal(err)
	}
	if a, ok := ms.Address(other); !ms.IsMember(other) || !ok || a != "b:1" {
		t.Errorf("a member is forgotten while the log is behind: %v", ms.records())
	}
}

func apply(t *testing.T, m *meta.Machine, index uint64, env meta.Envelope, c meta.Command) {
	t.Helper()
	body, err := meta.EncodeCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := meta.LogEntries(env, body, time.Now())
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if err := m.Apply(index, entries[0]); err != nil {
		t.Fatal(err)
	}
}

// TestJoinErrors: what time may mend is told from what it may not.
func TestJoinErrors(t *testing.T) {
	for err, want := range map[error]control.Code{
		join.ErrUnavailable: control.CodeNoQuorum, join.ErrUndecided: control.CodeNoQuorum, join.ErrBusy: control.CodeTimeout,
		context.DeadlineExceeded: control.CodeTimeout, join.ErrUsedToken: control.CodeFailed, join.ErrUnreachable: control.CodeFailed,
	} {
		got := joinError("/h", fmt.Errorf("wrapped: %w", err))
		if control.CodeOf(got) != want || !errors.Is(got, err) {
			t.Errorf("%v: class %q, %v", err, control.CodeOf(got), got)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		p, dir string
		want   bool
	}{{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/", true}} {
		if got := within(c.p, c.dir); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.p, c.dir, got)
		}
	}
}

// TestNodeRuns starts a whole node, adds a folder, sees a file committed, and
// ends it; a second start finds everything again.
func TestNodeRuns(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, root := filepath.Join(base, "home"), filepath.Join(base, "docs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Init(InitOptions{Home: h, Name: "a", Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := control.NewClient(h)
	var hash string
	for start := range 2 {
		end := startNode(t, ctx, h)
		if start == 0 {
			if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(root)}); err != nil {
				t.Fatal(err)
			}
			for name, p := range map[string]string{"itself": root, "inside": filepath.Join(root, "x"), "above": base, "the home": h, "missing": root + "2"} {
				_ = os.MkdirAll(filepath.Join(root, "x"), 0o755)
				if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(p), Name: "other"}); err == nil {
					t.Errorf("a folder at %s (%s) was added", p, name)
				}
			}
			if err := os.WriteFile(filepath.Join(root, "f"), []byte("hello"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Wait(ctx, control.WaitRequest{Timeout: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
		st, err := c.Status(ctx, control.StatusRequest{Linearizable: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Folders) != 1 || st.Folders[0].Files != 1 || st.Folders[0].Bytes != 5 || !st.Cluster.HasQuorum {
			t.Errorf("start %d: %+v", start, st)
		}
		if start == 1 && st.Folders[0].HistoryHash != hash {
			t.Errorf("history hash %s after the restart, %s before", st.Folders[0].HistoryHash, hash)
		}
		hash = st.Folders[0].HistoryHash
		end()
	}
	if _, err := os.Lstat(folder.MarkerPath(root)); err != nil {
		t.Errorf("marker: %v", err)
	}
}

// TestMarkerOfAnotherFolderStays: a directory that is another folder's is not
// taken over.
func TestMarkerOfAnotherFolderStays(t *testing.T) {
	root := t.TempDir()
	one, two := id.NewFolder(), id.NewFolder()
	if err := mark(root, one); err != nil {
		t.Fatal(err)
	}
	if err := mark(root, one); err != nil {
		t.Errorf("the same folder again: %v", err)
	}
	if err := mark(root, two); !errors.Is(err, errMarked) {
		t.Errorf("another folder: %v", err)
	}
	if err := folder.CheckRoot(root, one); err != nil {
		t.Errorf("the marker after the refusal: %v", err)
	}
}

// TestJoinAgain: a join whose answer was lost is repeated with the same home, and
// then the cluster knows the address that the node has now.
func TestJoinAgain(t *testing.T) {
	base, h := newHome(t)
	ctx := minute(t)
	defer startNode(t, ctx, h)()
	c := control.NewClient(h)
	inv, err := c.Invite(ctx, control.InviteRequest{})
	if err != nil {
		t.Fatal(err)
	}
	b := home(filepath.Join(base, "b"))
	o := JoinOptions{Home: string(b), Token: inv.Token, Name: "b", Listen: "127.0.0.1:0"}
	if err := Join(ctx, o); err != nil {
		t.Fatal(err)
	}
	first, err := b.load()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", first.Listen) // so that the next port is another one
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.config()); err != nil { // as if the answer had been lost
		t.Fatal(err)
	}
	err = Join(ctx, o)
	taken.Close()
	if err != nil {
		t.Fatalf("again: %v", err)
	}
	second, err := b.load()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := c.Nodes(ctx)
	if err != nil || len(nodes) != 2 || nodes[1].Name != "b" || nodes[1].Address != second.Advertise || second.Advertise == first.Advertise {
		t.Errorf("members %+v, %v; want b at %s, not at %s", nodes, err, second.Advertise, first.Advertise)
	}
	defer startNode(t, ctx, string(b))()
	if _, err := control.NewClient(string(b)).Status(ctx, control.StatusRequest{Linearizable: true}); err != nil {
		t.Errorf("the node that joined again: %v", err)
	}

	// A home whose join was refused is as it was: it can make a cluster of its own.
	other := JoinOptions{Home: filepath.Join(base, "c"), Token: inv.Token, Name: "c", Listen: "127.0.0.1:0"}
	if err := Join(ctx, other); !errors.Is(err, join.ErrUsedToken) {
		t.Fatalf("a used token: %v", err)
	}
	if err := Init(InitOptions{Home: other.Home, Listen: "127.0.0.1:0"}); err != nil {
		t.Errorf("init after a refused join: %v", err)
	}
	// One that was cut short keeps its identity, and says so.
	if err := os.Remove(home(other.Home).config()); err != nil {
		t.Fatal(err)
	}
	if err := Init(InitOptions{Home: other.Home, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("init after half an init: %v", err)
	}
}

func startNode(t *testing.T, ctx context.Context, h string) (end func()) {
	t.Helper()
	rctx, stop := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- Run(rctx, RunOptions{Home: h, Ready: func(string) { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("run: %v", err)
	}
	return func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}
