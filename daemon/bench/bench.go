package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bench is one run of the command.
type bench struct {
	binary    string // the lockstep program
	fs        string // the directory that runs use, a filesystem of its own as root
	outside   string // the directory that was asked for, for images
	isolated  bool   // in namespaces of its own: the loopback device counts for us alone
	scale     float64
	limit     time.Duration
	runs      int
	tools     []tool
	workloads []string // those asked for; none for all
	data      map[string]*data
	figs      []figure
	out       io.Writer // the table, and what happens
	jsonl     io.Writer // nil for none
	seq       int

	imageSize  int64
	ext4       string // fs while it is an xfs
	unmountXFS func() error
}

// errOver is the cause of what took longer than the limit.
var errOver = errors.New("over the limit")

// wants reports whether a workload was asked for.
func (b *bench) wants(name string) bool {
	return len(b.workloads) == 0 || slices.Contains(b.workloads, name)
}

// all runs each scenario.
func (b *bench) all(ctx context.Context) error {
	for _, sc := range scenarios() {
		if !slices.ContainsFunc(sc.workloads, b.wants) {
			continue
		}
		if sc.prepare != nil {
			if err := sc.prepare(b); err != nil {
				fmt.Fprintf(b.out, "# without %s: %v\n", sc.name, err)
				continue
			}
		}
		if err := b.turns(ctx, sc); err != nil {
			return err
		}
		if sc.after != nil {
			if err := sc.after(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// turns runs a scenario with all tools, in turns.
func (b *bench) turns(ctx context.Context, sc scenario) error {
	for r := range b.runs {
		for _, t := range b.tools {
			if !sc.takes(t) {
				continue
			}
			fmt.Fprintf(b.out, "# %s %s run %d %s\n", time.Now().Format(time.TimeOnly), sc.name, r+1, t.name())
			err := b.once(ctx, sc, t, r+1)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				fmt.Fprintf(b.out, "# %s: %v\n", t.name(), err)
			}
		}
	}
	return nil
}

// once runs a scenario for a tool in a fresh directory.
func (b *bench) once(ctx context.Context, sc scenario, t tool, n int) (err error) {
	b.seq++
	r := &run1{b: b, tool: t.name(), n: n, dir: filepath.Join(b.fs, fmt.Sprintf("run%d", b.seq))}
	defer func() {
		err = errors.Join(err, os.RemoveAll(r.dir), syncFS(b.fs))
		if b.isolated {
			err = errors.Join(err, trim(b.fs))
		}
	}()
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	if sc.alone != nil {
		err = sc.alone(ctx, r)
	} else {
		err = b.withSession(ctx, sc, t, r)
	}
	if err != nil && ctx.Err() == nil {
		r.fail(sc, err)
	}
	return err
}

func (b *bench) withSession(ctx context.Context, sc scenario, t tool, r *run1) (err error) {
	sub := filepath.Join(r.dir, "nodes")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	starting, cancel := context.WithTimeoutCause(ctx, b.limit, errOver)
	defer cancel()
	s, err := t.start(starting, b, sub, max(sc.nodes, 2))
	if s != nil {
		defer func() { err = errors.Join(err, s.close()) }()
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	r.s = s
	for _, step := range sc.steps {
		if err := step(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// run1 is one run of one scenario by one tool.
type run1 struct {
	b    *bench
	s    session
	tool string
	n    int
	dir  string
	got  []string // workloads that have figures
}

// add records a figure.
func (r *run1) add(workload, metric, unit string, v float64) {
	r.got = append(r.got, workload)
	r.put(figure{Workload: workload, Metric: metric, Unit: unit, Tool: r.tool, Run: r.n, Value: v})
}

// miss records that a figure could not be had, and why.
func (r *run1) miss(workload, metric, unit string, err error) {
	note := err.Error()
	if errors.Is(err, errOver) {
		note = fmt.Sprintf("over the limit of %s", r.b.limit)
	}
	r.got = append(r.got, workload)
	r.put(figure{Workload: workload, Metric: metric, Unit: unit, Tool: r.tool, Run: r.n, Note: note})
}

// fail records that a scenario's remaining workloads gave nothing.
func (r *run1) fail(sc scenario, err error) {
	for _, w := range sc.workloads {
		_, stays := r.s.(restarter)
		if slices.Contains(r.got, w) || errors.Is(err, errNotApplicable) || w == "W6" && !stays {
			continue
		}
		unit := "s"
		if sc.alone != nil {
			unit = "1/s"
		}
		r.miss(w, sc.metric(), unit, err)
	}
}

func (r *run1) put(f figure) {
	if !r.b.wants(f.Workload) {
		return
	}
	r.b.figs = append(r.b.figs, f)
	value := short(f.Value) + " " + f.Unit
	if f.Note != "" {
		value = f.Note
	}
	fmt.Fprintf(r.b.out, "#   %-4s %-28s %s\n", f.Workload, f.Metric, value)
	r.b.line(f)
}

// line writes one JSON line.
func (b *bench) line(v any) {
	if b.jsonl == nil {
		return
	}
	if line, err := json.Marshal(v); err == nil {
		fmt.Fprintln(b.jsonl, string(line))
	}
}
