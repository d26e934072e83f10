package harness

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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// stopTimeout is how long a node may take to end after SIGTERM before it is killed
// and Stop fails.
const stopTimeout = 15 * time.Second

// Node is one node: its home, its tree, and its process while it runs.
type Node struct {
	Name string
	Home string
	// Tree is a directory of this node's own for the folder under test.
	Tree string

	cluster *Cluster
	proxy   *proxy // nil in a direct cluster
	pid     atomic.Int64

	mu   sync.Mutex // guards proc
	proc *process
	// CPU of the processes of this node that have ended.
	spent time.Duration
}

type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when Wait has returned
	err    error         // of Wait; read after exited
	log    *os.File
}

// Client talks to the node's daemon.
func (n *Node) Client() *control.Client { return control.NewClient(n.Home) }

// Run runs a lockstep command on this node's home, in its tree if that is there.
func (n *Node) Run(ctx context.Context, args ...string) (Result, error) {
	dir := n.Tree
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	return n.cluster.Run(ctx, dir, append([]string{"--home", n.Home}, args...)...)
}

// LogPath is the file with everything that the node's daemons wrote to stderr.
func (n *Node) LogPath() string { return filepath.Join(filepath.Dir(n.Home), "log") }

// Make makes the node's identity: args are `init` or `join TOKEN`, to which name
// and addresses are added.
func (n *Node) Make(ctx context.Context, args ...string) error {
	args = append(slices.Clone(args), "--name", n.Name, "--listen", "127.0.0.1:0")
	if n.proxy != nil {
		args = append(args, "--advertise", n.proxy.addr())
	}
	r, err := n.Run(ctx, args...)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("lockstep %s: exit %d: %s", args[0], r.Code, strings.TrimSpace(r.Stderr))
	}
	return nil
}

// Start starts the daemon and waits until it answers on its control socket.
func (n *Node) Start(ctx context.Context, env ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		return fmt.Errorf("start node %s: it runs", n.Name)
	}
	log, err := os.OpenFile(n.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(n.cluster.opts.Binary, "--home", n.Home, "daemon", "--log-level", n.cluster.opts.LogLevel)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = n.cluster.opts.Dir, append(n.cluster.env(), env...), log, log
	cmd.SysProcAttr = procAttr(n.cluster.opts.UID) // in a group of its own: a ^C at the terminal is for us, who then end it
	if err := cmd.Start(); err != nil {
		log.Close()
		return err
	}
	p := &process{cmd: cmd, exited: make(chan struct{}), log: log}
	go func() { // ends when the process does; Kill and Stop wait for it
		p.err = cmd.Wait()
		log.Close()
		close(p.exited)
	}()
	n.proc = p
	n.pid.Store(int64(cmd.Process.Pid))
	n.cluster.net.setPID(n.Name, cmd.Process.Pid)

	ctx, cancel := context.WithTimeout(ctx, n.cluster.opts.StartTimeout)
	defer cancel()
	err = n.awaitReady(ctx, p)
	if err != nil {
		n.end(p, os.Kill)
		return fmt.Errorf("start node %s: %w\n%s", n.Name, err, n.Tail(15))
	}
	return nil
}

func (n *Node) awaitReady(ctx context.Context, p *process) error {
	ended := errors.New("the daemon ended")
	err := Until(ctx, "the control socket", func() error {
		select {
		case <-p.exited:
			return nil
		default:
		}
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		st, err := n.Client().Status(one, control.StatusRequest{})
		if err != nil {
			return err
		}
		if st.Node.PID != 0 && st.Node.PID != p.cmd.Process.Pid {
			return fmt.Errorf("process %d answers instead", st.Node.PID)
		}
		if n.proxy != nil {
			n.proxy.setTarget(st.Node.Listen)
		}
		return nil
	})
	select {
	case <-p.exited:
		return fmt.Errorf("%w: %v", ended, p.err)
	default:
		return err
	}
}

// Running reports whether the daemon's process is there.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive()
}

func (n *Node) alive() bool {
	if n.proc == nil {
		return false
	}
	select {
	case <-n.proc.exited:
		return false
	default:
		return true
	}
}

// Stop ends the daemon as SIGTERM does, and fails where that does not end it
// cleanly in time.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.proc
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop node %s: %w", n.Name, err)
	}
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-p.exited:
		n.end(p, nil)
		if p.err != nil {
			return fmt.Errorf("stop node %s: %w\n%s", n.Name, p.err, n.Tail(15))
		}
		return nil
	case <-ctx.Done():
	case <-t.C:
	}
	n.end(p, os.Kill)
	return fmt.Errorf("stop node %s: did not end within %s of SIGTERM\n%s", n.Name, stopTimeout, n.Tail(15))
}

// Kill ends the daemon as kill -9 does. It returns when the process is gone.
func (n *Node) Kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		n.end(n.proc, os.Kill)
	}
	return nil
}

// end waits for p, after a signal if one is given, and books its CPU time.
func (n *Node) end(p *process, sig os.Signal) {
	if sig != nil {
		_ = p.cmd.Process.Signal(sig) // it may have ended by itself
	}
	<-p.exited
	if st := p.cmd.ProcessState; st != nil {
		n.spent += st.UserTime() + st.SystemTime()
	}
	n.proc = nil
	n.pid.Store(0)
	n.cluster.net.setPID(n.Name, 0)
}

// PID returns the daemon's process ID, 0 if it does not run.
func (n *Node) PID() int { return int(n.pid.Load()) }

// Tail returns the last lines of the node's log.
func (n *Node) Tail(lines int) string {
	b, err := os.ReadFile(n.LogPath())
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Usage is what a node's process uses.
type Usage struct {
	RSS, PeakRSS int64         // bytes, of the process that runs
	CPU          time.Duration // of all processes of this node so far
}

// Usage reads the process's own accounting. It is ErrUnsupported but on Linux.
func (n *Node) Usage() (Usage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive() {
		return Usage{CPU: n.spent}, nil
	}
	u, err := processUsage(n.proc.cmd.Process.Pid)
	u.CPU += n.spent
	return u, err
}

// Folder returns one folder's status.
func (n *Node) Folder(ctx context.Context, name string) (control.FolderStatus, error) {
	st, err := n.Client().Status(ctx, control.StatusRequest{})
	if err != nil {
		return control.FolderStatus{}, err
	}
	for _, f := range st.Folders {
		if f.Name == name {
			return f, nil
		}
	}
	return control.FolderStatus{}, fmt.Errorf("node %s syncs no folder %q", n.Name, name)
}

// Cut cuts the node off, both ways: what is under way and what is tried later.
func (n *Node) Cut(m CutMode) error {
	if n.proxy == nil {
		return fmt.Errorf("cut node %s: the cluster has no proxies: %w", n.Name, ErrUnsupported)
	}
	return n.cluster.net.cutOff(n.Name, m)
}

// Heal undoes Cut.
func (n *Node) Heal() { n.cluster.net.heal(n.Name) }

// Limit bounds the bytes a second on each connection to and from the node; 0 is no bound.
func (n *Node) Limit(bytesPerSecond int64) error { return n.cluster.net.limit(n.Name, bytesPerSecond) }

// WireIn returns the bytes that the proxies have carried to the node.
func (n *Node) WireIn() int64 { return n.cluster.net.carried(n.Name) }
