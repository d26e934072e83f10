// Command bench compares Lockstep with the tools that people use for the same: it runs
// each workload with each tool that is installed, in fresh directories, in turns, and
// prints medians beside the floor, cp -a and sync.
//
//	go run ./daemon/bench [-runs 5] [-workloads W1,W3] [-tools cp,lockstep] [-dir DIR] [-json FILE]
//
// How it judges: by the disks, never by asking a tool. What a root has to hold is known
// from the data before the run. While a tool works, one lstat each 2 ms looks at the first
// path that is not right yet (see watch); walking trees would be measured too. When all
// has been seen, and the tool has become quiet, the whole trees are compared: kinds, modes, contents,
// mtimes of files. The time counted is the newest change time (ctime) of what is in the
// equal tree: nothing in it has changed since, so it was equal then (see verify). For tools
// that are run for each change, rsync and the like, the time ends when they and `sync -f`
// of the filesystem have ended.
//
// As root it runs in namespaces of its own: the loopback device counts the bytes of this
// run alone, and processes and mounts end with it, however it ends. The runs are on an
// ext4 with a journal, in a sparse file below -dir. Otherwise it says what it leaves out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// insideEnv tells the program run again that it is inside its namespaces: it is the
// directory that the one outside has made, and removes.
const insideEnv = "LOCKSTEP_BENCH_INSIDE"

func main() {
	if err := mainErr(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	runs             int
	workloads, tools string
	dir, json        string
	limit            time.Duration
	scale            float64
	binary           string
	image            int64
}

func parse(args []string) (o options, err error) {
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.IntVar(&o.runs, "runs", 5, "runs of each tool and workload")
	fl.StringVar(&o.workloads, "workloads", "", "W1,W3,…; all by default")
	fl.StringVar(&o.tools, "tools", "", "cp,lockstep,rsync,unison,syncthing,restic,git; those installed by default")
	fl.StringVar(&o.dir, "dir", os.TempDir(), "the directory below which everything is done")
	fl.StringVar(&o.json, "json", "", "append JSON lines to this file: each figure, then medians")
	fl.DurationVar(&o.limit, "limit", 5*time.Minute, "the longest that one workload of one run may take")
	fl.Float64Var(&o.scale, "scale", 1, "a part of the data, such as 0.01, to try the command out")
	fl.StringVar(&o.binary, "binary", "", "a lockstep program; by default it is built from this module")
	fl.Int64Var(&o.image, "image", 28, "the largest size of the filesystem made as root, GiB")
	if err := fl.Parse(args); err != nil {
		return o, err
	}
	if o.runs < 1 || o.scale <= 0 || o.scale > 1 || fl.NArg() > 0 {
		return o, errors.New("want at least one run, a scale of more than 0 and at most 1, and no arguments")
	}
	return o, nil
}

func mainErr() (err error) {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader of the table who goes does not keep us from cleaning up
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if dir := os.Getenv(insideEnv); dir != "" {
		if err := enter(); err != nil {
			return err
		}
		return compareAll(ctx, o, dir, true)
	}
	dir, err := os.MkdirTemp(o.dir, "lockstep-bench-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.binary == "" {
		build := exec.CommandContext(ctx, "go", "build", "-o", binaryIn(dir), "github.com/lockstep-sync/lockstep/cli/lockstep")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build lockstep: %w: %s", err, out)
		}
	}
	if why := canIsolate(); why != nil {
		fmt.Printf("# %v: no filesystem of its own, no xfs, and no bytes on the wire\n", why)
		return compareAll(ctx, o, dir, false)
	}
	return outside(ctx, dir)
}

func binaryIn(dir string) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(dir, "lockstep.exe")
	}
	return filepath.Join(dir, "lockstep")
}

// outside runs the program again, inside. A ^C reaches both; SIGTERM is passed on.
func outside(ctx context.Context, dir string) error {
	runtime.LockOSThread() // what ends with its parent ends with the thread that started it
	cmd := isolate(os.Args[1:])
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

// compareAll is the comparison, in a directory of its own.
func compareAll(ctx context.Context, o options, dir string, isolated bool) (err error) {
	b := &bench{binary: o.binary, fs: filepath.Join(dir, "fs"), outside: dir, isolated: isolated, scale: o.scale, limit: o.limit,
		runs: o.runs, data: map[string]*data{}, out: os.Stdout, imageSize: o.image << 30}
	if b.binary == "" {
		b.binary = binaryIn(dir)
	}
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	if err := b.choose(o); err != nil {
		return err
	}
	if o.json != "" {
		f, err := os.OpenFile(o.json, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		b.jsonl = f
	}
	if isolated {
		undo, err := mountImage("ext4", b.fs, b.imageSize)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, undo()) }()
	} else if err := os.Mkdir(b.fs, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.fromXFS()) }()
	err = b.all(ctx)
	return errors.Join(err, b.report(b.out))
}

// choose checks what was asked for, and says what is missing.
func (b *bench) choose(o options) error {
	known, all := map[string]bool{}, []string{}
	for _, sc := range scenarios() {
		for _, w := range sc.workloads {
			known[w] = true
		}
	}
	b.workloads = list(o.workloads)
	for i, w := range b.workloads {
		w = strings.ToUpper(w[:1]) + w[1:]
		if b.workloads[i] = w; !known[w] {
			return fmt.Errorf("no workload %q", w)
		}
	}
	asked := list(o.tools)
	for _, t := range allTools() {
		all = append(all, t.name())
		if len(asked) > 0 && !slices.Contains(asked, t.name()) {
			continue
		}
		if why := t.missing(); why != "" {
			fmt.Fprintf(b.out, "# without %s: %s\n", t.name(), why)
			continue
		}
		b.tools = append(b.tools, t)
	}
	for _, a := range asked {
		if !slices.Contains(all, a) {
			return fmt.Errorf("no tool %q; there are %s", a, strings.Join(all, ", "))
		}
	}
	return nil
}

func list(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(s string) bool { return s == "" })
}

// report prints the table and writes the medians.
func (b *bench) report(w io.Writer) error {
	sums := summarize(b.figs, "cp")
	for _, s := range sums {
		b.line(s)
	}
	fmt.Fprintf(w, "\n%d CPUs, %s, %s\n", runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
	return printTable(w, sums, "cp")
}
