package docs

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/textdiff"
)

var record = flag.Bool("record", false, "record the sessions anew")

// sessionPage is the page whose commands the recorded sessions show.
const sessionPage = "tutorial.md"

// TestSessions runs the tutorial's commands once at a terminal of 80 columns and once
// in a pipe, and compares all that they print with what was recorded, but for what
// differs each time: times, hashes, ports.
func TestSessions(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: no sh")
	}
	for _, c := range []struct {
		name, file string
		terminal   bool
	}{{"terminal", "session-terminal.txt", true}, {"pipe", "session-pipe.txt", false}} {
		t.Run(c.name, func(t *testing.T) {
			if c.terminal && runtime.GOOS != "linux" {
				t.Skip("SKIPPED: pseudo-terminals are tested on Linux")
			}
			t.Parallel()
			got := runSession(t, c.terminal)
			if *record {
				if err := os.WriteFile(c.file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatalf("%v; record it with: go test ./docs -run TestSessions -record", err)
			}
			if g, w := normal(got), normal(want); g != w {
				t.Errorf("%s is not what is printed now; record it with: go test ./docs -run TestSessions -record\n%s", c.file,
					textdiff.Unified("recorded", "now", []byte(w), []byte(g)))
			}
		})
	}
}

// runSession returns all commands of the page with what they print.
func runSession(t *testing.T, terminal bool) []byte {
	work := t.TempDir()
	m := &machines{work: work, path: os.Getenv("PATH"), terminal: terminal}
	defer m.stop()
	var out bytes.Buffer
	for _, s := range readPage(t, sessionPage) {
		fmt.Fprintf(&out, "%s$ %s", s.machine, s.command)
		if s.background {
			fmt.Fprint(&out, " &")
		}
		fmt.Fprintln(&out)
		got, err := m.do(s)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		for _, l := range got {
			l = strings.ReplaceAll(l, work, "/home")
			if terminal && len([]rune(l)) > 80 && !token.MatchString(l) {
				t.Errorf("%s$ %s: over 80 columns: %s", s.machine, s.command, l)
			}
			fmt.Fprintln(&out, l)
		}
	}
	return out.Bytes()
}

// volatile is what differs from run to run.
var volatile = []struct {
	what *regexp.Regexp
	with string
}{
	{token, "TOKEN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d(:\d\d)?\b`), "TIME"},
	{regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+`), "ADDR"},
	{regexp.MustCompile(`\b[0-9a-f]{8,}\b`), "HEX"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|us|ms|s|m)\b|\b\d+ (second|minute|ms|s|min)s?( ago)?\b|\bnow\b|\bjust now\b`), "SPAN"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func normal(b []byte) string {
	s := string(b)
	for _, v := range volatile {
		s = v.what.ReplaceAllString(s, v.with)
	}
	return s
}
