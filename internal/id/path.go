package id

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxPath is the longest path in bytes. Linux's PATH_MAX; longer paths could
	// not be opened by name on the nodes.
	MaxPath = 4096
	// MaxComponent is the longest path component in bytes, the limit of ext4, xfs,
	// APFS and NTFS (there in UTF-16 units).
	MaxComponent = 255
	// ReservedName is the directory at a folder's root that holds Lockstep's own
	// files. It is refused as a path in any case of its letters.
	ReservedName = ".lockstep"
)

// ErrBadPath is wrapped by every refusal of a path.
var ErrBadPath = errors.New("bad path")

// Path names an entry inside a folder: slash-separated bytes relative to the
// root, such as "notes/2026/plan.txt". It need not be UTF-8. The empty Path is
// the root itself, which has no entry.
type Path string

// ParsePath checks s and returns it as a Path.
func ParsePath(s string) (Path, error) { p := Path(s); return p, p.Check() }

// Check reports why p cannot name an entry: empty, absolute, with an empty, "."
// or ".." component, a NUL byte, over-long, or below the reserved directory.
func (p Path) Check() error {
	if p == "" {
		return fmt.Errorf("%w: empty", ErrBadPath)
	}
	if len(p) > MaxPath {
		return fmt.Errorf("%w %.40q…: longer than %d bytes", ErrBadPath, string(p), MaxPath)
	}
	if strings.IndexByte(string(p), 0) >= 0 {
		return fmt.Errorf("%w %q: NUL byte", ErrBadPath, string(p))
	}
	for rest, i := string(p), 0; ; i++ {
		c, after, more := strings.Cut(rest, "/")
		switch {
		case c == "" || c == "." || c == "..":
			return fmt.Errorf("%w %q: component %q", ErrBadPath, string(p), c)
		case len(c) > MaxComponent:
			return fmt.Errorf("%w %q: component longer than %d bytes", ErrBadPath, string(p), MaxComponent)
		case i == 0 && IsReserved(c):
			return fmt.Errorf("%w %q: %s is Lockstep's own directory", ErrBadPath, string(p), ReservedName)
		}
		if !more {
			return nil
		}
		rest = after
	}
}

// IsReserved reports whether a root-level name is the reserved one on any
// filesystem, so in any case of its letters.
func IsReserved(name string) bool { return strings.EqualFold(name, ReservedName) }

// Dir returns the parent: "a/b" for "a/b/c", "" for "a".
func (p Path) Dir() Path {
	if i := strings.LastIndexByte(string(p), '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// Base returns the last component.
func (p Path) Base() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// First returns the first component.
func (p Path) First() string {
	if i := strings.IndexByte(string(p), '/'); i >= 0 {
		return string(p[:i])
	}
	return string(p)
}

// Join appends one name.
func (p Path) Join(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "/" + Path(name)
}

// Depth is the number of components, 0 for the root.
func (p Path) Depth() int {
	if p == "" {
		return 0
	}
	return strings.Count(string(p), "/") + 1
}

// Within reports whether p is dir or lies below it. Every path is within "".
func (p Path) Within(dir Path) bool {
	return dir == "" || p == dir || p.Below(dir)
}

// Below reports whether p lies strictly below dir.
func (p Path) Below(dir Path) bool {
	if dir == "" {
		return p != ""
	}
	return len(p) > len(dir)+1 && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// Rebase returns p with its leading from replaced by to; p must be within from.
// "a/x".Rebase("a", "b/c") is "b/c/x".
func (p Path) Rebase(from, to Path) Path {
	if p == from {
		return to
	}
	rest := p
	if from != "" {
		rest = p[len(from)+1:]
	}
	if to == "" {
		return rest
	}
	return to + "/" + rest
}
