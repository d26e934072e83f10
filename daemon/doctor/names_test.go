package doctor

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func walkOf(paths ...string) func(func(string) error) error {
	return func(each func(string) error) error {
		for _, p := range paths {
			if err := each(p); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestClashes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		paths []string
		want  []Clash
	}{
		"none":                    {[]string{"a", "b", "a/b", "b/a", "é", "e"}, nil},
		"case":                    {[]string{"README", "d", "readme", "ReadMe", "x"}, []Clash{{Paths: []string{"README", "readme", "ReadMe"}}}},
		"accents":                 {[]string{"d/e\u0301", "d/\u00e9"}, []Clash{{Paths: []string{"d/e\u0301", "d/\u00e9"}, Unicode: true}}},
		"sharp s":                 {[]string{"strasse", "straße"}, []Clash{{Paths: []string{"strasse", "straße"}, Unicode: true}}},
		"only the topmost":        {[]string{"Docs", "Docs/a", "docs", "docs/a"}, []Clash{{Paths: []string{"Docs", "docs"}}}},
		"same name, two places":   {[]string{"x/a", "y/A"}, nil},
		"bytes that are no UTF-8": {[]string{"\xff", "\xfe", "\xffA", "\xffa"}, nil},
	} {
		got, more, err := Clashes(walkOf(c.paths...), 10)
		if err != nil || more || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, %v; want %+v", name, got, more, err, c.want)
		}
	}
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("a%d", i), fmt.Sprintf("A%d", i))
	}
	if got, more, err := Clashes(walkOf(many...), 10); err != nil || !more || len(got) != 10 {
		t.Errorf("%d of 20, more %v, %v", len(got), more, err)
	}
	broken := errors.New("broken")
	if _, _, err := Clashes(func(func(string) error) error { return broken }, 10); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestClashesAgainstAll compares every pair, as the definition does.
func TestClashesAgainstAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune("aAéÉe\u0301ſsSßK\u212a")), 1, 3, -1)
		paths := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(name, 1, 2).Draw(t, "path"), "/")
		}), 0, 12, func(s string) string { return s }).Draw(t, "paths")
		got, _, err := Clashes(walkOf(paths...), 100)
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]string{}
		for i, c := range got {
			for _, p := range c.Paths {
				listed[p] = fmt.Sprint(i)
			}
		}
		fold := cases.Fold()
		same := func(a, b string) bool {
			da, db := a[:strings.LastIndexByte(a, '/')+1], b[:strings.LastIndexByte(b, '/')+1]
			f := func(s string) string { return norm.NFC.String(fold.String(norm.NFC.String(s))) }
			return da == db && f(a[len(da):]) == f(b[len(db):])
		}
		for i, a := range paths {
			for _, b := range paths[:i] {
				if together := listed[a] != "" && listed[a] == listed[b]; same(a, b) != together {
					t.Fatalf("%+q and %+q: clash %v, listed together %v", a, b, same(a, b), together)
				}
			}
		}
	})
}
