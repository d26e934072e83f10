package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnderSystemd runs the units of `lockstep service print`, the system's and the
// user's, below a real systemd: ready, syncing, killed, hanging, failing, ended, stopped;
// as an unprivileged user, from a path with spaces, with a home of odd characters. The
// systemd is process 1 of namespaces of its own, over a copy-on-write view of this system.
func TestUnderSystemd(t *testing.T) {
	long(t)
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: namespaces with a systemd of their own need root")
	}
	for _, program := range []string{"/lib/systemd/systemd", "systemctl", "unshare", "setpriv", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: no %s here", program)
		}
	}
	group := ownCgroup(t)
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	must(t, os.Mkdir(in, 0o755))
	script, err := filepath.Abs("testdata/systemd/container.sh")
	must(t, err)
	run(t, "cp", "testdata/systemd/check.sh", in)
	run(t, "cp", binary, filepath.Join(in, "lockstep"))

	ctx := within(t, 5*time.Minute)
	cmd := exec.CommandContext(ctx, "bash", script, dir, group)
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	err = cmd.Run()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok && ee.ExitCode() == 77 {
		t.Skipf("SKIPPED: a systemd of its own cannot be had here:\n%s", log.String())
	}
	code, readErr := os.ReadFile(filepath.Join(in, "code"))
	said, _ := os.ReadFile(filepath.Join(in, "out"))
	if readErr != nil || strings.TrimSpace(string(code)) != "0" || !strings.Contains(string(said), "all well") {
		t.Fatalf("the check ended with %q, %v, %v, %v:\n%s\nsystemd:\n%s", code, readErr, err, context.Cause(ctx), said, log.String())
	}
	t.Logf("%s", said)
}

// ownCgroup makes a cgroup of the unified hierarchy for the test.
func ownCgroup(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		group := filepath.Join(root, fmt.Sprint("lockstep-test-", os.Getpid()))
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Skipf("SKIPPED: no cgroup can be made here: %v", err)
		}
		t.Cleanup(func() { removeCgroup(t, group) })
		return group
	}
	t.Skip("SKIPPED: no unified cgroup hierarchy here")
	return ""
}

// removeCgroup removes a cgroup and those that systemd made in it; what ran there has
// been killed, and the kernel may still be at it.
func removeCgroup(t *testing.T, group string) {
	var last error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var all []string
		_ = filepath.WalkDir(group, func(p string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				all = append(all, p)
			}
			return nil
		})
		last = nil
		for _, p := range slices.Backward(all) {
			last = errors.Join(last, os.Remove(p))
		}
		if last == nil {
			return
		}
	}
	t.Errorf("remove the test's cgroup: %v", last)
}
