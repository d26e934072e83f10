//go:build unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// nobody is an unprivileged user that every Unix has room for.
const nobody = 65534

// blocked waits until the node lists path as blocked, and returns the reason.
func blocked(t *testing.T, n *harness.Node, path string) (reason string) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	must(t, harness.Until(ctx, path+" to be listed as blocked", func() error {
		f, err := n.Folder(ctx, folderName)
		if err != nil {
			return err
		}
		for _, b := range f.Blocked {
			if b.Path == path {
				reason = b.Reason
				return nil
			}
		}
		return fmt.Errorf("blocked: %+v", f.Blocked)
	}))
	return reason
}

// What cannot be read is blocked with its reason, `wait` fails at once and lists
// it, and all the rest goes on. As root, the daemons run as another user, for root
// can read everything.
func TestUnreadableIsBlocked(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	var asNobody func(*harness.Options) = func(*harness.Options) {}
	if os.Getuid() == 0 {
		must(t, os.Chmod(filepath.Dir(binary), 0o755))
		asNobody = func(o *harness.Options) {
			must(t, os.Chmod(o.Dir, 0o755))
			o.UID = nobody
		}
	}
	c := shared(t, ctx, 2, asNobody)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "secret", []byte("nobody reads this"))
	must(t, os.Chmod(at(a, "secret"), 0))
	writeFile(t, a, "closed/in", []byte("nor this"))
	must(t, os.Chmod(at(a, "closed"), 0))
	writeFile(t, a, "open", []byte("but this"))
	must(t, c.Own(at(a, "secret")))
	must(t, os.Lchown(at(a, "closed"), ownerOf(t, a.Tree), -1))
	must(t, c.Own(at(a, "open")))

	for _, p := range []string{"secret", "closed"} {
		if r := blocked(t, a, p); !strings.Contains(r, "permission denied") {
			t.Errorf("%s: reason %q", p, r)
		}
	}
	begin := time.Now()
	r := lockstep(t, ctx, a, 1, "wait", folderName, "--timeout", "30s")
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("wait took %s to fail on what time cannot mend", d)
	}
	if !strings.Contains(r.Stderr, "secret: ") || !strings.Contains(r.Stderr, "closed: ") {
		t.Errorf("wait does not list the paths: %q", r.Stderr)
	}
	lockstep(t, ctx, a, 5, "status", "--check")
	must(t, harness.Until(ctx, "the rest to arrive", func() error {
		got, err := os.ReadFile(at(b, "open"))
		if err == nil && string(got) != "but this" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}))
	for _, p := range []string{"secret", "closed/in"} {
		if _, err := os.Lstat(at(b, p)); err == nil {
			t.Errorf("%s arrived", p)
		}
	}
	// Mended, it arrives.
	must(t, os.Chmod(at(a, "secret"), 0o600))
	must(t, os.Chmod(at(a, "closed"), 0o700))
	must(t, c.Own(at(a, "closed")))
	lockstep(t, ctx, a, 0, "wait", folderName, "--timeout", "30s")
	everywhere(t, ctx, c, a)
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	st, err := os.Lstat(path)
	must(t, err)
	return int(st.Sys().(*syscall.Stat_t).Uid)
}

// Kinds that are never synced are listed, `wait` only warns of them, and nothing
// waits for them.
func TestFIFOIsBlocked(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := shared(t, ctx, 2)
	a := c.Nodes[0]
	must(t, syscall.Mkfifo(at(a, "pipe"), 0o644))
	writeFile(t, a, "file", []byte("1"))
	if r := blocked(t, a, "pipe"); r == "" {
		t.Error("no reason is given")
	}
	r := lockstep(t, ctx, a, 0, "wait", folderName, "--all", "--timeout", "30s")
	if !strings.Contains(r.Stderr, "pipe") {
		t.Errorf("wait does not warn: %q", r.Stderr)
	}
	want := snapshot(t, a)
	delete(want, "pipe")
	must(t, harness.WaitTree(ctx, want, c.Nodes[1]))
}

// `wait --all` fails at once, and names the node, where another node cannot bring a
// path of the revision to its disk.
func TestWaitAllTellsOfAnotherNodesBlock(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	must(t, syscall.Mkfifo(at(b, "name"), 0o644))
	blocked(t, b, "name")
	writeFile(t, a, "name", []byte("a file in the FIFO's place"))
	refused(t, ctx, a, 1, []string{folderName, "node b", "a path of it"}, "wait", folderName, "--all", "--timeout", "50s")
	must(t, os.Remove(at(b, "name")))
	lockstep(t, ctx, b, 0, "wait", folderName)
	must(t, harness.Until(ctx, "b to say so", func() error {
		r, err := a.Run(ctx, "wait", folderName, "--all")
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
		return err
	}))
	everywhere(t, ctx, c, a)
}
