package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// putting is the change that renames a staged copy of d into the first root.
func (r *run1) putting(ctx context.Context, d *data, name string) (change, error) {
	staged, err := r.b.stage(ctx, d, r.dir)
	if err != nil {
		return change{}, err
	}
	return change{
		do: func() (time.Time, error) {
			begin := time.Now()
			return begin, os.Rename(staged, r.at(0, name))
		},
		want: func() (tree, error) { return d.within(name) },
	}, nil
}

func (r *run1) at(node int, path string) string {
	return filepath.Join(r.s.roots()[node], filepath.FromSlash(path))
}

// firstSync puts data as name into the first of empty roots (W1, W2, W7b).
func firstSync(workload, suffix, name string, get func(*bench) (*data, error)) func(context.Context, *run1) error {
	return func(ctx context.Context, r *run1) error {
		d, err := get(r.b)
		if err != nil {
			return err
		}
		c, err := r.putting(ctx, d, name)
		if err != nil {
			return err
		}
		return r.measure(ctx, workload, suffix, c)
	}
}

// insertion rewrites the big file in place with one byte before what it held (W3). The
// clock begins when that is done.
func insertion(ctx context.Context, r *run1) error {
	if !r.b.wants("W3") {
		return nil
	}
	d, err := r.b.gib()
	if err != nil {
		return err
	}
	in, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer in.Close()
	sum, err := sumOf(io.MultiReader(byteReader(), in), make([]byte, 256<<10))
	if err != nil {
		return err
	}
	return r.measure(ctx, "W3", "", change{
		do: func() (time.Time, error) {
			if _, err := in.Seek(0, io.SeekStart); err != nil {
				return time.Time{}, err
			}
			f, err := os.OpenFile(r.at(0, "big"), os.O_WRONLY, 0)
			if err != nil {
				return time.Time{}, err
			}
			_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.MultiReader(byteReader(), in), make([]byte, 1<<20))
			err = errors.Join(err, f.Close())
			return time.Now(), err
		},
		want: func() (tree, error) {
			e, _, err := look(r.at(0, "big"))
			e.sum = sum
			return tree{"big": e}, err
		},
	})
}

// latency writes 20 new files of 4 KiB, one after the other, then one of them 20 times
// (W4): the time until each is readable at the other node with the right content.
func latency(ctx context.Context, r *run1) error {
	if !r.b.wants("W4") {
		return nil
	}
	const trials = 20
	ctx, cancel := context.WithTimeoutCause(ctx, r.b.limit, errOver)
	defer cancel()
	if err := r.quiet(ctx); err != nil {
		return err
	}
	if err := syncFS(r.b.fs); err != nil {
		return err
	}
	var cpu float64
	for _, kind := range []string{"new", "overwritten"} {
		var ms []float64
		for i := range trials {
			name := "src/trial-0"
			if kind == "new" {
				name = fmt.Sprintf("src/trial-%d", i)
			}
			before := r.mark()
			took, ran, err := r.trial(ctx, name)
			if err != nil {
				r.miss("W4", kind+", p50", "ms", fmt.Errorf("trial %d: %w", i+1, err))
				return err
			}
			ms = append(ms, took.Seconds()*1000)
			if !ran {
				err = pause(ctx, afterTrial)
			}
			cpu += before.cpuUntil(r.mark().used)
			if !ran && err == nil {
				err = pause(ctx, between(i))
			}
			if err != nil {
				return err
			}
		}
		r.add("W4", kind+", p50", "ms", percentile(ms, 50))
		r.add("W4", kind+", p95", "ms", percentile(ms, 95))
	}
	r.add("W4", "CPU a change", "ms", cpu*1000/(2*trials))
	return nil
}

// afterTrial is how long the CPU time of a change is counted after it has arrived.
const afterTrial = 200 * time.Millisecond

// between is a further pause before the next trial, not always the same, or a tool that
// looks about once a second would be met at the same moment of it each time. All tools
// that watch get the same pauses; their CPU time does not count.
func between(trial int) time.Duration {
	return time.Duration(trial*377%1000) * time.Millisecond
}

// trial writes one file, and returns the time until it is at the other node, and whether
// the tool had to be run for that.
func (r *run1) trial(ctx context.Context, name string) (took time.Duration, ran bool, err error) {
	content := make([]byte, 4096)
	if _, err := rand.Read(content); err != nil {
		return 0, ran, err
	}
	begin := time.Now()
	if err := os.WriteFile(r.at(0, name), content, 0o644); err != nil {
		return 0, ran, err
	}
	ran, err = r.s.push(ctx, name)
	if err != nil {
		return 0, ran, err
	}
	if ran {
		took = time.Since(begin)
		if b, err := os.ReadFile(r.at(1, name)); err != nil || string(b) != string(content) {
			return 0, ran, fmt.Errorf("%w: %q was overlooked", errDiffers, name)
		}
		return took, ran, nil
	}
	there, err := readable(ctx, r.at(1, name), content)
	if err != nil {
		return 0, ran, err
	}
	return there.Sub(begin), ran, nil
}

// idle leaves the nodes alone for 30 s (W6).
func idle(ctx context.Context, r *run1) error {
	if _, stays := r.s.(restarter); !stays || !r.b.wants("W6") {
		return nil
	}
	if err := r.quiet(ctx); err != nil {
		return err
	}
	d := max(time.Duration(30*r.b.scale*float64(time.Second)), time.Second)
	before, begin := r.s.used(), time.Now()
	if err := pause(ctx, d); err != nil {
		return err
	}
	took := time.Since(begin)
	var cpu, rss float64
	for i, u := range r.s.used() {
		cpu = max(cpu, 100*(u.cpu-before[i].cpu).Seconds()/took.Seconds())
		rss = max(rss, float64(u.rss)/(1<<20))
	}
	r.add("W6", "CPU, the busier node", "%", cpu)
	r.add("W6", "RSS, the larger node", "MiB", rss)
	return nil
}

// rename renames the directory of 5,000 files (W5).
func rename(ctx context.Context, r *run1) error {
	d, err := r.b.thousands()
	if err != nil {
		return err
	}
	return r.measure(ctx, "W5", "", change{
		do: func() (time.Time, error) {
			begin := time.Now()
			return begin, os.Rename(r.at(0, "before"), r.at(0, "after"))
		},
		want: func() (tree, error) { return d.within("after") },
		gone: []string{"before"},
	})
}

// restart ends the author's node, starts it, and at once writes a file there (W7): the
// time from the start of the process until the file is at the other node.
func restart(ctx context.Context, r *run1) error {
	if !r.b.wants("W7") || r.tool == "cp" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.b.limit, errOver)
	defer cancel()
	s, stays := r.s.(restarter)
	if stays {
		if err := r.quiet(ctx); err != nil {
			return err
		}
		if err := s.stop(ctx, 0); err != nil {
			return err
		}
		if err := syncFS(r.b.fs); err != nil {
			return err
		}
	}
	before, begin := r.mark(), time.Now()
	if stays {
		if err := s.start(ctx, 0); err != nil {
			return err
		}
	}
	if _, _, err := r.trial(ctx, "many/new"); err != nil {
		return err
	}
	r.add("W7", "wall", "s", time.Since(begin).Seconds())
	r.add("W7", "CPU", "s", before.cpuUntil(r.mark().used))
	return nil
}

// fan is a first sync to three others, with the writer's bytes (W9).
func fan(name, suffix string, get func(*bench) (*data, error)) func(context.Context, *run1) error {
	return func(ctx context.Context, r *run1) error {
		s, counts := r.s.(sender)
		var before int64
		var err error
		if counts {
			if before, err = s.sent(ctx); err != nil {
				return err
			}
		}
		if err := firstSync("W9", suffix, name, get)(ctx, r); err != nil {
			return err
		}
		if counts {
			after, err := s.sent(ctx)
			if err != nil {
				return err
			}
			r.add("W9", "sent by the writer"+suffix, "MB", float64(after-before)/1e6)
		}
		return nil
	}
}

type oneByte struct{ done bool }

func byteReader() io.Reader { return &oneByte{} }

func (o *oneByte) Read(p []byte) (int, error) {
	if o.done || len(p) == 0 {
		return 0, io.EOF
	}
	o.done = true
	p[0] = 'x'
	return 1, nil
}
