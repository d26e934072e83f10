package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/blake3"
)

// entry is what has to be equal of a path on two disks: kinds; modes of files and
// directories; sizes, mtimes and contents of files; targets of symlinks.
type entry struct {
	kind   fs.FileMode
	mode   fs.FileMode
	size   int64
	mtime  int64
	sum    [32]byte // of files, zero where it was not read
	target string
}

// tree is a directory's content by slash-separated path.
type tree map[string]entry

// own are the names in a root that belong to the tools.
var own = []string{".lockstep", ".stfolder", ".git", ".stversions"}

// look stats a path. Contents are not read.
func look(p string) (entry, fs.FileInfo, error) {
	st, err := os.Lstat(p)
	if err != nil {
		return entry{}, nil, err
	}
	e := entry{kind: st.Mode().Type()}
	switch e.kind {
	case 0:
		e.mode, e.size, e.mtime = st.Mode().Perm(), st.Size(), st.ModTime().UnixNano()
	case fs.ModeDir:
		e.mode = st.Mode().Perm()
	case fs.ModeSymlink:
		e.target, err = os.Readlink(p)
	}
	return e, st, err
}

// snapshot reads a whole tree. latest is the newest change time (ctime) of its files
// and symlinks, dirs that of its directories; both are zero where the system has none.
func snapshot(root string) (t tree, latest, dirs time.Time, err error) {
	t = tree{}
	buf := make([]byte, 256<<10)
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if slices.Contains(own, rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		e, st, err := look(p)
		if err == nil && e.kind == 0 {
			e.sum, err = sumFile(p, buf)
		}
		if err != nil {
			return err
		}
		c := changed(st)
		if e.kind == fs.ModeDir {
			if c.After(dirs) {
				dirs = c
			}
		} else if c.After(latest) {
			latest = c
		}
		t[filepath.ToSlash(rel)] = e
		return nil
	})
	return t, latest, dirs, err
}

func sumFile(p string, buf []byte) (sum [32]byte, err error) {
	f, err := os.Open(p)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	return sumOf(f, buf)
}

func sumOf(r io.Reader, buf []byte) (sum [32]byte, err error) {
	h := blake3.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, buf); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// leave says what a tool does not keep, so that it is not compared for it.
type leave struct {
	mtimes bool
	// round is what mtimes may differ by, for a tool that rounds them; 0 is nothing.
	round time.Duration
}

// equate gives have the parts of want that are left out of the comparison.
func (l leave) equate(want, have entry) entry {
	if d := want.mtime - have.mtime; l.mtimes || max(d, -d) < int64(l.round) {
		have.mtime = want.mtime
	}
	return have
}

// diff lists how have differs from want, in path order; nil for equal trees.
func diff(want, have tree, l leave) []string {
	var out []string
	for p, w := range want {
		h, ok := have[p]
		h = l.equate(w, h)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%q is missing", p))
		case w != h:
			out = append(out, fmt.Sprintf("%q: %s", p, w.differs(h)))
		}
	}
	for p := range have {
		if _, ok := want[p]; !ok {
			out = append(out, fmt.Sprintf("%q is too many", p))
		}
	}
	slices.Sort(out)
	return out
}

func (e entry) differs(f entry) string {
	var d []string
	if e.kind != f.kind {
		d = append(d, fmt.Sprintf("kind %v, %v", e.kind, f.kind))
	}
	if e.mode != f.mode {
		d = append(d, fmt.Sprintf("mode %v, %v", e.mode, f.mode))
	}
	if e.size != f.size {
		d = append(d, fmt.Sprintf("size %d, %d", e.size, f.size))
	}
	if e.mtime != f.mtime {
		d = append(d, fmt.Sprintf("mtime %d, %d", e.mtime, f.mtime))
	}
	if e.sum != f.sum {
		d = append(d, "content")
	}
	if e.target != f.target {
		d = append(d, fmt.Sprintf("target %q, %q", e.target, f.target))
	}
	return strings.Join(d, "; ")
}

// errDiffers is returned when trees that should be equal are not.
var errDiffers = errors.New("the trees differ")

// compare is diff as an error that shows the first differences.
func compare(want, have tree, l leave) error {
	const show = 3
	d := diff(want, have, l)
	switch {
	case len(d) == 0:
		return nil
	case len(d) > show:
		return fmt.Errorf("%w: %s, and %d more", errDiffers, strings.Join(d[:show], ", "), len(d)-show)
	}
	return fmt.Errorf("%w: %s", errDiffers, strings.Join(d, ", "))
}

// below returns t as it is within the directory dir, whose mode is given.
func (t tree) below(dir string, mode fs.FileMode) tree {
	out := tree{dir: {kind: fs.ModeDir, mode: mode}}
	for p, e := range t {
		out[dir+"/"+p] = e
	}
	return out
}

// paths are the tree's paths in order.
func (t tree) paths() []string { return slices.Sorted(maps.Keys(t)) }
