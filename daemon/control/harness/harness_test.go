package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSnapshotSeesEachDifference(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, base, "f", "one")
	write(t, base, "d/g", "two")
	must(t, os.Mkdir(filepath.Join(base, "empty"), 0o755))
	must(t, os.Symlink("nowhere", filepath.Join(base, "l")))
	write(t, base, ".lockstep/folder", "ours")
	write(t, base, "d/.lockstep", "the user's: only the root's is ours")

	a, err := Snapshot(base)
	must(t, err)
	if got := a.Find(func(string, Entry) bool { return true }); !slices.Equal(got, []string{"d", "d/.lockstep", "d/g", "empty", "f", "l"}) {
		t.Errorf("paths %q", got)
	}
	for name, change := range map[string]func(root string) error{
		"content, same size and mtime": func(r string) error {
			return os.WriteFile(filepath.Join(r, "f"), []byte("eno"), 0o644)
		},
		"mode": func(r string) error { return os.Chmod(filepath.Join(r, "f"), 0o600) },
		"target": func(r string) error {
			os.Remove(filepath.Join(r, "l"))
			return os.Symlink("else", filepath.Join(r, "l"))
		},
		"mtime": func(r string) error {
			return os.Chtimes(filepath.Join(r, "d/g"), time.Unix(5, 7), time.Unix(5, 7))
		},
		"missing": func(r string) error { return os.Remove(filepath.Join(r, "empty")) },
		"extra":   func(r string) error { return os.Mkdir(filepath.Join(r, "new"), 0o755) },
		"kind":    func(r string) error { os.Remove(filepath.Join(r, "f")); return os.Mkdir(filepath.Join(r, "f"), 0o755) },
	} {
		root := filepath.Join(t.TempDir(), "copy")
		if left, err := CopyTree(root, base); err != nil || len(left) > 0 {
			t.Fatalf("copy: %v, left %q", err, left)
		}
		same, err := Snapshot(root)
		must(t, err)
		delete(same, "d/.lockstep")
		ours := Tree{}
		for p, e := range a {
			if p != "d/.lockstep" {
				ours[p] = e
			}
		}
		if d := Diff(ours, same); len(d) > 0 {
			t.Fatalf("the copy differs: %q", d)
		}
		must(t, change(root))
		if name == "content, same size and mtime" {
			st, err := os.Lstat(filepath.Join(base, "f"))
			must(t, err)
			must(t, os.Chtimes(filepath.Join(root, "f"), st.ModTime(), st.ModTime()))
		}
		b, err := Snapshot(root)
		must(t, err)
		delete(b, "d/.lockstep")
		if d := Diff(ours, b); len(d) != 1 {
			t.Errorf("%s: got %q", name, d)
		}
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	j := NewJournal()
	must(t, j.Write(root, "a/x", []byte("1"), true))
	must(t, j.Write(root, "a/x", []byte("2"), false))
	must(t, j.Write(root, "y", []byte("3"), false))
	must(t, j.Remove(root, "y"))
	check := func(want string) {
		t.Helper()
		tree, err := Snapshot(root)
		must(t, err)
		if got := strings.Join(j.Check(tree), ","); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("")
	write(t, root, "a/x", "1")
	check("older version")
	write(t, root, "a/x", "else")
	check("nobody wrote")
	must(t, os.Remove(filepath.Join(root, "a/x")))
	check("lost")
	write(t, root, "a/x", "2")
	write(t, root, "y", "3")
	check("is back")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	u, err := processUsage(os.Getpid())
	if runtime.GOOS != "linux" {
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
		return
	}
	if err != nil || u.RSS <= 0 || u.PeakRSS < u.RSS {
		t.Errorf("got %+v, %v", u, err)
	}
}

// echoNode is a proxied server that sends back what it gets.
func echoNode(t *testing.T, n *network, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	p, err := n.listen(name)
	must(t, err)
	p.setTarget(l.Addr().String())
	return p.addr()
}

func echo(c net.Conn, wait time.Duration) error {
	c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	var buf [4]byte
	_, err := io.ReadFull(c, buf[:])
	return err
}

func TestCutAndHeal(t *testing.T) {
	if !canTellProcesses {
		t.Skip("SKIPPED: cutting nodes off needs /proc, to tell which process holds a connection")
	}
	n := newNetwork()
	defer n.close()
	addr := echoNode(t, n, "b")
	n.setPID("a", os.Getpid()) // we are node a; node b is only a listener

	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	old := dial()
	must(t, echo(old, 5*time.Second))

	for _, node := range []string{"a", "b"} { // outgoing of a, incoming of b
		must(t, n.cutOff(node, Stall))
		if err := echo(old, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut %s: an open connection: %v", node, err)
		}
		if err := echo(dial(), 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut %s: a new connection: %v", node, err)
		}
		must(t, n.cutOff("c", Reset)) // of no concern to a and b
		n.heal(node)
		old.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(old, make([]byte, 4)); err != nil { // the ping of before arrives
			t.Errorf("healed %s: the open connection: %v", node, err)
		}
		must(t, echo(old, 5*time.Second))
	}

	must(t, n.cutOff("a", Reset))
	if err := echo(old, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reset: an open connection: %v", err)
	}
	if err := echo(dial(), 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reset: a new connection: %v", err)
	}
	n.heal("a")
	must(t, echo(dial(), 5*time.Second))

	n.setPID("a", 0)
	must(t, n.cutOff("a", Reset)) // we are no node any more
	must(t, echo(dial(), 5*time.Second))
}

func TestLimit(t *testing.T) {
	if !canTellProcesses {
		t.Skip("SKIPPED: cutting nodes off needs /proc, to tell which process holds a connection")
	}
	n := newNetwork()
	defer n.close()
	addr := echoNode(t, n, "b")
	must(t, n.limit("b", 1<<20))
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	begin := time.Now()
	go c.Write(bytes.Repeat([]byte{1}, 200<<10))
	if _, err := io.ReadFull(c, make([]byte, 200<<10)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 150*time.Millisecond {
		t.Errorf("200 KiB at 1 MiB/s took %s", d)
	}
	if got := n.carried("b"); got != 200<<10 {
		t.Errorf("carried %d bytes", got)
	}
}

func TestUntilSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := Until(ctx, "the sun", func() error { return errors.New("it is night") })
	if err == nil || !strings.Contains(err.Error(), "the sun") || !strings.Contains(err.Error(), "it is night") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, root, p, s string) {
	t.Helper()
	full := filepath.Join(root, p)
	must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	must(t, os.WriteFile(full, []byte(s), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
