package ignore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// gitSets is how many random pattern sets one run of git answers for, each below a
// directory of its own.
const gitSets = 100

// TestAgainstGit compares the deciding rule of random paths under random rule files
// with the one that `git check-ignore` names: 1,000 pattern sets, or 100,000 with
// LOCKSTEP_LONG=1 (LOCKSTEP_IGNORE_SETS of them, if set).
func TestAgainstGit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed, so that the ignore rules are not compared with its own")
	}
	sets := 1000
	if os.Getenv("LOCKSTEP_LONG") != "" {
		sets = 100000
		if n, err := strconv.Atoi(os.Getenv("LOCKSTEP_IGNORE_SETS")); err == nil {
			sets = n
		}
	}
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("LOCKSTEP_IGNORE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("LOCKSTEP_IGNORE_SEED=%d", seed)
	g := newGit(t)
	paths, decided := 0, 0
	for n := 0; n < sets && !t.Failed(); n += gitSets {
		p, d := g.compare(t, rand.New(rand.NewPCG(seed, uint64(n))))
		paths, decided = paths+p, decided+d
	}
	t.Logf("%d pattern sets, %d paths compared, a rule decides on %d", sets, paths, decided)
}

// git is a repository without files of its own, and where its trees are made.
type git struct{ dir, trees string }

func newGit(t *testing.T) *git {
	g := &git{dir: filepath.Join(t.TempDir(), "git")}
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		g.trees = "/dev/shm" // in memory, tens of times faster
	}
	cmd := exec.Command("git", "init", "-q", "--template=", "--bare", g.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return g
}

// check asks git for the rule that decides on each path.
func (g *git) check(t *testing.T, work string, paths []string) []string {
	t.Helper()
	cmd := exec.Command("git", "--git-dir="+g.dir, "--work-tree="+work, "-c", "core.bare=false", "-c", "core.ignorecase=false",
		"-c", "core.excludesFile="+os.DevNull, "check-ignore", "--stdin", "-z", "-v", "-n", "--no-index")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	f := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(f) != 4*len(paths) {
		t.Fatalf("git answered with %d fields for %d paths: %s", len(f), len(paths), stderr.String())
	}
	rules := make([]string, len(paths))
	for i := range paths {
		if f[4*i] != "" {
			rules[i] = strings.Join(f[4*i:4*i+3], ":")
		}
	}
	return rules
}

// compare makes gitSets directories with rules and paths, and compares.
func (g *git) compare(t *testing.T, rng *rand.Rand) (compared, decided int) {
	t.Helper()
	work, err := os.MkdirTemp(g.trees, "lockstep-ignore-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	c := &maker{t: t, rng: rng, work: work, kinds: make(map[id.Path]bool)}
	if rng.IntN(2) == 0 {
		c.rules("")
	}
	for i := range gitSets {
		c.tree(id.Path(fmt.Sprintf("s%d", i)))
	}
	paths := make([]string, 0, len(c.kinds))
	for p := range c.kinds {
		paths = append(paths, string(p))
	}
	slices.Sort(paths)
	for i, want := range g.check(t, work, paths) {
		p := id.Path(paths[i])
		got := ""
		if m := c.set.Match(p, c.kinds[p]); m.Rule != nil {
			got = fmt.Sprintf("%s:%d:%s", m.Dir.Join(".gitignore"), m.Rule.Line, m.Rule.Text)
		}
		if got != want {
			t.Errorf("%q (directory: %v): got %q, git says %q", p, c.kinds[p], got, want)
			c.set.Each(func(d id.Path, _ *Rules) {
				if p.Within(d) {
					text, _ := os.ReadFile(filepath.Join(work, string(d), ".gitignore"))
					t.Logf("%q: %q", d, text)
				}
			})
			return len(paths), decided
		}
		if want != "" {
			decided++
		}
	}
	return len(paths), decided
}

// maker makes a tree of directories, files and rules on the disk and in a Set.
type maker struct {
	t     *testing.T
	rng   *rand.Rand
	work  string
	set   Set
	kinds map[id.Path]bool // paths to ask about: whether they are directories
}

func (c *maker) rules(dir id.Path) {
	text := randomRules(c.rng)
	if err := os.WriteFile(filepath.Join(c.work, string(dir), ".gitignore"), text, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.set.Put(dir, Parse(text))
}

// tree makes one set of patterns, with paths to match.
func (c *maker) tree(top id.Path) {
	c.mkdir(top)
	c.rules(top)
	for range 1 + c.rng.IntN(8) {
		p := top
		for depth := 1 + c.rng.IntN(4); depth > 0; depth-- {
			p = p.Join(randomName(c.rng))
			if _, known := c.kinds[p]; known && !c.kinds[p] {
				break
			}
			if depth > 1 || c.rng.IntN(3) == 0 {
				if c.mkdir(p) && c.rng.IntN(6) == 0 {
					c.rules(p)
				}
				continue
			}
			if _, known := c.kinds[p]; !known {
				c.kinds[p] = false // nothing need be there: it is no directory
			}
		}
	}
}

// mkdir reports whether the directory is new.
func (c *maker) mkdir(p id.Path) bool {
	if c.kinds[p] {
		return false
	}
	if err := os.Mkdir(filepath.Join(c.work, string(p)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.kinds[p] = true
	return true
}

var (
	nameParts    = []string{"a", "b", "c", "A", "foo", "bar", "x", "1", "z", " ", ".", "-", "]", "[", "!", "#", "\\", "*", "?", "é", "\xff", "\t", "{", "~", "\r", "^", ":"}
	patternParts = []string{"a", "b", "c", "A", "foo", "bar", "x", "1", "z", "*", "*", "*", "**", "**/", "/**", "/**/", "/", "/", "?", "[ab]", "[!a]", "[^a-c]", "[a-", "[]a]", "[a-z]",
		"[[:alpha:]]", "[[:space:]1]", "[![:digit:]]", "[[:punct:]]", "[[:upper:]-z]", "[[:nope:]]", "[[:xdigit:]", "[[:", "[[:a]", "[\\]a]", "[a\\-z]", "[c-a]", "[--a]", "[a-\\c]", "[]", "[]-a]", "[!]a]",
		"\\", "\\*", "\\a", "\\ ", " ", "  ", "!", "#", "\\!", "\\#", ".", "-", "]", "[", "é", "\xff", "\t", "{", "~", "\r", "***", "*a*", "^", ":"}
)

func randomName(rng *rand.Rand) string {
	for {
		var b strings.Builder
		for n := 1 + rng.IntN(3); n > 0; n-- {
			k := len(nameParts)
			if rng.IntN(3) > 0 {
				k = 6
			}
			b.WriteString(nameParts[rng.IntN(k)])
		}
		s := b.String()
		if s != "." && s != ".." && !strings.HasSuffix(s, ".gitignore") {
			return s
		}
	}
}

func randomRules(rng *rand.Rand) []byte {
	var b bytes.Buffer
	if rng.IntN(20) == 0 {
		b.WriteString("\xef\xbb\xbf")
	}
	for n := rng.IntN(6); n >= 0; n-- {
		b.WriteString(randomPattern(rng))
		switch rng.IntN(12) {
		case 0:
			b.WriteString("\r\n")
		case 1:
			b.WriteString(" \n")
		case 2:
			b.WriteString("\n\n")
		case 3:
			if n == 0 {
				break // no end of the last line
			}
			b.WriteString("\n")
		default:
			b.WriteString("\n")
		}
	}
	return b.Bytes()
}

// randomPattern is made like people's, or of parts thrown together.
func randomPattern(rng *rand.Rand) string {
	var b strings.Builder
	if rng.IntN(4) == 0 {
		b.WriteString("!")
	}
	if rng.IntN(4) == 0 {
		b.WriteString("/")
	}
	if rng.IntN(2) == 0 {
		for n := 1 + rng.IntN(4); n > 0; n-- {
			b.WriteString(patternParts[rng.IntN(len(patternParts))])
		}
	} else {
		for n := 1 + rng.IntN(3); n > 0; n-- {
			switch rng.IntN(6) {
			case 0:
				b.WriteString("*")
			case 1:
				b.WriteString("**")
			case 2:
				b.WriteString("*" + nameParts[rng.IntN(6)])
			case 3:
				b.WriteString("[a-c]" + nameParts[rng.IntN(6)])
			default:
				b.WriteString(nameParts[rng.IntN(6)])
			}
			if n > 1 {
				b.WriteString("/")
			}
		}
	}
	if rng.IntN(4) == 0 {
		b.WriteString("/")
	}
	return b.String()
}
