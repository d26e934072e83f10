package node

import (
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		yes, no []id.Path
	}{
		{"*.go", []id.Path{"a.go", "d/e/a.go", ".go"}, []id.Path{"a.gox", "a.go/x", "ago"}},
		{"/*.go", []id.Path{"a.go"}, []id.Path{"a.gox"}},
		{"src/*.go", []id.Path{"src/a.go"}, []id.Path{"a.go", "src/x/a.go", "x/src/a.go"}},
		{"**/old/*", []id.Path{"old/a", "x/y/old/a"}, []id.Path{"old", "old/a/b", "bold/a"}},
		{"src/**", []id.Path{"src/a", "src/a/b"}, []id.Path{"src", "srcs/a"}},
		{"a/**/b", []id.Path{"a/b", "a/x/b", "a/x/y/b"}, []id.Path{"ab", "a/xb"}},
		{"a**b", []id.Path{"ab", "axxb", "d/axb"}, []id.Path{"a/b"}},
		{"?", []id.Path{"a", "ä", "語", "d/x"}, []id.Path{"ab", "äö"}},
		{"[a-c]x", []id.Path{"ax", "cx"}, []id.Path{"dx", "x"}},
		{"[!a-c]x", []id.Path{"dx", "äx"}, []id.Path{"ax", "a/x"}},
		{"[]a]", []id.Path{"]", "a"}, []id.Path{"b"}},
		{`\*`, []id.Path{"*"}, []id.Path{"a"}},
		{"a.b+(c)", []id.Path{"a.b+(c)"}, []id.Path{"axb+(c)"}},
		{"a\xff*", []id.Path{"a\xffz"}, []id.Path{"a\xfe"}},
		{"x\ny", []id.Path{"x\ny"}, []id.Path{"x"}},
	} {
		ps, err := compilePatterns([]control.RawPath{control.RawPath(c.pattern)})
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		for _, p := range c.yes {
			if !ps.any(p, "") {
				t.Errorf("%q does not match %q", c.pattern, p)
			}
		}
		for _, p := range c.no {
			if ps.any(p, "") {
				t.Errorf("%q matches %q", c.pattern, p)
			}
		}
	}
	for _, s := range []string{"", "/", "[", "[a", "[]", "[!]", `a\`, "a\x00", "[z-a]"} {
		if _, err := compilePatterns([]control.RawPath{control.RawPath(s)}); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	ps, err := compilePatterns([]control.RawPath{"a/*.c", "*.h"})
	if err != nil || !ps.any("src/a/x.c", "src") || !ps.any("src/y.h", "src") || ps.any("src/x.c", "src") {
		t.Errorf("below a directory: %v", err)
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("**/[a-z]?*.go", "a/b.go")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p, err := id.ParsePath(path)
		if err != nil {
			return
		}
		if ps, err := compilePatterns([]control.RawPath{control.RawPath(pattern)}); err == nil {
			ps.any(p, "")
		}
	})
}
