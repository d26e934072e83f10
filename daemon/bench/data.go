package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// data is what a workload puts into the first root: made once, on the filesystem that
// runs use, and copied from there before a run.
type data struct {
	path string // a directory or a file
	tree tree   // of a directory, what is in it; of a file, the file as "."
}

// dataset makes or returns the data called name.
func (b *bench) dataset(name string, fill func(path string) error) (*data, error) {
	if d := b.data[name]; d != nil {
		return d, nil
	}
	d := &data{path: filepath.Join(b.fs, "data", name)}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return nil, err
	}
	if err := fill(d.path); err != nil {
		return nil, fmt.Errorf("make the data %s: %w", name, err)
	}
	e, _, err := look(d.path)
	if err != nil {
		return nil, err
	}
	if e.kind == fs.ModeDir {
		d.tree, _, _, err = snapshot(d.path)
	} else {
		e.sum, err = sumFile(d.path, make([]byte, 256<<10))
		d.tree = tree{".": e}
	}
	if err != nil {
		return nil, err
	}
	b.data[name] = d
	return d, syncFS(b.fs)
}

// source is the Go distribution's src.
func (b *bench) source() (*data, error) {
	return b.dataset("src", func(p string) error {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return err
		}
		from := filepath.Join(strings.TrimSpace(string(out)), "src")
		if b.scale < 1 {
			from = filepath.Join(from, "internal")
		}
		return run("cp", "-a", from, p)
	})
}

// random is a file of size bytes that cannot be compressed. The same seed gives the same.
func (b *bench) random(name string, size int64) (*data, error) {
	size = max(int64(float64(size)*b.scale), 1<<20)
	return b.dataset(name, func(p string) error {
		f, err := os.Create(p)
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, noise(name), size)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

// many is a tree of n files of size bytes, a hundred a directory.
func (b *bench) many(name string, n, size int) (*data, error) {
	n = max(int(float64(n)*b.scale), 10)
	return b.dataset(name, func(p string) error {
		r := noise(name)
		buf := make([]byte, size)
		for i := range n {
			dir := filepath.Join(p, fmt.Sprintf("d%04d", i/100))
			if i%100 == 0 {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
			if _, err := io.ReadFull(r, buf); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d", i%100)), buf, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// noise is an endless stream of random bytes that depends on seed alone.
func noise(seed string) io.Reader {
	var key [32]byte
	copy(key[:], seed)
	return rand.NewChaCha8(key)
}

// stage copies d beside the roots, so that a rename puts it into one, whole. What is
// measured is then the syncing, not the copying.
func (b *bench) stage(ctx context.Context, d *data, dir string) (string, error) {
	staged := filepath.Join(dir, "staged")
	if err := run("cp", "-a", d.path, staged); err != nil {
		return "", err
	}
	return staged, syncFS(b.fs)
}

// within is the tree of a root that holds d at the path name.
func (d *data) within(name string) (tree, error) {
	if e, ok := d.tree["."]; ok {
		return tree{name: e}, nil
	}
	e, _, err := look(d.path)
	return d.tree.below(name, e.mode), err
}
