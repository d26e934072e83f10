// Package ignore says which names the rules in .lockstepignore files leave out,
// exactly as git does with .gitignore files. It is pure: text and paths in,
// answers out.
package ignore

import (
	"bytes"
	"strings"
)

const (
	// Name is what a rule file is called, in any directory of a folder.
	Name = ".lockstepignore"
	// MaxBytes is the longest rule file that is used. One that is longer is taken as
	// unreadable: a mistake, and too slow to match every name with.
	MaxBytes = 1 << 20
)

// Rule is one line of a rule file that says something.
type Rule struct {
	// Line is its number, from 1; 0 for the rule of a file that cannot be used.
	Line int
	// Text is the line as git shows it: without trailing spaces and line end. For the
	// rule of a file that cannot be used it is the reason.
	Text string

	pattern  string // without "!", a leading and a trailing slash
	literal  int    // bytes of pattern before its first special character
	negated  bool   // "!": what it matches is not ignored
	dirOnly  bool   // trailing slash
	nameOnly bool   // no slash but a trailing one: matched with names in any directory
	suffix   bool   // "*" and no special character after it
	closed   bool   // matches everything but the rule file itself
	only     bool   // stands for what this node does not keep
}

// Ignores reports whether what the rule matches is ignored, rather than excepted.
func (r *Rule) Ignores() bool { return !r.negated }

// Unusable reports that the rule stands for a file that cannot be used.
func (r *Rule) Unusable() bool { return r.closed }

// Only reports that the rule stands for a path that this node does not keep: Text names
// the patterns of what it does.
func (r *Rule) Only() bool { return r.only }

// Rules are those of one file.
type Rules struct{ rules []Rule }

// Parse reads a rule file. Every text is one: what is not understood matches nothing.
func Parse(text []byte) *Rules {
	out := &Rules{}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for n := 1; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		line, _, _ = bytes.Cut(line, []byte{0})
		if r, ok := parseRule(trimSpaces(string(line))); ok {
			r.Line = n
			out.rules = append(out.rules, r)
		}
	}
	return out
}

// Unusable returns the rules of a file that is there and cannot be used. Everything
// is ignored then, but the file itself: what the file would leave out is not known,
// and what went to others once cannot be taken back.
func Unusable(reason string) *Rules {
	return &Rules{rules: []Rule{{Text: reason, closed: true}}}
}

// Reason says why the file cannot be used, "" where it can.
func (r *Rules) Reason() string {
	if r != nil && len(r.rules) == 1 && r.rules[0].closed {
		return r.rules[0].Text
	}
	return ""
}

// Len is the number of rules.
func (r *Rules) Len() int { return len(r.rules) }

// trimSpaces cuts trailing spaces, but not one after a backslash.
func trimSpaces(s string) string {
	first := -1 // of the spaces at the end so far
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			if first < 0 {
				first = i
			}
			continue
		case '\\':
			i++
			if i == len(s) {
				return s
			}
		}
		first = -1
	}
	if first >= 0 {
		return s[:first]
	}
	return s
}

// parseRule reads one line. It is false for one that can match nothing.
func parseRule(s string) (Rule, bool) {
	r := Rule{Text: s}
	s, r.negated = strings.CutPrefix(s, "!")
	whole := s
	s, r.dirOnly = strings.CutSuffix(s, "/")
	r.nameOnly = strings.IndexByte(s, '/') < 0
	r.literal = min(plain(whole), len(s))
	r.suffix = strings.HasPrefix(whole, "*") && plain(whole[1:]) == len(whole)-1
	r.pattern = s
	if !r.nameOnly && s[0] == '/' {
		r.pattern = s[1:]
		r.literal--
	}
	return r, r.pattern != ""
}

// plain is how many bytes of s come before the first that is special in a pattern.
func plain(s string) int {
	if i := strings.IndexAny(s, special); i >= 0 {
		return i
	}
	return len(s)
}

const special = `*?[\`

// match reports whether the rule matches a path relative to the rule file's
// directory, the last component of which begins at base.
func (r *Rule) match(path string, base int, dir bool) bool {
	if r.closed {
		return path != Name
	}
	if r.dirOnly && !dir {
		return false
	}
	if !r.nameOnly {
		n := r.literal
		if len(path) < n || path[:n] != r.pattern[:n] {
			return false
		}
		if n == len(r.pattern) {
			return n == len(path)
		}
		return wildmatch(r.pattern[n:], path[n:], true)
	}
	name := path[base:]
	switch {
	case r.literal == len(r.pattern):
		return name == r.pattern
	case r.suffix:
		return strings.HasSuffix(name, r.pattern[1:])
	}
	n := r.literal
	return len(name) >= n && name[:n] == r.pattern[:n] && wildmatch(r.pattern[n:], name[n:], false)
}

// last returns the last rule that matches, nil if none does.
func (r *Rules) last(path string, base int, dir bool) *Rule {
	for i := len(r.rules) - 1; i >= 0; i-- {
		if r.rules[i].match(path, base, dir) {
			return &r.rules[i]
		}
	}
	return nil
}
