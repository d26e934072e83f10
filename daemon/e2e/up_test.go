package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// user is a person at a machine of his own: a home directory and a shell.
type user struct {
	dir string
	env []string
}

func newUser(t *testing.T, name string) *user {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skipf("SKIPPED: no shell to paste a line into: %v", err)
	}
	top, err := os.MkdirTemp("", "ls-"+name+"-") // short: the control socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	bin := filepath.Join(top, "bin")
	u := &user{dir: filepath.Join(top, "u")}
	for _, d := range []string{bin, u.dir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(bin, "lockstep")); err != nil {
		t.Fatal(err)
	}
	u.env = []string{"HOME=" + u.dir, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	return u
}

func (u *user) shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Dir, cmd.Env = u.dir, u.env
	return cmd
}

// do runs a line to its end, and returns what it printed.
func (u *user) do(t *testing.T, ctx context.Context, want int, line string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := u.shell(ctx, line)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		t.Errorf("%s: %v, want exit %d\n%s%s", line, err, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// output is what a running command has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// stays runs a line that goes on, until stop or the test's end.
func (u *user) stays(t *testing.T, ctx context.Context, line string) (out *output, stop func()) {
	t.Helper()
	out, errs := new(output), new(output)
	// Not bound to ctx: at the test's end it is to stop in order.
	cmd := u.shell(context.WithoutCancel(ctx), line)
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop %q: %v\n%s%s", line, err, out, errs)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q ended: %v\n%s%s", line, err, out, errs)
		}
	})
	t.Cleanup(stop)
	return out, stop
}

// prints waits until a command has printed a line that begins so, and returns it.
func prints(t *testing.T, ctx context.Context, out *output, begin string) string {
	t.Helper()
	found := ""
	eventually(t, ctx, "a line that begins with "+begin, func() bool {
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, begin) && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(line)
			}
		}
		return found != ""
	})
	return found
}

func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s: %v", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// TestUpAndOneLine: one command here, the line that it prints there, and the files
// arrive; both may be repeated; config.toml renames a node at its next start.
func TestUpAndOneLine(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	here, there := newUser(t, "a"), newUser(t, "b")
	folder := filepath.Join(here.dir, "My Files")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(folder, "a.txt"), "hello")
	out, stop := here.stays(t, ctx, "lockstep up 'My Files' --node-name desk --listen 127.0.0.1:0")
	line := prints(t, ctx, out, "lockstep up --join ")
	if !strings.HasSuffix(line, " --name my-files ~/'My Files'") {
		t.Errorf("the line is %s", line)
	}
	prints(t, ctx, out, "my-files: all of it is here at revision 1: 1 file, 5 B")

	got, stopThere := there.stays(t, ctx, line+" --node-name laptop --listen 127.0.0.1:0")
	prints(t, ctx, got, "my-files: all of it is here at revision 1: 1 file, 5 B")
	if b, err := os.ReadFile(filepath.Join(there.dir, "My Files", "a.txt")); err != nil || string(b) != "hello" {
		t.Errorf("there arrived %q, %v", b, err)
	}
	there.do(t, ctx, 0, line) // pasted twice: no harm
	again, _ := here.do(t, ctx, 0, "lockstep up 'My Files'")
	if next := again[strings.Index(again, "lockstep up --join"):]; strings.Contains(next, line) {
		t.Errorf("the second line has the token of the first: %s", again)
	}
	_, errs := newUser(t, "c").do(t, ctx, 1, line)
	if !strings.Contains(errs, "used already") || !strings.Contains(errs, "lockstep invite") {
		t.Errorf("a third machine with the used token: %s", errs)
	}
	doctor(t, ctx, here, "laptop")
	doctor(t, ctx, there, "desk")

	// It comes back at another address, where nobody can dial it yet, so no log comes
	// to it; and the leader under another name.
	stopThere()
	write(filepath.Join(there.dir, ".local/share/lockstep/config.toml"), "listen = \""+freeAddress(t)+"\"\n")
	write(filepath.Join(folder, "b.txt"), "more")
	there.stays(t, ctx, "lockstep up")
	eventually(t, ctx, "a file at the node that has moved", func() bool {
		b, err := os.ReadFile(filepath.Join(there.dir, "My Files", "b.txt"))
		return err == nil && string(b) == "more"
	})
	stop()
	write(filepath.Join(here.dir, ".local/share/lockstep/config.toml"), "name = \"table\"\n")
	here.stays(t, ctx, "lockstep up --log-level warn")
	eventually(t, ctx, "the new name at the other node", func() bool {
		text, _ := there.do(t, ctx, 0, "lockstep node ls --json")
		return strings.Contains(text, `"table"`)
	})
}

// freeAddress is one that nobody listens at, most likely until it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// doctor wants nothing wrong, and the other node reached both ways.
func doctor(t *testing.T, ctx context.Context, u *user, other string) {
	t.Helper()
	text, _ := u.do(t, ctx, 0, "lockstep doctor --json")
	var rep control.DoctorReport
	if err := json.Unmarshal([]byte(text), &rep); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range rep.Findings {
		seen[f.Check+" "+f.Subject] = f.Level == control.LevelOK
	}
	if !rep.Running || !seen["reachability "+other] || !seen["clock "] || !seen["watching "] {
		t.Errorf("doctor says %s", text)
	}
}
