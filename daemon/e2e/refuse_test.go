package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// refused runs a command that has to be refused: the exit code, a message of one
// line that holds each of the words, and nothing on stdout.
func refused(t *testing.T, ctx context.Context, n *harness.Node, code int, words []string, args ...string) {
	t.Helper()
	r := lockstep(t, ctx, n, code, args...)
	msg := strings.TrimSuffix(r.Stderr, "\n")
	if i := strings.LastIndexByte(msg, '\n'); i >= 0 {
		msg = msg[i+1:] // what came before are logs
	}
	if !strings.HasPrefix(msg, "lockstep: ") || r.Stdout != "" {
		t.Errorf("%q: stdout %q, stderr %q", args, r.Stdout, r.Stderr)
	}
	for _, w := range words {
		if !strings.Contains(msg, w) {
			t.Errorf("%q: the message %q does not say %q", args, msg, w)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := newCluster(t)
	a, err := c.Add(ctx, "a")
	must(t, err)
	invite := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(lockstep(t, ctx, a, 0, append([]string{"invite"}, args...)...).Stdout)
	}
	forge := func(change func(*join.Token)) string {
		t.Helper()
		tok, err := join.ParseToken(invite())
		must(t, err)
		change(&tok)
		return tok.String()
	}
	used := invite()
	first, err := c.New("first")
	must(t, err)
	must(t, first.Make(ctx, "join", used))

	expired := invite("--ttl", "1s")
	begin := time.Now()
	late, err := c.New("late")
	must(t, err)
	for _, tc := range []struct {
		name, token, words string
	}{
		{"unknown", forge(func(tok *join.Token) { tok.Secret[0] ^= 1 }), "does not know this token"},
		{"used", used, "used"},
		{"wrong cluster", forge(func(tok *join.Token) { tok.Cluster = id.NewCluster() }), "another cluster"},
		{"no token at all", "lockstep1-nonsense", "token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, ctx, late, 1, []string{tc.words}, "join", tc.token, "--name", "late", "--listen", "127.0.0.1:0")
			refused(t, ctx, late, 1, []string{"no node in home"}, "daemon")
		})
	}
	t.Run("expired", func(t *testing.T) {
		<-time.After(time.Until(begin.Add(1500 * time.Millisecond))) // its life is what is waited for
		refused(t, ctx, late, 1, []string{"expired"}, "join", expired, "--name", "late", "--listen", "127.0.0.1:0")
	})
	t.Run("nobody answers", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		l.Close()
		tok := forge(func(tok *join.Token) { tok.Addresses = []string{l.Addr().String()} })
		refused(t, ctx, late, 1, []string{l.Addr().String()}, "join", tok, "--name", "late", "--listen", "127.0.0.1:0")
	})

	// The rest is unharmed: the same home joins with a good token, and runs.
	must(t, late.Make(ctx, "join", invite()))
	must(t, first.Start(ctx))
	must(t, late.Start(ctx))
	must(t, c.WaitVoters(ctx, 3))
}

func TestRefusedFolders(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := shared(t, ctx, 1)
	a := c.Nodes[0]
	writeFile(t, a, "inner/file", []byte("1"))
	other := filepath.Join(filepath.Dir(a.Tree), "other")
	around := filepath.Join(filepath.Dir(a.Tree), "around")
	must(t, os.Mkdir(other, 0o755))
	must(t, os.MkdirAll(filepath.Join(around, "inner2"), 0o755))
	lockstep(t, ctx, a, 0, "folder", "add", filepath.Join(around, "inner2"))
	for _, tc := range []struct {
		name  string
		code  int
		words []string
		args  []string
	}{
		{"inside a folder", 1, []string{"inside", a.Tree}, []string{at(a, "inner")}},
		{"around a folder", 1, []string{"inner2", "inside"}, []string{around}},
		{"around the home", 1, []string{"home"}, []string{filepath.Dir(a.Tree), "--name", "around-home"}},
		{"the same again", 1, []string{a.Tree}, []string{a.Tree, "--name", "again"}},
		{"missing path", 1, []string{"no such file"}, []string{filepath.Join(other, "missing")}},
		{"a file", 1, []string{"not a directory"}, []string{at(a, "inner/file"), "--name", "file"}},
		{"bad name", 2, []string{"Bad Name"}, []string{other, "--name", "Bad Name"}},
		{"name that is taken here", 1, []string{folderName}, []string{other, "--name", folderName}},
		{"the node's home", 1, []string{"home"}, []string{a.Home, "--name", "home"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, ctx, a, tc.code, tc.words, append([]string{"folder", "add"}, tc.args...)...)
		})
	}
	refused(t, ctx, a, 1, []string{"no-such"}, "folder", "rm", "no-such")
	refused(t, ctx, a, 1, []string{"no-such"}, "wait", "no-such")
	refused(t, ctx, a, 1, []string{"no history", "no-such"}, "rollback", folderName+":no-such@head")
	refused(t, ctx, a, 1, []string{"made by then"}, "cat", folderName+":inner/file@2020-01-01")
	refused(t, ctx, a, 1, []string{"no directory"}, "demo", filepath.Join(other, "missing"))

	list, err := a.Client().Folders(ctx)
	must(t, err)
	if len(list) != 2 || list[0].Name != folderName || list[1].Name != "inner2" {
		t.Errorf("folders %+v", list)
	}
	if _, err := os.Lstat(filepath.Join(other, ".lockstep")); err == nil {
		t.Error("a refused folder was marked")
	}
	lockstep(t, ctx, a, 0, "wait", folderName)
	lockstep(t, ctx, a, 0, "folder", "add", other)
}

func TestRefusedHomesAndAddresses(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := newCluster(t)
	a, err := c.Add(ctx, "a")
	must(t, err)
	refused(t, ctx, a, 1, []string{a.Home}, "daemon")
	refused(t, ctx, a, 1, []string{a.Home}, "init")
	token := strings.TrimSpace(lockstep(t, ctx, a, 0, "invite").Stdout)
	refused(t, ctx, a, 1, []string{a.Home}, "join", token)
	lockstep(t, ctx, a, 0, "status") // the first daemon has not noticed

	st, err := a.Client().Status(ctx, control.StatusRequest{})
	must(t, err)
	b, err := c.New("b")
	must(t, err)
	refused(t, ctx, b, 1, []string{st.Node.Listen, "in use"}, "init", "--listen", st.Node.Listen)
	refused(t, ctx, b, 2, []string{"Bad Name"}, "init", "--name", "Bad Name", "--listen", "127.0.0.1:0")
	refused(t, ctx, b, 2, []string{"advertise"}, "init", "--advertise", "nowhere", "--listen", "127.0.0.1:0")

	refused(t, ctx, b, 2, []string{"listen", "99999"}, "init", "--listen", "127.0.0.1:99999")

	// A port that was free at init and is taken at the start.
	must(t, b.Make(ctx, "init"))
	must(t, b.Start(ctx))
	st, err = b.Client().Status(ctx, control.StatusRequest{})
	must(t, err)
	must(t, b.Stop(ctx))
	l, err := net.Listen("tcp", st.Node.Listen)
	must(t, err)
	refused(t, ctx, b, 1, []string{"in use"}, "daemon")
	l.Close()
	must(t, b.Start(ctx))
	lockstep(t, ctx, b, 0, "status")
}

// A root without its marker, or without itself, halts the folder; nothing is
// deleted anywhere.
func TestMissingRootHaltsAndDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		take, bring func(tree string) error
	}{
		{"no marker", func(tree string) error { return os.Rename(filepath.Join(tree, ".lockstep"), tree+".marker") },
			func(tree string) error { return os.Rename(tree+".marker", filepath.Join(tree, ".lockstep")) }},
		{"no root", func(tree string) error { return os.Rename(tree, tree+".away") },
			func(tree string) error { return os.Rename(tree+".away", tree) }},
		{"an empty directory in its place", func(tree string) error {
			if err := os.Rename(tree, tree+".away"); err != nil {
				return err
			}
			return os.Mkdir(tree, 0o755)
		}, func(tree string) error {
			if err := os.Remove(tree); err != nil {
				return err
			}
			return os.Rename(tree+".away", tree)
		}},
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, daemon running %v", tc.name, running), func(t *testing.T) {
				t.Parallel()
				ctx := within(t, 2*time.Minute)
				c := shared(t, ctx, 2)
				a, b := c.Nodes[0], c.Nodes[1]
				for i := range 20 {
					writeFile(t, b, fmt.Sprintf("d/%d", i), fmt.Append(nil, i))
				}
				everywhere(t, ctx, c, b)
				want := snapshot(t, b)
				if !running {
					must(t, b.Stop(ctx))
				}
				must(t, tc.take(b.Tree))
				if !running {
					must(t, b.Start(ctx))
				}
				must(t, harness.Until(ctx, "the folder to halt", func() error {
					f, err := b.Folder(ctx, folderName)
					if err == nil && (f.State != control.StateHalted || f.Error == "") {
						err = fmt.Errorf("state %s, error %q", f.State, f.Error)
					}
					return err
				}))
				lockstep(t, ctx, b, 5, "status", "--check")
				writeFile(t, a, "while halted", []byte("goes on"))
				lockstep(t, ctx, a, 0, "wait", folderName)
				now := snapshot(t, a)
				delete(now, "while halted")
				if d := harness.Diff(want, now); len(d) > 0 {
					t.Fatalf("the other node's files changed: %s", harness.Summary(d))
				}
				must(t, tc.bring(b.Tree))
				must(t, b.Stop(ctx))
				must(t, b.Start(ctx))
				everywhere(t, ctx, c, a)
			})
		}
	}
}
