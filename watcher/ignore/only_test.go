package ignore

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func mustOnly(t testing.TB, text string) *Only {
	t.Helper()
	o, err := ParseOnly(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return o
}

// TestKeeps has one case for each thing that patterns can say.
func TestKeeps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		only       string
		kept, left string // a trailing slash is a directory
	}{
		{"", "a a/ a/b", ""},
		{"*", "a a/b", ""},
		{"**", "a a/b", ""},
		{"docs", "docs docs/ docs/a x/ x/docs x/docs/b .lockstepignore x/.lockstepignore", "a x/a docsx"},
		{"/docs", "docs docs/a .lockstepignore", "a x/ x/docs x/.lockstepignore"},
		{"docs/", "docs docs/a", "a"},
		{"docs/**", "docs/ docs/a docs/a/b", "a a/ x/docs"},
		{"photos/2026", "photos/ photos/2026 photos/2026/a photos/.lockstepignore", "photos photos/2025/ photos/2025 x/"},
		{"*.go", "a.go x/ x/y/ x/a.go", "a x/a"},
		{"/*.go", "a.go", "x/ x/a.go a"},
		{"*,!/big", "a a/big a/b", "big big/ big/a big/.lockstepignore"},
		{"*,!big", "a a/b", "big/ a/big/ a/big/c"},
		{"*,!/big,/big/small", "big/ big/small big/small/a big/.lockstepignore a", "big/x big/x/ big"},
		{"/docs,!/docs/a", "docs/b docs/", "docs/a docs/a/ b"},
		{"!x,*", "", ""}, // refused below
		{`a\,b,c`, "a,b c", "a b"},
		{` a , \ b `, "a", "b"},
		{"a/*/c", "a/ a/x/ a/x/c a/x/c/d", "a/x/d a/x/y/ b/"},
		{"a/**/c", "a/ a/x/ a/x/y/ a/c a/x/y/c", "b/ a/x"},
		{"**/c", "a/ a/c a/b/c c", "a/d"},
		{"a/[bc]/d", "a/b/ a/c/d", "a/d/ a/b"},
		{"a*/b", "ax/ ax/b", "ax b x/"},
	} {
		o, err := ParseOnly(tt.only)
		if err != nil {
			if tt.kept+tt.left != "" {
				t.Errorf("%q: %v", tt.only, err)
			}
			continue
		}
		for i, list := range []string{tt.kept, tt.left} {
			for _, p := range strings.Fields(list) {
				name, dir := strings.CutSuffix(p, "/")
				if got := o.Keeps(id.Path(name), dir); got != (i == 0) {
					t.Errorf("%q keeps %q: %v", tt.only, p, got)
				}
			}
		}
	}
}

func TestWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		only, dir string
		want      bool
	}{
		{"", "", true}, {"", "a", true},
		{"docs", "docs", true}, {"docs", "docs/a", true}, {"docs", "", false}, {"docs", "a", false},
		{"docs/**", "docs", true},
		{"a/b", "a", false}, {"a/b", "a/b/c", true},
		{"*.go", "a", false},
		{"*,!/big", "", false}, {"*,!/big", "a", true}, {"*,!/big", "big", false},
		{"*,!big", "a", false},
		{"*,!a/b/*", "a", false}, {"*,!a/b/*", "a/b", false}, {"*,!a/b/*", "a/c", true},
		{"*,!a/**/x", "a/b/c", false}, {"*,!a/**/x", "b", true},
		{"docs,!docs/a,docs/a/b", "docs/a/b", true}, {"docs,!docs/a,docs/a/b", "docs/a", false},
	} {
		if got := mustOnly(t, tt.only).Whole(id.Path(tt.dir)); got != tt.want {
			t.Errorf("%q keeps all below %q: %v", tt.only, tt.dir, got)
		}
	}
}

// TestOnlyRefused: patterns without an effect are refused, with what would be right.
func TestOnlyRefused(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"!big":                              "takes back what no pattern before it keeps",
		"!big,*":                            "takes back what no pattern",
		"a,,b":                              "is empty",
		"a,":                                "is empty",
		"a,!":                               "is empty",
		"/":                                 "matches nothing",
		"//":                                "matches nothing",
		"a//b":                              "empty name",
		"./a":                               "empty name, . or ..",
		"../a":                              "empty name, . or ..",
		"[a":                                "[ without its ]",
		"a/[[:nope:]]":                      "[ without its ]",
		`a\`:                                "ends with a backslash",
		".lockstep/kept":                    "the daemon's own",
		"docs,!docs":                        "does not take back",
		"docs/a,!docs":                      "does not take back",
		"docs,!*":                           "does not take back",
		"*.go,!*.go":                        "does not take back",
		strings.Repeat("a,", MaxOnly) + "a": "is longer than",
	} {
		o, err := ParseOnly(text)
		var bad *OnlyError
		if !errors.As(err, &bad) || !strings.Contains(bad.Why, why) || bad.Hint == "" || o != nil {
			t.Errorf("%.40q: %v, want %q", text, err, why)
		}
	}
}

// TestOnlyInSet: what is not kept is ignored before any rule is asked, and what is kept
// as the rules say.
func TestOnlyInSet(t *testing.T) {
	t.Parallel()
	var s Set
	if s.SetOnly(mustOnly(t, "/docs,!/docs/old")); s.Empty() {
		t.Error("a set that leaves something out is empty")
	}
	s.Put("", Parse([]byte("*.o\n")))
	for p, want := range map[id.Path]string{"docs/a": "", "docs/a.o": "*.o", "docs/old/a.o": "only=", "b.o": "only=", "b/c/d": "only=", "docs": ""} {
		m := s.Match(p, p == "docs")
		got := ""
		if m.Ignored() {
			got = m.Rule.Text
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) || (m.Ignored() && m.Rule.Only() != (want == "only=")) {
			t.Errorf("%s is ignored by %q, want %q", p, got, want)
		}
	}
}

// plainKeeps is a second model: each pattern by itself, as a rule file of its own.
func plainKeeps(text string, p id.Path) bool {
	kept := false
	for _, pattern := range splitPatterns(text) {
		pattern, not := strings.CutPrefix(strings.TrimSpace(pattern), "!")
		pattern = strings.TrimSuffix(pattern, "/")
		if d, all := strings.CutSuffix(pattern, "/**"); all && !not && d != "" {
			pattern = "/" + strings.TrimPrefix(d, "/")
		}
		var s Set
		s.Put("", Parse([]byte(pattern)))
		if s.Match(p, true).Ignored() {
			kept = !not
		}
	}
	return kept
}

var (
	onlyNames = []string{"a", "b", "c", "ab"}
	onlyParts = []string{"a", "b", "c", "ab", "*", "a*", "?", "[ab]", "**", "*b"}
)

func randomOnly(rng *rand.Rand) string {
	var list []string
	for n := 1 + rng.IntN(4); n > 0; n-- {
		var parts []string
		for k := 1 + rng.IntN(3); k > 0; k-- {
			parts = append(parts, onlyParts[rng.IntN(len(onlyParts))])
		}
		s := strings.Join(parts, "/")
		if rng.IntN(3) == 0 {
			s = "/" + s
		}
		if rng.IntN(6) == 0 {
			s += "/"
		}
		if rng.IntN(3) == 0 {
			s = "!" + s
		}
		list = append(list, s)
	}
	return strings.Join(list, ",")
}

// allPaths are all of up to four names.
func allPaths() (out []id.Path) {
	level := []id.Path{""}
	for range 4 {
		var next []id.Path
		for _, d := range level {
			for _, n := range onlyNames {
				next = append(next, d.Join(n))
			}
		}
		out = append(out, next...)
		level = next
	}
	return out
}

// TestOnlyAgainstModel: a file is kept as the plain model says; a directory above
// something kept is kept; everything below a whole directory is kept; and what is
// refused as having no effect has none.
func TestOnlyAgainstModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(18, 1))
	all := allPaths()
	parsed := 0
	for range 1500 {
		text := randomOnly(rng)
		o, err := ParseOnly(text)
		if err != nil {
			continue
		}
		parsed++
		for _, p := range all {
			keeps := o.Keeps(p, false)
			if want := plainKeeps(text, p); keeps != want {
				t.Fatalf("%q keeps %q: %v, the model says %v", text, p, keeps, want)
			}
			dir := o.Keeps(p, true)
			if keeps && !dir {
				t.Fatalf("%q keeps %q as a file only", text, p)
			}
			if dir && !o.Keeps(p.Dir(), true) {
				t.Fatalf("%q keeps %q and not what it is in", text, p)
			}
			if !keeps {
				for d := p.Dir(); d != ""; d = d.Dir() {
					if o.Whole(d) {
						t.Fatalf("%q keeps all below %q, but not %q", text, d, p)
					}
				}
			}
		}
	}
	if parsed < 300 {
		t.Errorf("only %d of the patterns were taken", parsed)
	}
}

// FuzzParseOnly: every text is taken or refused with words, and what is taken keeps to
// the invariant.
func FuzzParseOnly(f *testing.F) {
	f.Add("*,!/big,/big/small", "big/small/x")
	f.Add(`a\,b,[[:alpha:]-z]*\ ,**/x`, "a,b/x")
	f.Add("docs/**,!docs/[", "docs/a")
	f.Fuzz(func(t *testing.T, text, path string) {
		o, err := ParseOnly(text)
		if err != nil {
			var bad *OnlyError
			if !errors.As(err, &bad) || bad.Hint == "" || o != nil {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		p := id.Path(path)
		if p.Check() != nil {
			return
		}
		if again, err := ParseOnly(o.String()); err != nil || again.Keeps(p, false) != o.Keeps(p, false) {
			t.Errorf("%q reads another way the second time: %v", text, err)
		}
		if o.Keeps(p, false) && !o.Keeps(p, true) || o.Keeps(p, true) && !o.Keeps(p.Dir(), true) {
			t.Errorf("%q keeps %q and not what it is in", text, path)
		}
		if o.Whole(p) && (!o.Keeps(p, true) || !o.Keeps(p.Join("x"), false)) {
			t.Errorf("%q keeps all below %q, and not what is there", text, path)
		}
		var s Set
		s.SetOnly(o)
		if sc := s.In(p.Dir()); sc.Match(p, true).Ignored() == o.Keeps(p, true) || s.Match(p, false).Ignored() == o.Keeps(p, false) {
			t.Errorf("%q: the set differs on %q", text, path)
		}
	})
}
