package deptest

import (
	"bytes"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Limits on length, in lines. They keep what has to be read at once small: the
// worst feature of every project of this kind is its one file of thousands.
const (
	maxFileLines     = 500
	maxFunctionLines = 80
)

// longFunctions may pass maxFunctionLines: a table of one line a case, say.
var longFunctions = map[string]string{}

func TestFileLength(t *testing.T) {
	t.Parallel()
	top := root(t)
	for _, p := range files(t) {
		if !slices.Contains([]string{".go", ".md", ".sh", ".txtar"}, path.Ext(p)) && p != ".ci/run" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(p)))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by noun or verb", p, n, maxFileLines)
		}
	}
}

func TestFunctionLength(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > maxFunctionLines && longFunctions[s.pkg+"."+f.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, more than %d", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// noDesign are packages that need no page of their own. A package of test
// helpers, NAMEtest, never does.
var noDesign = map[string]string{
	"cli/lockstep": "main, a few lines",
	"docs":         "pages, and the tests that run their commands; its package comment says how",
	"daemon/e2e":   "tests alone; its package comment says how to run them",
}

// TestPages: a DESIGN.md that names its invariant, beside each package that the
// layout knows; deeper packages may stand in the page of the one above.
func TestPages(t *testing.T) {
	t.Parallel()
	top := root(t)
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || seen[s.pkg] || noDesign[s.pkg] != "" || strings.HasSuffix(s.pkg, "test") && s.pkg != "internal/deptest" {
			continue
		}
		seen[s.pkg] = true
		b, err := designOf(top, s.pkg)
		if err != nil {
			t.Errorf("package %s has no DESIGN.md beside it", s.pkg)
		} else if !strings.Contains(strings.ToLower(string(b)), "invariant") {
			t.Errorf("the DESIGN.md of %s does not name its invariant", s.pkg)
		}
	}
}

// designOf reads the page of a package, or of one above it when the package lies
// deeper than the layout's packages do.
func designOf(top, pkg string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(pkg), "DESIGN.md"))
	depth := 2 // daemon/x, meta/x, internal/x
	switch first, _, _ := strings.Cut(pkg, "/"); first {
	case "chunks", "watcher", "cli":
		depth = 1
	}
	if err != nil && strings.Count(pkg, "/") >= depth {
		return designOf(top, path.Dir(pkg))
	}
	return b, err
}

func TestPackageComments(t *testing.T) {
	t.Parallel()
	has := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			has[s.pkg] = has[s.pkg] || s.file.Doc != nil
		}
	}
	for pkg, ok := range has {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}
