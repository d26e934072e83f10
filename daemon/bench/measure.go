package main

import (
	"context"
	"fmt"
	"time"
)

// A tool is quiet when its processes together use less than quietCPU in quietFor. Work
// that a tool puts off until after the arrival is waited for, at most quietMax, and shown.
const (
	quietFor = time.Second
	quietCPU = 20 * time.Millisecond
	quietMax = 20 * time.Second
)

// change is what a workload does to the first root.
type change struct {
	// do changes it, and returns when the clock begins: before an atomic change, after the
	// end of one that takes time.
	do func() (time.Time, error)
	// want is what roots hold then, gone the paths that they hold no more. want is called
	// after do.
	want func() (tree, error)
	gone []string
	// push names what changed, for tools that can be told; none for everything.
	push []string
}

// mark is what the session has used up to a moment.
type mark struct {
	used []usage
	lo   int64
}

func (r *run1) mark() mark {
	lo, _ := loBytes() // where there are none, figures of the wire are left out
	return mark{r.s.used(), lo}
}

// cpuSince is the CPU time of all processes since m, in seconds.
func (m mark) cpuUntil(u []usage) (s float64) {
	for i := range u {
		s += u[i].cpu.Seconds()
		if i < len(m.used) {
			s -= m.used[i].cpu.Seconds()
		}
	}
	return s
}

// measure makes a change, waits until all roots hold what they should, compares them,
// and records wall and CPU time, peak RSS and the bytes on the wire. With workload "" it
// records nothing: that is how a workload's start is made.
func (r *run1) measure(ctx context.Context, workload, suffix string, c change) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.b.limit, errOver)
	defer cancel()
	if err := r.quiet(ctx); err != nil {
		return err
	}
	if err := syncFS(r.b.fs); err != nil {
		return err
	}
	before := r.mark()
	begin, err := c.do()
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	want, err := c.want()
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	ran, err := r.s.push(ctx, c.push...)
	if err != nil {
		return err
	}
	seen := time.Now()
	others := r.s.roots()[1:]
	if !ran {
		var ws []*watch
		for _, root := range others {
			ws = append(ws, newWatch(root, want, c.gone, r.s.leaves()))
		}
		if seen, err = arrive(ctx, ws...); err != nil {
			return err
		}
	}
	arrived := r.mark()
	if err := r.quiet(ctx); err != nil {
		return err
	}
	after := r.mark()
	done, err := verify(seen, want, r.s.leaves(), others...)
	if err == nil {
		_, err = verify(seen, want, r.s.leaves(), r.s.roots()[0])
	}
	if err != nil {
		return err
	}
	if ran {
		done = seen // a tool that is run is done when it and sync have ended
	}
	if workload == "" {
		return nil
	}
	r.add(workload, "wall"+suffix, "s", done.Sub(begin).Seconds())
	r.add(workload, "CPU"+suffix, "s", before.cpuUntil(arrived.used))
	if !ran {
		r.add(workload, "CPU until quiet"+suffix, "s", before.cpuUntil(after.used))
	}
	r.peaks(workload, suffix, after.used)
	if wire := after.lo - before.lo; r.b.isolated && wire > 0 {
		r.add(workload, "wire"+suffix, "MB", float64(wire)/1e6)
	}
	return nil
}

// peaks records the peak RSS of the largest process.
func (r *run1) peaks(workload, suffix string, u []usage) {
	var peak int64
	for _, n := range u {
		peak = max(peak, n.peak)
	}
	if peak > 0 {
		r.add(workload, "peak RSS"+suffix, "MiB", float64(peak)/(1<<20))
	}
}

// quiet waits until the session's processes have little to do.
func (r *run1) quiet(ctx context.Context) error {
	end := time.Now().Add(quietMax)
	for time.Now().Before(end) {
		m := mark{used: r.s.used()}
		if _, stays := r.s.(restarter); !stays {
			return nil // nothing runs between pushes
		}
		if err := pause(ctx, quietFor); err != nil {
			return err
		}
		if m.cpuUntil(r.s.used()) < quietCPU.Seconds() {
			return nil
		}
	}
	return nil
}
