package deptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/lockstep-sync/lockstep"

// source is one parsed Go file of the repository.
type source struct {
	path    string // slash-separated, below the module's root
	pkg     string // its directory: "daemon/reconcile"
	test    bool
	file    *ast.File
	fset    *token.FileSet
	imports []string // module paths without the module: "internal/id"; others whole
}

// root is the module's root directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// files lists the repository's files, without what begins with a dot (but .ci)
// and without test data.
func files(t *testing.T) []string {
	t.Helper()
	top := root(t)
	var out []string
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		name := d.Name()
		hidden := strings.HasPrefix(name, ".") && name != ".ci" && rel != "."
		if d.IsDir() && (hidden || name == "testdata") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && !hidden {
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var parsed struct {
	once    sync.Once
	sources []source
	err     error
}

// sources parses every Go file of the repository, once.
func sources(t *testing.T) []source {
	t.Helper()
	parsed.once.Do(func() { parsed.sources, parsed.err = parse(t) })
	if parsed.err != nil {
		t.Fatal(parsed.err)
	}
	return parsed.sources
}

func parse(t *testing.T) ([]source, error) {
	top := root(t)
	fset := token.NewFileSet()
	var out []source
	for _, p := range files(t) {
		if path.Ext(p) != ".go" {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(top, filepath.FromSlash(p)), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s := source{path: p, pkg: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), file: f, fset: fset}
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return nil, err
			}
			s.imports = append(s.imports, strings.TrimPrefix(name, module+"/"))
		}
		out = append(out, s)
	}
	return out, nil
}

// within reports whether package p is prefix or lies below it.
func within(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

func withinAny(p string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(x string) bool { return within(p, x) })
}
