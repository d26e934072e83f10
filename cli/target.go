package cli

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// ParseTarget reads a PATH argument. It is a path on this machine, absolute or
// relative to cwd, or FOLDER:relative/path. `FOLDER:` and a bare FOLDER are the
// whole folder. A bare word that could be both a folder and a file in cwd is
// returned with both set: the node takes the folder if there is one. `./name` is
// always a file.
func ParseTarget(arg, cwd string) (control.Target, error) {
	var t control.Target
	switch {
	case arg == "":
		return t, badUsage("path: empty")
	case strings.IndexByte(arg, 0) >= 0:
		return t, badUsage("path %q: NUL byte", arg)
	case filepath.IsAbs(arg):
		t.Local = control.RawPath(filepath.Clean(arg))
		return t, nil
	}
	if name, rel, ok := strings.Cut(arg, ":"); ok && isName(name) {
		rel, err := cleanRel(rel)
		if err != nil {
			return t, badUsage("path %q: %s", arg, err)
		}
		return control.Target{Folder: name, Rel: control.RawPath(rel)}, nil
	}
	if !filepath.IsAbs(cwd) {
		return t, badUsage("path %q: relative, and the working directory is not known", arg)
	}
	t.Local = control.RawPath(filepath.Join(cwd, arg))
	if isName(arg) {
		t.Folder = arg
	}
	return t, nil
}

// ParseTargetRev reads PATH@REV: REV stands after the last @.
func ParseTargetRev(arg, cwd string, now time.Time) (control.Target, control.Rev, error) {
	i := strings.LastIndexByte(arg, '@')
	if i < 0 {
		return control.Target{}, control.Rev{}, badUsage("%q: which version? write PATH@REV, such as %s@head~1", arg, arg)
	}
	t, err := ParseTarget(arg[:i], cwd)
	if err != nil {
		return control.Target{}, control.Rev{}, err
	}
	r, err := ParseRev(arg[i+1:], now)
	if err != nil {
		return control.Target{}, control.Rev{}, err
	}
	return t, r, nil
}

// ParseRev reads a revision: a number, head, head~N, a time, or a tag.
func ParseRev(s string, now time.Time) (control.Rev, error) {
	r := control.Rev{Text: s}
	switch {
	case s == "":
		return r, badUsage("revision: empty: want a number, head, head~N, a tag or a time")
	case isDigits(s):
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n > math.MaxInt64 {
			return r, badUsage("revision %q: too large a number", s)
		}
		r.Kind, r.Number = control.RevNumber, n
		return r, nil
	case s == "head":
		r.Kind = control.RevHead
		return r, nil
	}
	if back, ok := strings.CutPrefix(s, "head~"); ok {
		n, err := strconv.ParseUint(back, 10, 63)
		if err != nil || !isDigits(back) {
			return r, badUsage("revision %q: want head~N with N a number", s)
		}
		r.Kind, r.Back = control.RevHead, n
		return r, nil
	}
	if t, ok := parseTime(s, now); ok {
		r.Kind, r.Time = control.RevTime, t
		return r, nil
	}
	if isName(s) {
		r.Kind = control.RevTag
		return r, nil
	}
	return r, badUsage("revision %q: want a number, head, head~N, a tag, or a time such as 2026-11-23T10:00, \"2h ago\", \"yesterday 14:00\", \"monday 9am\"", s)
}

// cleanRel checks and normalises the part after FOLDER: - slashes, no way out.
func cleanRel(rel string) (string, error) {
	if strings.HasPrefix(rel, "/") {
		return "", errorf("the part after the colon is relative to the folder: leave the first / out")
	}
	var out []string
	for c := range strings.SplitSeq(rel, "/") {
		switch c {
		case "", ".":
		case "..":
			return "", errorf("\"..\" leads out of the folder")
		default:
			out = append(out, c)
		}
	}
	return strings.Join(out, "/"), nil
}

// isName reports whether s could name a folder: [a-z0-9][a-z0-9._-]{0,62}.
func isName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
