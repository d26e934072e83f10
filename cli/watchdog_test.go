package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

// TestWatchdog: systemd is told that the node lives while it answers, and not while
// it does not.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, sock := notifySocket(t)
	w.env["NOTIFY_SOCKET"], w.env["WATCHDOG_USEC"] = sock, "30000"
	if err := os.WriteFile(filepath.Join(w.env["LOCKSTEP_HOME"], "node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	answer := make(chan error)
	w.fake.OnStatus = func(control.StatusRequest) (control.Status, error) {
		asked <- struct{}{}
		return control.Status{}, <-answer
	}
	w.Node.Run = func(ctx context.Context, o node.RunOptions) error {
		o.Ready("192.0.2.1:1")
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- Main(ctx, w.Deps, []string{"daemon"}) }()
	told := func() string {
		buf := make([]byte, 64)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	if got := told(); got != "READY=1" {
		t.Errorf("first told %q", got)
	}
	for range 2 {
		<-asked
		answer <- nil
		if got := told(); got != "WATCHDOG=1" {
			t.Errorf("a node that answers: told %q", got)
		}
	}
	for range 3 { // it does not answer: the next thing that systemd hears is the end
		<-asked
		answer <- errors.New("hangs")
	}
	<-asked
	cancel()
	answer <- errors.New("hangs")
	if got := told(); got != "STOPPING=1" {
		t.Errorf("a node that hangs: told %q", got)
	}
	if code := <-done; code != 0 || !strings.Contains(w.err.String(), "systemd was not told that the node lives") {
		t.Errorf("exit %d, stderr %s", code, w.err.String())
	}
}

// notifySocket listens as systemd does.
func notifySocket(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ls") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	sock := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	if err != nil {
		t.Skipf("SKIPPED: no Unix datagram sockets on this system: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l, sock
}
