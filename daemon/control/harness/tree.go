package harness

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/blake3"
)

// Entry is what a walk found at a path.
type Entry struct {
	Kind string // "file", "dir", "symlink" or "special"
	// Mode of files and directories; MTime, Size and Sum (BLAKE3-256) of files.
	Mode   fs.FileMode
	MTime  int64
	Size   int64
	Sum    [32]byte
	Target string
}

// Tree is what a walk found below a root: slash-separated path to entry.
type Tree map[string]Entry

// Snapshot walks root and reads every file. The root's own .lockstep is left out.
// A path that goes away meanwhile is left out; the next snapshot sees the rest.
func Snapshot(root string) (Tree, error) {
	t := Tree{}
	buf := make([]byte, 256<<10)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != root {
			return nil
		}
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel == ".lockstep" {
			return filepath.SkipDir
		}
		e, err := readEntry(p, buf)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		t[rel] = e
		return err
	})
	return t, err
}

func readEntry(p string, buf []byte) (e Entry, err error) {
	st, err := os.Lstat(p)
	if err != nil {
		return e, err
	}
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	switch st.Mode().Type() {
	case 0:
		e = Entry{Kind: "file", Mode: st.Mode() & bits, MTime: st.ModTime().UnixNano(), Size: st.Size()}
		e.Sum, err = SumFile(p, buf)
	case fs.ModeDir:
		e = Entry{Kind: "dir", Mode: st.Mode() & bits}
	case fs.ModeSymlink:
		e.Kind = "symlink"
		e.Target, err = os.Readlink(p)
	default:
		e.Kind = "special"
	}
	return e, err
}

// Sum returns the BLAKE3-256 of b.
func Sum(b []byte) [32]byte { return blake3.Sum256(b) }

// SumFile returns the BLAKE3-256 of a file; buf may be nil.
func SumFile(p string, buf []byte) (sum [32]byte, err error) {
	f, err := os.Open(p)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := blake3.New()
	if buf == nil {
		buf = make([]byte, 256<<10)
	}
	// The wrapper keeps CopyBuffer from a ReadFrom of its own, with its own buffer.
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// Diff lists how b differs from a, in path order.
func Diff(a, b Tree) []string {
	var out []string
	for p, x := range a {
		y, ok := b[p]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%q is missing", p))
		case x != y:
			out = append(out, fmt.Sprintf("%q: %s", p, x.differs(y)))
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			out = append(out, fmt.Sprintf("%q is too many", p))
		}
	}
	slices.Sort(out)
	return out
}

func (e Entry) differs(f Entry) string {
	var d []string
	if e.Kind != f.Kind {
		d = append(d, fmt.Sprintf("kind %s, %s", e.Kind, f.Kind))
	}
	if e.Mode != f.Mode {
		d = append(d, fmt.Sprintf("mode %v, %v", e.Mode, f.Mode))
	}
	if e.MTime != f.MTime {
		d = append(d, fmt.Sprintf("mtime %d, %d", e.MTime, f.MTime))
	}
	if e.Size != f.Size || e.Sum != f.Sum {
		d = append(d, fmt.Sprintf("content %x… of %d bytes, %x… of %d", e.Sum[:4], e.Size, f.Sum[:4], f.Size))
	}
	if e.Target != f.Target {
		d = append(d, fmt.Sprintf("target %q, %q", e.Target, f.Target))
	}
	return strings.Join(d, "; ")
}

// Summary is the first few of a list of differences.
func Summary(diffs []string) string {
	const show = 5
	if len(diffs) <= show {
		return strings.Join(diffs, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(diffs[:show], ", "), len(diffs)-show)
}

// Find returns the paths of t for which keep is true, in order.
func (t Tree) Find(keep func(path string, e Entry) bool) []string {
	var out []string
	for p, e := range t {
		if keep(p, e) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// Bytes is the sum of the sizes of files.
func (t Tree) Bytes() (n int64) {
	for _, e := range t {
		n += e.Size
	}
	return n
}

// CopyTree copies from's files, directories and symlinks to the directory to, with
// modes and mtimes. Other kinds, and what cannot be read, are left out and
// returned. Nothing at from is changed.
func CopyTree(to, from string) (left []string, err error) {
	type dir struct {
		path string
		st   fs.FileInfo
	}
	var dirs []dir
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == from {
				return err
			}
			left = append(left, p)
			return nil
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if rel == ".lockstep" {
			return filepath.SkipDir
		}
		dst := filepath.Join(to, rel)
		switch d.Type() {
		case fs.ModeDir:
			st, err := d.Info()
			if err != nil {
				return err
			}
			dirs = append(dirs, dir{dst, st})
			return os.MkdirAll(dst, 0o755)
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		case 0:
			if err := copyFile(dst, p); errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				left = append(left, p)
			} else if err != nil {
				return err
			}
			return nil
		}
		left = append(left, p)
		return nil
	})
	for _, d := range slices.Backward(dirs) { // modes last: a read-only one had to be filled
		if d.path != filepath.Clean(to) && err == nil {
			err = os.Chmod(d.path, d.st.Mode().Perm())
		}
	}
	return left, err
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(dst, st.Mode().Perm())
	}
	if err == nil {
		err = os.Chtimes(dst, st.ModTime(), st.ModTime())
	}
	return err
}
