// Package demo shows on three real nodes what Lockstep promises, and checks each
// step by comparing the disks.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// stepTimeout bounds one step. The whole takes some ten seconds; a step that takes
// this long has failed.
const stepTimeout = 60 * time.Second

// folderName is the folder that the three nodes share.
const folderName = "demo"

// Options of Run.
type Options struct {
	// Dir is copied and synced; "" is a small tree of the demo's own. It is only read.
	Dir string
	// Keep leaves the nodes running, after the checks, until ctx ends.
	Keep bool
	// JSON prints one object a step instead of text.
	JSON   bool
	Out    io.Writer
	Colour bool
}

// run is one demonstration.
type run struct {
	opts    Options
	dir     string // ours, removed at the end
	cluster *harness.Cluster
	a, b, c *harness.Node
	begin   time.Time

	want     harness.Tree // what every disk has to hold now
	original harness.Tree // what it held after the first sync
	firstRev uint64       // the revision of original
	place    places
	// rolledFrom is what the disks held before the last rollback.
	rolledFrom harness.Tree
}

type step struct {
	title string
	do    func(*run, context.Context) (detail string, err error)
}

var steps = []step{
	{"three daemons, each with its own home, joined over TLS", (*run).start},
	{"the tree is on all three disks", (*run).sync},
	{"an edit on b", (*run).edit},
	{"a delete on c", (*run).remove},
	{"a directory renamed on a", (*run).rename},
	{"c cut off, one file edited on a and on c, c back: both sides kept", (*run).conflict},
	{"the whole folder rolled back to its first state", (*run).rollback},
	{"the rollback undone by another", (*run).undo},
	{"c killed with -9 in mid-transfer, and back", (*run).kill},
	{"one history on all three nodes", (*run).history},
}

// Run runs the demonstration: nil only if every check held.
func Run(ctx context.Context, o Options) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "lockstep-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	r := &run{opts: o, dir: dir, begin: time.Now()}
	defer func() { err = errors.Join(err, removeAll(dir)) }()
	r.cluster, err = harness.New(harness.Options{Binary: exe, Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.cluster.Close()) }()

	for i, s := range steps {
		if err := r.step(ctx, i, s); err != nil {
			return err
		}
	}
	if o.Keep {
		r.say("\nall checks held. The nodes run until you press ^C; to look at one:\n")
		for _, n := range r.cluster.Nodes {
			r.say("  lockstep --home %s status      files in %s\n", n.Home, n.Tree)
		}
		<-ctx.Done()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	if err := r.cluster.Stop(stop); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if !o.Keep {
		r.say("\nall %d checks held, in %s\n", len(steps), took(r.begin))
	}
	return nil
}

func (r *run) step(ctx context.Context, i int, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	begin := time.Now()
	r.say("%2d  %s\n", i+1, s.title)
	detail, err := s.do(r, ctx)
	if r.opts.JSON {
		if jerr := r.line(s.title, detail, err, time.Since(begin)); jerr != nil {
			return jerr
		}
	}
	if err == nil {
		r.say("    %s  %s  (%s)\n", r.paint("\x1b[32m", "ok"), detail, took(begin))
		return nil
	}
	r.say("    %s\n", r.paint("\x1b[31m", "FAILED"))
	for _, n := range r.cluster.Nodes {
		if tail := n.Tail(8); tail != "" {
			r.say("    the log of %s ends with:\n      %s\n", n.Name, strings.ReplaceAll(tail, "\n", "\n      "))
		}
	}
	return fmt.Errorf("demo: step %d, %s: %w", i+1, s.title, err)
}

func (r *run) line(title, detail string, err error, d time.Duration) error {
	v := struct {
		Step    string  `json:"step"`
		OK      bool    `json:"ok"`
		Seconds float64 `json:"seconds"`
		Detail  string  `json:"detail,omitempty"`
		Error   string  `json:"error,omitempty"`
	}{Step: title, OK: err == nil, Seconds: d.Seconds(), Detail: detail}
	if err != nil {
		v.Error = err.Error()
	}
	return json.NewEncoder(r.opts.Out).Encode(v)
}

// say prints to people. That the reader has gone must not end the checks.
func (r *run) say(format string, args ...any) {
	if !r.opts.JSON {
		fmt.Fprintf(r.opts.Out, format, args...)
	}
}

func (r *run) note(format string, args ...any) {
	r.say("    "+format+"\n", args...)
}

func (r *run) paint(colour, s string) string {
	if !r.opts.Colour {
		return s
	}
	return colour + s + "\x1b[0m"
}

// command runs a lockstep command on a node as a user would, and shows it.
func (r *run) command(ctx context.Context, n *harness.Node, args ...string) (harness.Result, error) {
	r.note("%s$ lockstep %s", n.Name, strings.Join(args, " "))
	res, err := n.Run(ctx, args...)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("lockstep %s: exit %d: %s", args[0], res.Code, strings.TrimSpace(res.Stderr))
	}
	return res, err
}

// everywhere waits until all three disks hold r.want, and says how long that took.
func (r *run) everywhere(ctx context.Context, begin time.Time) (string, error) {
	if err := harness.WaitTree(ctx, r.want, r.cluster.Nodes...); err != nil {
		return "", err
	}
	return fmt.Sprintf("on all three disks after %s", took(begin)), nil
}

func took(begin time.Time) string {
	d := time.Since(begin)
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// removeAll removes our own directory, read-only parts of it too.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) // what this misses RemoveAll reports
		}
		return nil
	})
	return os.RemoveAll(dir)
}
