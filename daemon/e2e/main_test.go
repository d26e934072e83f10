package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// folderName is the folder that test clusters share.
const folderName = "docs"

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if binary = os.Getenv("LOCKSTEP_BINARY"); binary != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "lockstep-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "lockstep")
		if out, err := exec.Command("go", "build", "-o", binary, "../../cli/lockstep").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build lockstep: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// long skips, loudly, what takes minutes or root.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: a long test; set LOCKSTEP_LONG=1 to run it")
	}
}

// envInt returns a number from the environment.
func envInt(t *testing.T, name string, def int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number", name, s)
	}
	return n
}

// within is the context of a test that may take so long.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// newCluster makes an empty cluster that ends with the test. When the test fails,
// the logs' ends are shown.
func newCluster(t *testing.T, change ...func(*harness.Options)) *harness.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockstep-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	o := harness.Options{Binary: binary, Dir: dir, LogLevel: os.Getenv("LOCKSTEP_LOG")}
	for _, f := range change {
		f(&o)
	}
	c, err := harness.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("the log of %s ends with:\n%s", n.Name, n.Tail(30))
			}
			if keep := os.Getenv("LOCKSTEP_KEEP"); keep != "" {
				to := filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "_"))
				if err := os.Rename(dir, to); err == nil {
					t.Logf("kept in %s", to)
					return
				}
			}
		}
		if err := exec.Command("chmod", "-R", "u+rwX", dir).Run(); err != nil {
			t.Logf("chmod %s: %v", dir, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return c
}

// shared returns a cluster of n nodes a, b, c … that share their trees, with three
// voters where there are three.
func shared(t *testing.T, ctx context.Context, n int, change ...func(*harness.Options)) *harness.Cluster {
	t.Helper()
	c := newCluster(t, change...)
	for i := range n {
		if _, err := c.Add(ctx, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	if n >= 3 {
		must(t, c.WaitVoters(ctx, 3))
	}
	must(t, c.Share(ctx, folderName))
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeFile writes below a node's tree, as a user's program does.
func writeFile(t *testing.T, n *harness.Node, path string, content []byte) {
	t.Helper()
	full := at(n, path)
	must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	must(t, os.WriteFile(full, content, 0o644))
}

func at(n *harness.Node, path string) string { return filepath.Join(n.Tree, filepath.FromSlash(path)) }

// snapshot walks a node's tree.
func snapshot(t *testing.T, n *harness.Node) harness.Tree {
	t.Helper()
	tree, err := harness.Snapshot(n.Tree)
	must(t, err)
	return tree
}

// everywhere waits until all disks hold what n's disk holds now.
func everywhere(t *testing.T, ctx context.Context, c *harness.Cluster, n *harness.Node) {
	t.Helper()
	must(t, harness.WaitTree(ctx, snapshot(t, n), c.Nodes...))
}

// settled waits until each running node's disk is at one head with nothing left
// to do, and returns it. What status says is of use for waiting only; what is
// checked are the disks.
func settled(t *testing.T, ctx context.Context, c *harness.Cluster) (head control.FolderStatus) {
	t.Helper()
	must(t, harness.Until(ctx, "one head everywhere", func() error {
		head = control.FolderStatus{}
		for _, n := range c.Nodes {
			f, err := n.Folder(ctx, folderName)
			if err != nil {
				return err
			}
			if head.Name == "" {
				head = f
			}
			if f.HeadRevision != head.HeadRevision || f.AppliedRevision != f.HeadRevision || f.LocalChanges+f.PendingFiles != 0 {
				return fmt.Errorf("%s: head %d, on disk %d, local %d, pending %d; %s's head is %d", n.Name, f.HeadRevision,
					f.AppliedRevision, f.LocalChanges, f.PendingFiles, c.Nodes[0].Name, head.HeadRevision)
			}
			if f.HistoryHash != head.HistoryHash {
				return fmt.Errorf("history hash %s on %s, %s on %s", head.HistoryHash, c.Nodes[0].Name, f.HistoryHash, n.Name)
			}
		}
		return nil
	}))
	return head
}

// lockstep runs a command on a node and checks its exit code.
func lockstep(t *testing.T, ctx context.Context, n *harness.Node, code int, args ...string) harness.Result {
	t.Helper()
	r, err := n.Run(ctx, args...)
	if err != nil {
		t.Fatalf("lockstep %q: %v", args, err)
	}
	if r.Code != code {
		t.Fatalf("lockstep %q: exit %d, want %d\nstdout: %s\nstderr: %s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// conflicts lists a node's conflicts.
func conflicts(t *testing.T, ctx context.Context, n *harness.Node, args ...string) []control.Conflict {
	t.Helper()
	return decode[[]control.Conflict](t, lockstep(t, ctx, n, 0, append([]string{"conflicts", "ls", "--json"}, args...)...).Stdout)
}

// versions lists a path's versions, newest first.
func versions(t *testing.T, ctx context.Context, n *harness.Node, path string) []control.LogVersion {
	t.Helper()
	return decode[[]control.LogVersion](t, lockstep(t, ctx, n, 0, "log", folderName+":"+path, "--json").Stdout)
}

func decode[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("decode %q: %v", s, err)
	}
	return v
}

// hexSum is how a content is shown by `log --json`.
func hexSum(content []byte) string { return fmt.Sprintf("%x", harness.Sum(content)) }
