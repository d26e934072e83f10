package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// usage is what processes used so far.
type usage struct {
	cpu  time.Duration
	rss  int64 // now, bytes
	peak int64 // bytes
}

// tool is one of the compared programs.
type tool interface {
	// name is how it is asked for and shown.
	name() string
	// missing says why it cannot be run here, "" if it can.
	missing() string
	// start makes n empty roots below dir, and whatever keeps them equal. dir is empty,
	// exists, and is removed after session.close.
	start(ctx context.Context, b *bench, dir string, n int) (session, error)
}

// session is a tool with its roots, of which the first is written to.
type session interface {
	// roots are the directories to be kept equal.
	roots() []string
	// push carries what changed in the first root to the others, durably, for a tool that
	// has to be run for that; paths are what changed, none for everything. A tool that
	// watches returns false at once.
	push(ctx context.Context, paths ...string) (ran bool, err error)
	// used is the CPU time and peak RSS of each node's processes so far. A tool that is run
	// has one node.
	used() []usage
	leaves() leave
	close() error
}

// restarter is a session whose nodes can be ended and started.
type restarter interface {
	stop(ctx context.Context, node int) error
	// start returns as soon as the process is started.
	start(ctx context.Context, node int) error
}

// reverter is a session whose tool can bring the first root back to a state it had.
type reverter interface {
	// keep remembers the present state.
	keep(ctx context.Context, name string) error
	// revert brings it back, durably where the tool has to be run for that.
	revert(ctx context.Context, name string) (ran bool, err error)
}

// sender tells how many bytes the first node sent. It is the tool's own count, the one
// figure that is asked of a tool: the loopback device counts all nodes together.
type sender interface {
	sent(ctx context.Context) (int64, error)
}

// allTools in the order of the table.
func allTools() []tool {
	return []tool{cpTool{}, lockstepTool{}, rsyncTool{}, unisonTool{}, syncthingTool{}, resticTool{}, gitTool{}}
}

// installed says why a program is missing.
func installed(names ...string) string {
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			return n + " is not installed"
		}
	}
	return ""
}

// commands runs a tool's commands one after the other or at once, and counts what they
// use, their descendants included. The zero value is ready; safe for concurrent use.
type commands struct {
	mu    sync.Mutex // guards total
	total usage
}

func (c *commands) run(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	apart(cmd)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	stop, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- sample(cmd.Process.Pid, stop) }() // ends by stop
	err := cmd.Wait()
	close(stop)
	c.mu.Lock()
	c.total.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.total.peak = max(c.total.peak, <-peak)
	c.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLine(out.String()))
	}
	return nil
}

// sample looks each 10 ms at the peak RSS of a process and its descendants until stop is
// closed, and returns the largest. (What wait reports is no use: a process begins with the
// peak of the one that started it, us.)
func sample(pid int, stop <-chan struct{}) (peak int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return peak
		case <-tick.C:
			for _, p := range descendants(pid) {
				if u, err := procUsage(p); err == nil {
					peak = max(peak, u.peak)
				}
			}
		}
	}
}

// sync writes the filesystem that holds dir back, as a command, so that it is counted.
func (c *commands) sync(ctx context.Context, dir string) error {
	return c.run(ctx, "", nil, "sync", "-f", dir)
}

func (c *commands) usage() usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// run runs a command that is not measured.
func run(args ...string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		path = filepath.Join("/sbin", args[0]) // not in every root's PATH
	}
	if out, err := exec.Command(path, args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// plain is the part of a session that all one-shot tools share.
type plain struct {
	commands
	dirs []string
}

func newPlain(dir string, n int) (*plain, error) {
	p := &plain{}
	for i := range n {
		root := filepath.Join(dir, nodeName(i))
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, err
		}
		p.dirs = append(p.dirs, root)
	}
	return p, nil
}

func (p *plain) roots() []string { return p.dirs }
func (p *plain) used() []usage   { return []usage{p.usage()} }
func (p *plain) leaves() leave   { return leave{} }
func (p *plain) close() error    { return nil }

func (p *plain) push(context.Context, ...string) (bool, error) { return true, errNotApplicable }

// errNotApplicable is returned by a session for what its tool does not do.
var errNotApplicable = errors.New("not what this tool does")

func nodeName(i int) string { return string(rune('a' + i)) }

// daemon is a process of a tool that stays.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startDaemon starts args; what it writes goes to a file log in dir.
func startDaemon(dir, log string, env []string, args ...string) (*daemon, error) {
	f, err := os.OpenFile(filepath.Join(dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	d := &daemon{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	d.cmd.Dir, d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = dir, append(os.Environ(), env...), f, f
	apart(d.cmd)
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	go func() { // ends with the process, which end waits for
		_ = d.cmd.Wait() // how it ended is nobody's matter: it is ended by a signal
		f.Close()
		close(d.done)
	}()
	return d, nil
}

// usage of the process and its descendants, those included that it has waited for: the
// peak is the largest process's.
func (d *daemon) usage() (sum usage) {
	for _, pid := range descendants(d.cmd.Process.Pid) {
		u, err := procUsage(pid)
		if err != nil {
			continue // it has ended
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
		sum.peak = max(sum.peak, u.peak)
	}
	return sum
}

// end asks the process to end, and kills it after a while.
func (d *daemon) end() {
	if d == nil {
		return
	}
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		killAll(d.cmd)
		<-d.done
	}
}

// freePort is a TCP port that nobody uses now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// answers waits until something listens on a port.
func answers(ctx context.Context, port int) error {
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			return c.Close()
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause sleeps, or returns the reason why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
