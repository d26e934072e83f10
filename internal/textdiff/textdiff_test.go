package textdiff

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	got := Unified("a.txt@3", "a.txt@4", []byte("one\ntwo\nthree\n"), []byte("one\n2\nthree"))
	want := "--- a.txt@3\n+++ a.txt@4\n@@ -1,3 +1,3 @@\n one\n-two\n-three\n+2\n+three\n\\ No newline at end of file\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := Unified("a", "b", []byte("x\n"), []byte("x\n")); got != "" {
		t.Errorf("equal texts: %q", got)
	}
}

// Property: applied to the first text, the diff gives the second.
func TestUnifiedApplies(t *testing.T) {
	t.Parallel()
	text := rapid.Custom(func(t *rapid.T) string {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c", "", "é", "\xff", "+", "-x", "@@"})).Draw(t, "lines")
		return strings.Join(lines, "\n") + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		d := Unified("a", "b", []byte(a), []byte(b))
		if (d == "") != (a == b) {
			t.Fatalf("%q to %q: %q", a, b, d)
		}
		if d == "" {
			return
		}
		if got := patch(t, a, d); got != b {
			t.Fatalf("%q to %q by %q gives %q", a, b, d, got)
		}
	})
}

func TestIsText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{"": true, "a\n": true, "\xff\xfe": true, "a\x00": false, strings.Repeat("a", sniff) + "\x00": true} {
		if got := IsText([]byte(in)); got != want {
			t.Errorf("IsText(%.10q of %d bytes) = %v", in, len(in), got)
		}
	}
}

// patch applies a unified diff as the format says, by itself.
func patch(t *rapid.T, a, d string) string {
	lines := strings.SplitAfter(a, "\n")
	next := 0 // of lines
	var out strings.Builder
	body := strings.SplitAfter(d, "\n")[2:]
	for i, l := range body {
		if strings.HasPrefix(l, "@@") {
			at, n := 0, 1
			if k, _ := fmt.Sscanf(l, "@@ -%d,%d", &at, &n); k == 1 {
				n = 1
			}
			if n > 0 {
				at-- // an empty range names the line before it
			}
			for ; next < at; next++ {
				out.WriteString(lines[next])
			}
			continue
		}
		if l == "" || l[0] == '\\' {
			continue
		}
		text := l[1:]
		if i+1 < len(body) && strings.HasPrefix(body[i+1], "\\") {
			text = strings.TrimSuffix(text, "\n")
		}
		if l[0] != '+' {
			if lines[next] != text {
				t.Fatalf("%q: line %d of %q is not %q", d, next+1, a, text)
			}
			next++
		}
		if l[0] != '-' {
			out.WriteString(text)
		}
	}
	return out.String() + strings.Join(lines[next:], "")
}
