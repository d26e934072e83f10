package ignore

import (
	"fmt"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// MaxOnly is the longest text of patterns that ParseOnly takes, in bytes.
const MaxOnly = 8192

// Only is the subset of a folder's paths that a node keeps. nil keeps everything.
//
// Invariant: what is kept has only kept directories above it, so that walks down may
// stop at the first that is not.
type Only struct {
	text  string
	rules []Rule
	out   Rule // stands for the patterns where they leave something out
}

// OnlyError says what is wrong with patterns, and what would be right.
type OnlyError struct{ Pattern, Why, Hint string }

// Error implements error.
func (e *OnlyError) Error() string { return fmt.Sprintf("the pattern %q %s", e.Pattern, e.Why) }

// ParseOnly reads patterns as gitignore has them, separated by commas; "\," is a comma.
// What they match is kept, with all below it, and with a "!" is not. Spaces around a
// pattern do not count. It is nil where everything is kept. The error is an *OnlyError.
func ParseOnly(text string) (*Only, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > MaxOnly {
		return nil, &OnlyError{text[:20] + "...", fmt.Sprintf("is longer than %d bytes, with the others", MaxOnly), "name directories rather than files"}
	}
	o := &Only{text: text}
	for _, s := range splitPatterns(text) {
		r, err := onlyRule(s)
		if err != nil {
			return nil, err
		}
		o.rules = append(o.rules, r)
	}
	for i := range o.rules {
		if err := o.checkRule(i); err != nil {
			return nil, err
		}
	}
	if last := o.rules[len(o.rules)-1]; last.all() {
		return nil, nil
	}
	o.out = Rule{Text: "only=" + text, only: true}
	return o, nil
}

// splitPatterns cuts at commas that no backslash is before.
func splitPatterns(text string) (out []string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] != ',' {
				b.WriteByte(c)
			}
			b.WriteByte(text[i])
		case c == ',':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(out, b.String())
}

// onlyRule reads one pattern.
func onlyRule(s string) (Rule, error) {
	s = trimSpaces(strings.TrimLeft(s, " "))
	bad := func(why, hint string) (Rule, error) { return Rule{}, &OnlyError{s, why, hint} }
	if s == "" || s == "!" {
		return bad("is empty", `separate patterns by one comma; a comma in a name is \,`)
	}
	r, ok := parseRule(s)
	if dir, all := strings.CutSuffix(r.pattern, "/**"); all && !r.negated && dir != "" {
		r, ok = parseRule("/" + dir) // the directory itself is kept too
		r.Text = s
	}
	if !ok || strings.IndexByte(s, 0) >= 0 {
		return bad("matches nothing", "the folder's root itself is always kept; * is everything in it")
	}
	if wrong := malformed(r.pattern); wrong != "" {
		return bad(wrong, `write \[ or \\ for the character itself`)
	}
	if !r.nameOnly {
		for c := range strings.SplitSeq(r.pattern, "/") {
			if c == "" || c == "." || c == ".." {
				return bad("matches nothing: no path has an empty name, . or .. in it", "write paths from the folder's root, such as docs/2026")
			}
		}
	}
	if first, _, _ := strings.Cut(r.pattern, "/"); first == id.ReservedName {
		return bad("matches nothing: "+id.ReservedName+" is the daemon's own", "leave it out")
	}
	return r, nil
}

// malformed says why no text can match a pattern for its form, "" where one can.
func malformed(pattern string) string {
	w := wild{pattern: pattern}
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			if i++; i == len(pattern) {
				return "ends with a backslash"
			}
		case '[':
			end, _, ok := w.class(i, 'a')
			if !ok {
				return "has a [ without its ]"
			}
			i = end
		}
	}
	return ""
}

// checkRule refuses a pattern that has no effect.
func (o *Only) checkRule(i int) error {
	r := &o.rules[i]
	if r.negated {
		for _, before := range o.rules[:i] {
			if !before.negated {
				return nil
			}
		}
		return &OnlyError{r.Text, "takes back what no pattern before it keeps", "begin with *, to keep everything else: *," + r.Text}
	}
	for _, later := range o.rules[i+1:] {
		if later.negated && later.covers(r) {
			return &OnlyError{r.Text, fmt.Sprintf("matches nothing that %q after it does not take back", later.Text), "the last pattern that matches decides: write the exception first"}
		}
	}
	return nil
}

// all reports whether the rule matches every path.
func (r *Rule) all() bool { return !r.negated && strings.Trim(r.pattern, "*") == "" }

// covers reports whether the rule surely matches all that the other does.
func (r *Rule) covers(other *Rule) bool {
	if strings.Trim(r.pattern, "*") == "" || r.pattern == other.pattern && r.nameOnly == other.nameOnly {
		return true
	}
	if other.nameOnly || strings.ContainsAny(other.pattern, special) {
		return false
	}
	for p := id.Path(other.pattern); p != ""; p = p.Dir() {
		if r.matchOnly(p) {
			return true
		}
	}
	return false
}

// matchOnly is match without regard to kinds: a node that keeps a name, or not, does so
// whatever others make of it.
func (r *Rule) matchOnly(p id.Path) bool {
	return r.match(string(p), len(p)-len(p.Base()), true)
}

// String returns the patterns as they were written, "" for nil.
func (o *Only) String() string {
	if o == nil {
		return ""
	}
	return o.text
}

// decides is the number of the last rule that matches the path or a directory above
// it, -1 where none does.
func (o *Only) decides(p id.Path) int {
	last := -1
	for ; p != ""; p = p.Dir() {
		for i := len(o.rules) - 1; i > last; i-- {
			if o.rules[i].matchOnly(p) {
				last = i
				break
			}
		}
	}
	return last
}

// kept reports whether what a rule number stands for is kept.
func (o *Only) kept(rule int) bool { return rule >= 0 && !o.rules[rule].negated }

// Keeps reports whether a path, a directory's or not, is kept: the last pattern that
// matches it or a directory above it says so, or it is a directory that leads to what
// may be kept, or a rule file in a directory that is kept.
func (o *Only) Keeps(p id.Path, dir bool) bool {
	if o == nil || p == "" {
		return true
	}
	last := o.decides(p)
	switch {
	case o.kept(last):
		return true
	case dir:
		return o.leads(p, last)
	}
	return p.Base() == Name && o.Keeps(p.Dir(), true)
}

// leads reports whether a pattern after the last one that decides on the directory
// could keep something below it.
func (o *Only) leads(dir id.Path, last int) bool {
	for i := last + 1; i < len(o.rules); i++ {
		if r := &o.rules[i]; !r.negated && r.reaches(dir) {
			return true
		}
	}
	return false
}

// Whole reports whether everything that can be below the directory is kept.
func (o *Only) Whole(dir id.Path) bool {
	if o == nil {
		return true
	}
	last := o.decides(dir)
	if !o.kept(last) {
		return false
	}
	for i := last + 1; i < len(o.rules); i++ {
		if r := &o.rules[i]; r.negated && r.reaches(dir) {
			return false
		}
	}
	return true
}

// reaches reports whether the rule could match something below the directory, which it
// does not match itself. It may say so of one that cannot.
func (r *Rule) reaches(dir id.Path) bool {
	if r.nameOnly || dir == "" {
		return true
	}
	pattern, names := r.pattern, string(dir)
	for names != "" {
		part, rest, more := strings.Cut(pattern, "/")
		name, below, _ := strings.Cut(names, "/")
		switch {
		case strings.HasPrefix(part, "**") || malformed(part) != "":
			return true // any number of directories, or a slash in brackets
		case !more || !wildmatch(part, name, true):
			return false
		}
		pattern, names = rest, below
	}
	return true
}
