package vfs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// checkFor is Check for the operation op; a good path costs no allocation.
func checkFor(op string, p id.Path) error {
	if wellFormed(string(p)) {
		return nil
	}
	err := Check(p)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return &fs.PathError{Op: op, Path: pe.Path, Err: pe.Err}
	}
	return err
}

// wellFormed reports whether Check accepts s.
func wellFormed(s string) bool {
	if s == "" || len(s) > id.MaxPath || strings.IndexByte(s, 0) >= 0 {
		return false
	}
	for {
		c, rest, more := strings.Cut(s, "/")
		if c == "" || c == "." || c == ".." || len(c) > id.MaxComponent {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}
