package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// What needs a commit says so with exit code 4 while there is no quorum, and what
// it says of what will happen is true.
func TestCommandsWithoutQuorum(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	c := shared(t, ctx, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "x", []byte("1"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	token := func() string { return strings.TrimSpace(lockstep(t, ctx, a, 0, "invite").Stdout) }
	early, late := token(), token()
	d, err := c.New("d")
	must(t, err)
	e, err := c.New("e")
	must(t, err)
	must(t, b.Kill())
	must(t, c.Nodes[2].Kill())

	// The leader has not noticed yet: the admission is proposed, and stays undecided.
	r := lockstep(t, ctx, d, 4, "join", early, "--name", "d", "--listen", "127.0.0.1:0")
	if strings.Contains(r.Stderr, "nothing was changed") == strings.Contains(r.Stderr, "becomes a member") {
		t.Errorf("join does not say what will happen: %q", r.Stderr)
	}
	// Now it has: nothing is proposed.
	refused(t, ctx, e, 4, []string{"no quorum", "still good"}, "join", late, "--name", "e", "--listen", "127.0.0.1:0")
	other := filepath.Join(filepath.Dir(a.Tree), "other")
	must(t, os.Mkdir(other, 0o755))
	for _, args := range [][]string{
		{"folder", "add", other}, {"invite"}, {"folder", "rm", folderName, "--everywhere"}, {"rollback", folderName + "@1"},
		{"status", "--linearizable"},
	} {
		refused(t, ctx, a, 4, []string{"commits need", "nothing was done"}, args...)
	}

	must(t, b.Start(ctx))
	lockstep(t, ctx, a, 0, "wait", folderName, "--timeout", "30s")
	lockstep(t, ctx, a, 0, "status", "--linearizable") // all that was queued is committed by now
	list, err := a.Client().Folders(ctx)
	must(t, err)
	if len(list) != 1 || list[0].Name != folderName {
		t.Errorf("folders %+v: a refused command was carried out", list)
	}
	names := func() (out []string) {
		nodes, err := a.Client().Nodes(ctx)
		must(t, err)
		for _, n := range nodes {
			out = append(out, n.Name)
		}
		return out
	}
	for _, n := range names() {
		if n == "e" {
			t.Error("a refused join was carried out")
		}
	}
	// Both tokens are good for who has used them.
	for n, tok := range map[*harness.Node]string{d: early, e: late} {
		lockstep(t, ctx, n, 0, "join", tok, "--name", n.Name, "--listen", "127.0.0.1:0")
		must(t, n.Start(ctx))
		lockstep(t, ctx, n, 0, "status", "--linearizable")
	}
	if got := strings.Join(names(), " "); got != "a b c d e" {
		t.Errorf("members %s", got)
	}
}
