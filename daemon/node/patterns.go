package node

import (
	"regexp"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// patterns match paths as a shell's do: * and ? stand for characters of one name,
// [a-z] for one of a set, ** for any directories. A pattern without a slash is
// matched with the last name of a path, one with a slash with the whole path below
// the directory that was asked for.
type patterns []pattern

type pattern struct {
	re   *regexp.Regexp
	base bool
}

// any reports whether one matches p, which is within under; true if there are none.
func (ps patterns) any(p, under id.Path) bool {
	for _, x := range ps {
		s := string(p.Rebase(under, ""))
		if x.base {
			s = p.Base()
		}
		if x.re.MatchString(latin(s)) {
			return true
		}
	}
	return len(ps) == 0
}

func compilePatterns(list []control.RawPath) (out patterns, err error) {
	for _, s := range list {
		p, ok := compilePattern(string(s))
		if !ok {
			return nil, control.Errorf(control.CodeUsage, "pattern %q: want one such as *.go, docs/*.txt or **/old/*", string(s))
		}
		out = append(out, p)
	}
	return out, nil
}

// latin makes a rune of each byte: paths are bytes, and patterns match them so.
func latin(s string) string {
	out := make([]rune, len(s))
	for i, c := range []byte(s) {
		out[i] = rune(c)
	}
	return string(out)
}

// one stands for one character: any byte but those that continue one of UTF-8, and
// the continuation after it.
const (
	follow = `[\x{80}-\x{bf}]*`
	one    = `[^/]` + follow
)

func compilePattern(s string) (pattern, bool) {
	s = strings.TrimPrefix(s, "/")
	if s == "" || len(s) > id.MaxPath || strings.IndexByte(s, 0) >= 0 {
		return pattern{}, false
	}
	var sb strings.Builder
	sb.WriteString(`(?s)^`)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*':
			deep := strings.HasPrefix(s[i:], "**") && (i == 0 || s[i-1] == '/')
			switch {
			case deep && strings.HasPrefix(s[i:], "**/"):
				sb.WriteString(`(?:[^/]+/)*`)
				i += 2
			case deep && len(s) == i+2:
				sb.WriteString(`.*`)
				i++
			default:
				sb.WriteString(`[^/]*`)
			}
		case '?':
			sb.WriteString(one)
		case '[':
			set, n := class(s[i:])
			if n == 0 {
				return pattern{}, false
			}
			sb.WriteString(set)
			i += n - 1
		case '\\':
			if i++; i == len(s) {
				return pattern{}, false
			}
			fallthrough
		default:
			sb.WriteString(regexp.QuoteMeta(latin(s[i : i+1])))
		}
	}
	sb.WriteString(`$`)
	re, err := regexp.Compile(sb.String())
	return pattern{re: re, base: !strings.Contains(s, "/")}, err == nil
}

// class reads a set, "[a-z]" or "[!a-z]", and says how long it is; 0 for a bad one.
func class(s string) (string, int) {
	end := strings.IndexByte(s[1:], ']')
	if end < 0 {
		return "", 0
	}
	if end == 0 || end == 1 && (s[1] == '!' || s[1] == '^') { // "[]a]": the bracket itself
		more := strings.IndexByte(s[end+2:], ']')
		if more < 0 {
			return "", 0
		}
		end += more + 1
	}
	body, not := s[1:end+1], ""
	if body[0] == '!' || body[0] == '^' {
		not, body = `^/`, body[1:]
	}
	var sb strings.Builder
	for _, c := range latin(body) {
		if strings.ContainsRune(`\[]^&~`, c) {
			sb.WriteByte('\\')
		}
		sb.WriteRune(c)
	}
	return "[" + not + sb.String() + "]" + follow, end + 2
}
