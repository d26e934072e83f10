package ignore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestMatch has one case for each thing that the syntax can say.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules, path string
		want        bool // a path with a trailing slash is a directory
	}{
		{"*.o", "a.o", true},
		{"*.o", "d/e/a.o", true},
		{"*.o", "a.oo", false},
		{"/a", "a", true},
		{"/a", "d/a", false},
		{"d/a", "d/a", true},
		{"d/a", "e/d/a", false},
		{"a/", "a", false},
		{"a/", "a/", true},
		{"a/", "d/a/b", true},
		{"**/a", "d/e/a", true},
		{"**/a", "a", true},
		{"d/**", "d/e/f", true},
		{"d/**", "d/", false},
		{"d/**/f", "d/f", true},
		{"d/**/f", "d/e/e/f", true},
		{"d/*/f", "d/e/e/f", false},
		{"d*f", "d/f", false},
		{"*\n!a", "a", false},
		{"d/\n!d/a", "d/a", true},
		{"d/*\n!d/a", "d/a", false},
		{"!a\na", "a", true},
		{"#a", "#a", false},
		{`\#a`, "#a", true},
		{`\!a`, "!a", true},
		{"a  ", "a", true},
		{`a\ `, "a ", true},
		{"a\t", "a", false},
		{"a\r\n", "a", true},
		{"\xef\xbb\xbfa", "a", true},
		{"[[:digit:]a-c]x", "7x", true},
		{"[!a]x", "ax", false},
		{"[a", "[a", false},
		{"é", "é", true},
		{"", "a", false},
		{"/", "a", false},
	} {
		t.Run(fmt.Sprintf("%q with %q", tt.rules, tt.path), func(t *testing.T) {
			var s Set
			s.Put("", Parse([]byte(tt.rules)))
			p, dir := strings.CutSuffix(tt.path, "/")
			if got := s.Match(id.Path(p), dir).Ignored(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestNested: the deepest file with a rule decides, and a file in an ignored
// directory says nothing.
func TestNested(t *testing.T) {
	t.Parallel()
	var s Set
	s.Put("", Parse([]byte("*.o\nout/\n")))
	s.Put("src", Parse([]byte("!keep.o\n/only\n")))
	s.Put("out", Parse([]byte("!*\n")))
	for p, want := range map[id.Path]string{
		"a.o": ":1:*.o", "src/a.o": ":1:*.o", "src/keep.o": "src:1:!keep.o", "src/d/keep.o": "src:1:!keep.o",
		"src/only": "src:2:/only", "src/d/only": "", "out/a": ":2:out/", "out/a/b": ":2:out/", "keep.o": ":1:*.o",
	} {
		got := ""
		if m := s.Match(p, false); m.Rule != nil {
			got = fmt.Sprintf("%s:%d:%s", m.Dir, m.Rule.Line, m.Rule.Text)
			if m.Ignored() != m.Rule.Ignores() {
				t.Errorf("%s: the match and its rule differ", p)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", p, got, want)
		}
	}
}

// TestUnusable: below a file that cannot be used everything new is ignored, but the
// file itself.
func TestUnusable(t *testing.T) {
	t.Parallel()
	var s Set
	s.Put("d", Unusable("is too large"))
	s.Put("d/e", Parse([]byte("!*\n")))
	for p, want := range map[id.Path]bool{"a": false, "d": false, "d/a": true, "d/e/a": true, "d/" + Name: false, "d/e/" + Name: true} {
		if got := s.Match(p, false).Ignored(); got != want {
			t.Errorf("%s: got %v, want %v", p, got, want)
		}
	}
	if got := s.Get("d").Reason(); got != "is too large" {
		t.Errorf("the reason is %q", got)
	}
	if got := s.Get("d/e").Reason(); got != "" {
		t.Errorf("a good file has the reason %q", got)
	}
}

// TestSlowPatterns: patterns made to be slow are not.
func TestSlowPatterns(t *testing.T) {
	t.Parallel()
	for pattern, path := range map[string]string{
		strings.Repeat("**/", 60) + "x/y":       strings.Repeat("a/", 100) + "z",
		strings.Repeat("**/a/", 40) + "b":       strings.Repeat("a/", 100) + "z",
		"/" + strings.Repeat("*a", 60) + "*b":   strings.Repeat("a", 250),
		strings.Repeat("**/*a*/", 30) + "q":     strings.Repeat("aaa/", 100) + "z",
		strings.Repeat("*[a]", 60) + "b":        strings.Repeat("a", 250),
		strings.Repeat("?*", 100) + "b":         strings.Repeat("a", 250),
		strings.Repeat("**/*", 60) + "/nowhere": strings.Repeat("a/", 120) + "z",
	} {
		start := time.Now()
		var s Set
		s.Put("", Parse([]byte(pattern)))
		if s.Match(id.Path(path), false).Rule != nil {
			t.Errorf("%.20q matches", pattern)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.20q took %v", pattern, took)
		}
	}
}

// FuzzParse: every text is a rule file, what is in an ignored directory is ignored
// by the same rule, and a scope answers as the set does.
func FuzzParse(f *testing.F) {
	f.Add([]byte("*.o\n!keep.o\n/build/\nd/**/x[a-z]\n"), "d/e/x.o")
	f.Add([]byte("\xef\xbb\xbf**/[[:alpha:]-z]*\\ \r\n!\\"), "a/b")
	f.Add([]byte("/\n//\n!/\n\\\n[\n[]\n[!\n"), "[/]")
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		p := id.Path(path)
		if p.Check() != nil {
			return
		}
		var s Set
		s.Put("", Parse(text))
		s.Put(p.Dir(), Parse(text))
		m := s.Match(p, true)
		sc := s.In(p.Dir())
		if again := sc.Match(p, true); again != m {
			t.Errorf("the scope says %+v, the set %+v", again, m)
		}
		if below := s.Match(p.Join("below"), false); m.Ignored() && below != m {
			t.Errorf("%q is ignored by %+v, what is in it by %+v", path, m.Rule, below.Rule)
		}
	})
}

// BenchmarkMatch matches 100,000 paths with 60 rules, as a scan does.
func BenchmarkMatch(b *testing.B) {
	var s Set
	rules := "*.o\n*.a\n*.so\n*.tmp\n*~\n.*.sw?\nnode_modules/\n/build/\n/dist/\n**/__pycache__/\n*.py[cod]\ntarget/\n!keep/\ndocs/**/out\n"
	for i := range 46 {
		rules += fmt.Sprintf("name%d.log\n", i)
	}
	s.Put("", Parse([]byte(rules)))
	s.Put("dir3", Parse([]byte("!*.o\n/local-*\n")))
	var paths []id.Path
	for d := range 100 {
		for n := range 1000 {
			paths = append(paths, id.Path(fmt.Sprintf("dir%d/sub/file%d.go", d%10, n)))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		var sc Scope
		var dir id.Path
		for _, p := range paths {
			if d := p.Dir(); d != dir {
				sc, dir = s.In(d), d
			}
			sc.Match(p, false)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(paths)), "ns/path")
}
