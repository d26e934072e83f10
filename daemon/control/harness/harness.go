// Package harness runs clusters of real Lockstep processes on one machine, and
// takes them apart: stops and kills nodes, cuts them off, slows their network.
// It looks at disks itself and never asks a daemon whether it did well. The
// end-to-end tests and `lockstep demo` use it, so it lives beside the control
// client, where both may import it.
//
// Everything it starts and makes is below one directory and ends with Close.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// ErrUnsupported is returned by what this system cannot do: cutting one node off
// needs to know which process a connection comes from, which only Linux tells.
var ErrUnsupported = errors.ErrUnsupported

// Options of New.
type Options struct {
	// Binary is the lockstep program.
	Binary string
	// Dir is an existing empty directory for homes, logs and trees.
	Dir string
	// Direct leaves the proxies out: nodes reach each other as they would without
	// the harness, which measurements need, but cannot be cut off or slowed.
	Direct bool
	// LogLevel of the daemons: "debug", "info", …; "" is info.
	LogLevel string
	// Env is added to each process's environment.
	Env []string
	// UID runs the processes as this user, where it is not 0 and we are root. The
	// caller sees to it that the binary can be executed by that user.
	UID uint32
	// StartTimeout bounds the start of a daemon; 0 is 30 s.
	StartTimeout time.Duration
}

// Cluster is a set of nodes. Its methods and those of its nodes are safe for
// concurrent use, except that one node is started, stopped or killed by one
// goroutine at a time.
type Cluster struct {
	opts Options
	net  *network
	// Nodes in the order of Add.
	Nodes []*Node
}

// New makes an empty cluster.
func New(o Options) (*Cluster, error) {
	if o.Binary == "" || !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("harness: want a binary and an absolute directory, have %q and %q", o.Binary, o.Dir)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	if o.UID != 0 {
		if err := os.Chown(o.Dir, int(o.UID), -1); err != nil {
			return nil, err
		}
	}
	return &Cluster{opts: o, net: newNetwork()}, nil
}

// Close kills what still runs and ends the proxies. The directory stays.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Kill())
	}
	errs = append(errs, c.net.close())
	return errors.Join(errs...)
}

// Stop ends every running node as SIGTERM does, the last added first.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for i := len(c.Nodes) - 1; i >= 0; i-- {
		errs = append(errs, c.Nodes[i].Stop(ctx))
	}
	return errors.Join(errs...)
}

// Add makes a node, by `init` for the first and by an invite of the first running
// node and `join` for the others, and starts it.
func (c *Cluster) Add(ctx context.Context, name string) (*Node, error) {
	n, err := c.New(name)
	if err != nil {
		return nil, err
	}
	args := []string{"init"}
	if via := c.running(); via != nil {
		inv, err := via.Client().Invite(ctx, control.InviteRequest{Role: "auto", TTL: time.Hour})
		if err != nil {
			return nil, fmt.Errorf("invite node %s: %w", name, err)
		}
		args = []string{"join", inv.Token}
	}
	if err := n.Make(ctx, args...); err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

// New makes the place for a node without an identity: Make and Start follow.
func (c *Cluster) New(name string) (*Node, error) {
	dir := filepath.Join(c.opts.Dir, name)
	n := &Node{Name: name, Home: filepath.Join(dir, "home"), Tree: filepath.Join(dir, "tree"), cluster: c}
	if err := os.MkdirAll(n.Tree, 0o755); err != nil {
		return nil, err
	}
	if err := c.Own(dir); err != nil {
		return nil, err
	}
	if !c.opts.Direct {
		var err error
		if n.proxy, err = c.net.listen(name); err != nil {
			return nil, err
		}
	}
	c.Nodes = append(c.Nodes, n)
	return n, nil
}

func (c *Cluster) running() *Node {
	for _, n := range c.Nodes {
		if n.Running() {
			return n
		}
	}
	return nil
}

// Share adds each node's tree as the folder name, the first node's first, so that
// the others join it.
func (c *Cluster) Share(ctx context.Context, name string) error {
	for _, n := range c.Nodes {
		if _, err := n.Client().FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(n.Tree), Name: name}); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// Leader returns the running node that the others call the leader, nil if there
// is none now.
func (c *Cluster) Leader(ctx context.Context) *Node {
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		st, err := n.Client().Status(ctx, control.StatusRequest{})
		if err != nil {
			continue
		}
		for _, m := range c.Nodes {
			if m.Name == st.Cluster.Leader && m.Running() {
				return m
			}
		}
	}
	return nil
}

// WaitVoters waits until every running node sees n voters online and a quorum.
func (c *Cluster) WaitVoters(ctx context.Context, n int) error {
	return Until(ctx, fmt.Sprintf("%d voters", n), func() error {
		for _, node := range c.Nodes {
			if !node.Running() {
				continue
			}
			st, err := node.Client().Status(ctx, control.StatusRequest{})
			if err != nil {
				return err
			}
			have := 0
			for _, m := range st.Cluster.Nodes {
				if m.Role == "voter" && m.Online {
					have++
				}
			}
			if have != n || !st.Cluster.HasQuorum || st.Cluster.Leader == "" {
				return fmt.Errorf("node %s sees %d voters online, quorum %v, leader %q", node.Name, have, st.Cluster.HasQuorum, st.Cluster.Leader)
			}
		}
		return nil
	})
}

// WaitEqual waits until the disks of nodes (all, if none are named) are equal. The
// daemons are not asked: the trees are walked, the last time after they were equal
// once, so that one that is still being written is not taken for done.
func (c *Cluster) WaitEqual(ctx context.Context, nodes ...*Node) error {
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	return Until(ctx, "equal disks", func() error {
		first, err := Snapshot(nodes[0].Tree)
		if err != nil {
			return err
		}
		for _, n := range nodes[1:] {
			t, err := Snapshot(n.Tree)
			if err != nil {
				return err
			}
			if d := Diff(first, t); len(d) > 0 {
				return fmt.Errorf("%s against %s: %s", nodes[0].Name, n.Name, Summary(d))
			}
		}
		again, err := Snapshot(nodes[0].Tree)
		if err != nil {
			return err
		}
		if d := Diff(first, again); len(d) > 0 {
			return fmt.Errorf("%s changed while it was read: %s", nodes[0].Name, Summary(d))
		}
		return nil
	})
}

// WaitTree waits until the disk of each node holds want. The nodes are looked at in
// turn, so the caller sees to it that nothing else changes them meanwhile.
func WaitTree(ctx context.Context, want Tree, nodes ...*Node) error {
	for _, n := range nodes {
		err := Until(ctx, "the disk of "+n.Name, func() error {
			t, err := Snapshot(n.Tree)
			if err != nil {
				return err
			}
			if d := Diff(want, t); len(d) > 0 {
				return errors.New(Summary(d))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Until tries f, more and more slowly, until it returns nil. When ctx ends first
// the error says what was waited for and what f said last.
func Until(ctx context.Context, what string, f func() error) error {
	pause := 5 * time.Millisecond
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; at last: %w", what, context.Cause(ctx), err)
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
}

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs the binary with arguments in dir, "" being the harness's directory.
// That it exits with another code than 0 is no error.
func (c *Cluster) Run(ctx context.Context, dir string, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, c.opts.Binary, args...)
	cmd.Dir = dir
	if dir == "" {
		cmd.Dir = c.opts.Dir
	}
	cmd.Env = c.env()
	cmd.SysProcAttr = procAttr(c.opts.UID)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errOut.String()}
	if ee, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		r.Code = ee.ExitCode()
		return r, nil
	}
	return r, err
}

// Own gives everything below a directory to Options.UID, if that is set.
func (c *Cluster) Own(dir string) error {
	if c.opts.UID == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(c.opts.UID), -1)
	})
}

// env is the environment of every process: ours without what would lead to
// another home, plus Options.Env.
func (c *Cluster) env() []string {
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := cutVar(kv); name == "LOCKSTEP_HOME" || name == "NOTIFY_SOCKET" {
			continue
		}
		env = append(env, kv)
	}
	return append(env, c.opts.Env...)
}

func cutVar(kv string) (name, value string, ok bool) {
	for i := 1; i < len(kv); i++ { // from 1: Windows has variables that begin with =
		if kv[i] == '=' {
			return kv[:i], kv[i+1:], true
		}
	}
	return kv, "", false
}
