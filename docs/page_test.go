package docs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// step is one command of a page, with what it prints.
type step struct {
	line       int // in the page
	machine    string
	command    string
	background bool
	exit       int
	want       []string
}

var (
	prompt   = regexp.MustCompile(`^([a-z][a-z0-9]*)\$ (.+)$`)
	exitNote = regexp.MustCompile(`\s+# exit code (\d+)$`)
)

// parsePage returns the steps of a page's console blocks, in order.
func parsePage(page []byte) (steps []step, err error) {
	in := bufio.NewScanner(bytes.NewReader(page))
	inBlock := false
	for n := 1; in.Scan(); n++ {
		l := in.Text()
		switch m := prompt.FindStringSubmatch(l); {
		case !inBlock:
			inBlock = l == "```console"
		case l == "```":
			inBlock = false
		case m != nil:
			s := step{line: n, machine: m[1], command: m[2]}
			if e := exitNote.FindStringSubmatchIndex(s.command); e != nil {
				s.exit, _ = strconv.Atoi(s.command[e[2]:e[3]])
				s.command = s.command[:e[0]]
			}
			s.command, s.background = strings.CutSuffix(s.command, " &")
			steps = append(steps, s)
		case len(steps) == 0:
			return nil, fmt.Errorf("line %d: output before any command: %s", n, l)
		default:
			s := &steps[len(steps)-1]
			s.want = append(s.want, strings.TrimRight(l, " "))
		}
	}
	if inBlock {
		return nil, fmt.Errorf("the last block has no end")
	}
	return steps, in.Err()
}

// matches reports whether got is what want says, where … stands for any text
// within a line, and a line … alone for any number of lines.
func matches(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == "…" {
		for i := range len(got) + 1 {
			if matches(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && lineMatches(want[0], got[0]) && matches(want[1:], got[1:])
}

func lineMatches(want, got string) bool {
	parts := strings.Split(want, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got)
}

// contains reports whether got has lines that match want's, in their order, with
// any lines between.
func contains(want, got []string) bool {
	for _, l := range got {
		if len(want) > 0 && lineMatches(want[0], l) {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// outputLines splits what a command printed, without spaces at the lines' ends.
func outputLines(b []byte) (out []string) {
	for l := range strings.Lines(string(b)) {
		out = append(out, strings.TrimRight(l, " \r\n"))
	}
	return out
}

func TestParsePage(t *testing.T) {
	t.Parallel()
	got, err := parsePage([]byte("# Page\n\n```sh\nlaptop$ not run\n```\n```console\nlaptop$ lockstep up ~/x &\nready\ndesktop$ lockstep status --check   # exit code 5\na\n\nb\n```\n"))
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if s := got[0]; s.machine != "laptop" || s.command != "lockstep up ~/x" || !s.background || len(s.want) != 1 || s.line != 7 {
		t.Errorf("first: %+v", s)
	}
	if s := got[1]; s.command != "lockstep status --check" || s.background || s.exit != 5 || strings.Join(s.want, "|") != "a||b" {
		t.Errorf("second: %+v", s)
	}
	for _, bad := range []string{"```console\nno prompt\n```\n", "```console\nlaptop$ x\n"} {
		if got, err := parsePage([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a…c", "abbc", true}, {"a…c", "abb", false}, {"…", "", true}, {"…|b", "a|a|b", true},
		{"…|b", "a|b|c", false}, {"a.c", "abc", false}, {"a|…|d|…", "a|b|c|d", true}, {"", "a", false},
	} {
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, "|")
		}
		if got := matches(split(c.want), split(c.got)); got != c.ok {
			t.Errorf("%q against %q: %v", c.want, c.got, got)
		}
	}
	if !contains([]string{"a", "c…"}, []string{"x", "a", "b", "cd"}) || contains([]string{"c", "a"}, []string{"a", "c"}) {
		t.Error("contains")
	}
}

func readPage(t *testing.T, name string) []step {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := parsePage(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return steps
}
