package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// rollback changes 10,000 files and brings them back (W10): the time until the first
// root holds the former state, and that of the other where there is one.
func rollback(ctx context.Context, r *run1) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.b.limit, errOver)
	defer cancel()
	s, ok := r.s.(reverter)
	if !ok {
		return errNotApplicable
	}
	d, err := r.b.tenThousand()
	if err != nil {
		return err
	}
	if err := firstSync("", "", "t", (*bench).tenThousand)(ctx, r); err != nil {
		return err
	}
	if err := s.keep(ctx, "first"); err != nil {
		return err
	}
	var second tree
	if err := r.measure(ctx, "", "", change{
		do: func() (time.Time, error) { return time.Now(), r.rewrite("t", d.tree) },
		want: func() (t tree, err error) {
			second, _, _, err = snapshot(r.s.roots()[0])
			return second, err
		},
	}); err != nil {
		return err
	}
	if err := s.keep(ctx, "second"); err != nil {
		return err
	}
	want, err := d.within("t")
	if err != nil {
		return err
	}
	if err := errors.Join(r.quiet(ctx), syncFS(r.b.fs)); err != nil {
		return err
	}
	before, begin := r.mark(), time.Now()
	ran, err := s.revert(ctx, "first")
	if err != nil {
		return err
	}
	seen, roots := time.Now(), r.s.roots()
	if !ran {
		if seen, err = arrive(ctx, newWatch(roots[0], want, nil, r.s.leaves())); err != nil {
			return err
		}
	}
	used := r.s.used()
	if !ran {
		if _, err := arrive(ctx, newWatch(roots[1], want, nil, r.s.leaves())); err != nil {
			return err
		}
	}
	everywhere := time.Now()
	if err := r.quiet(ctx); err != nil {
		return err
	}
	done, err := verify(seen, want, r.s.leaves(), roots[0])
	if err != nil {
		return err
	}
	if ran {
		done = seen
	}
	r.add("W10", "wall", "s", done.Sub(begin).Seconds())
	r.add("W10", "CPU", "s", before.cpuUntil(used))
	r.peaks("W10", "", r.s.used())
	if !ran {
		done, err := verify(everywhere, want, r.s.leaves(), roots[1])
		if err != nil {
			return err
		}
		r.add("W10", "wall, the other node", "s", done.Sub(begin).Seconds())
	}
	return nil
}

// rewrite gives each file below dir in the first root another content.
func (r *run1) rewrite(dir string, t tree) error {
	for p, e := range t {
		if e.kind != 0 {
			continue
		}
		buf := make([]byte, e.size)
		if _, err := rand.Read(buf); err != nil {
			return err
		}
		if err := os.WriteFile(r.at(0, dir+"/"+p), buf, e.mode); err != nil {
			return err
		}
	}
	return nil
}

// appending appends 1 MiB to a file of 4 GiB (W11). The run of cp measures the floors
// too: to read the file once, and a program that does no more than reflink, append, fsync.
func appending(suffix string) func(context.Context, *run1) error {
	return func(ctx context.Context, r *run1) error {
		suffix := suffix
		if !r.b.isolated {
			suffix = "" // of what kind the filesystem is, is not known
		}
		if err := firstSync("", "", "large", (*bench).large)(ctx, r); err != nil {
			return err
		}
		more := make([]byte, 1<<20)
		if _, err := rand.Read(more); err != nil {
			return err
		}
		err := r.measure(ctx, "W11", suffix, change{
			do: func() (time.Time, error) {
				f, err := os.OpenFile(r.at(0, "large"), os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					return time.Time{}, err
				}
				_, err = f.Write(more)
				err = errors.Join(err, f.Close())
				return time.Now(), err
			},
			want: func() (tree, error) { return r.appended("large", more) },
		})
		if err != nil || r.tool != "cp" {
			return err
		}
		return r.floors(suffix, more)
	}
}

// appended is the tree after more was appended to name: data's sum is continued, so that
// what is expected does not come from the disk that is judged.
func (r *run1) appended(name string, more []byte) (tree, error) {
	e, _, err := look(r.at(0, name))
	if err != nil {
		return nil, err
	}
	e.sum, err = r.b.sumAppended(more)
	return tree{name: e}, err
}

func (b *bench) sumAppended(more []byte) (sum [32]byte, err error) {
	d, err := b.large()
	if err != nil {
		return sum, err
	}
	f, err := os.Open(d.path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	return sumOf(io.MultiReader(f, strings.NewReader(string(more))), make([]byte, 256<<10))
}

func (r *run1) floors(suffix string, more []byte) error {
	p, buf := r.at(1, "large"), make([]byte, 1<<20)
	begin := time.Now()
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf); err != nil {
		return err
	}
	r.tool = "floor: read once"
	r.add("W11", "wall"+suffix, "s", time.Since(begin).Seconds())
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	begin = time.Now()
	out, err := os.Create(filepath.Join(r.dir, "floor"))
	if err != nil {
		return err
	}
	defer out.Close()
	r.tool = "floor: reflink"
	if reflink(out, f) != nil {
		r.tool = "floor: copy" // this filesystem shares no blocks
		if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{f}, buf); err != nil {
			return err
		}
	}
	if _, err := out.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := out.Write(more); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	r.add("W11", "wall"+suffix, "s", time.Since(begin).Seconds())
	return nil
}

// proposeBench is a Go benchmark kept with the tests: changes a second through propose
// and apply with three voters and no tree (W8).
const (
	proposeBench   = "BenchmarkProposeApply"
	proposePackage = "./daemon/node"
)

var benchLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func propose(ctx context.Context, r *run1) error {
	list, err := exec.CommandContext(ctx, "go", "test", "-list", "^"+proposeBench, proposePackage).CombinedOutput()
	if err != nil || !strings.Contains(string(list), proposeBench) {
		return fmt.Errorf("%s is not available in %s", proposeBench, proposePackage)
	}
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+proposeBench, proposePackage).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", proposeBench, err, lastLine(string(out)))
	}
	rates, err := changesPerSecond(string(out))
	if err != nil {
		return err
	}
	for _, v := range rates {
		r.add("W8", "changes, "+v.name, "1/s", v.rate)
	}
	return nil
}

// rate is one line of a benchmark.
type rate struct {
	name string // of the variant
	rate float64
}

// changesPerSecond reads a benchmark's output: of each line its metric changes/s, or one
// change an operation where it has none.
func changesPerSecond(out string) (rates []rate, err error) {
	for _, m := range benchLine.FindAllStringSubmatch(out, -1) {
		_, name, _ := strings.Cut(m[1], "/")
		f := strings.Fields(m[2])
		v := rate{name: name}
		for i := 0; i+1 < len(f); i += 2 {
			x, err := strconv.ParseFloat(f[i], 64)
			switch {
			case err != nil:
			case f[i+1] == "changes/s":
				v.rate = x
			case f[i+1] == "ns/op" && v.rate == 0 && x > 0:
				v.rate = 1e9 / x
			}
		}
		if v.rate > 0 {
			rates = append(rates, v)
		}
	}
	if len(rates) == 0 {
		return nil, errors.New("the benchmark printed no figure")
	}
	return rates, nil
}

// toXFS makes the next scenario run on an xfs with reflinks.
func (b *bench) toXFS() error {
	if !b.isolated {
		return errors.New("an xfs needs root")
	}
	dir := filepath.Join(b.outside, "xfs")
	undo, err := mountImage("xfs", dir, b.imageSize)
	if err != nil {
		return err
	}
	b.unmountXFS, b.ext4, b.fs = undo, b.fs, dir
	return nil
}

func (b *bench) fromXFS() error {
	if b.unmountXFS == nil {
		return nil
	}
	delete(b.data, "large")
	undo := b.unmountXFS
	b.fs, b.unmountXFS = b.ext4, nil
	return undo()
}

// forget removes data that later scenarios do not need.
func (b *bench) forget(name string) error {
	d := b.data[name]
	if d == nil {
		return nil
	}
	delete(b.data, name)
	err := errors.Join(os.RemoveAll(d.path), syncFS(b.fs)) // what is not committed is not free yet
	if b.isolated {
		err = errors.Join(err, trim(b.fs))
	}
	return err
}
