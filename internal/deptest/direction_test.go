package deptest

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// rule says what the packages within prefix may not import, and why.
type rule struct {
	prefix string
	except []string // packages within prefix to which the rule does not apply
	forbid []string // package prefixes, of this module or of others
	allow  []string // what of forbid is allowed all the same
	tests  bool     // holds for test files too
	reason string
}

var directions = []rule{
	{prefix: "internal", tests: true,
		forbid: []string{"meta", "chunks", "watcher", "daemon", "cli"},
		reason: "internal is what the others share; it knows none of them"},
	{prefix: "meta", tests: true, forbid: []string{"chunks", "watcher", "daemon", "cli"},
		reason: "metadata is replicated state; it knows neither bytes nor disks nor nodes at work"},
	{prefix: "chunks", tests: true, forbid: []string{"meta", "watcher", "daemon", "cli"},
		reason: "a chunk store holds bytes by their hash; what they mean is not its matter"},
	{prefix: "watcher", tests: true, forbid: []string{"meta", "chunks", "daemon", "cli"},
		reason: "the watcher says what changed on a disk; what follows from it is not its matter"},
	{prefix: "daemon", tests: true, except: []string{"daemon/e2e"}, forbid: []string{"cli"},
		reason: "commands talk to the daemon, not the other way round"},
	{prefix: "cli", forbid: []string{"meta", "chunks", "watcher", "daemon"},
		allow:  []string{"daemon/control", "daemon/node"},
		reason: "the commands know the control client and one facade, daemon/node"},
	{prefix: "cli/lockstep", forbid: []string{"daemon", "internal"},
		reason: "the binary is a few lines around package cli"},
	{prefix: "daemon/control", forbid: []string{"meta", "chunks", "watcher", "daemon"},
		allow:  []string{"daemon/control"},
		reason: "the control API is what the outside sees; the node implements it"},
}

// The pure packages: values in, values out.
var pure = []rule{
	{prefix: "daemon/reconcile",
		forbid: []string{"os", "net", "time", "math/rand", "crypto/rand", "sync", "log", "io", "internal/kv",
			"chunks", "watcher", "daemon", "github.com/hashicorp/raft"},
		allow:  []string{"daemon/reconcile"},
		reason: "reconciling is one pure, total function: the same four things give the same answer"},
	{prefix: "meta", except: []string{"meta/store", "meta/raftnode"},
		forbid: []string{"os", "net", "math/rand", "crypto/rand", "internal/vfs", "internal/failpoint", "meta/store", "meta/raftnode",
			"github.com/hashicorp/raft"},
		reason: "applying a command must give the same state on every node: no system, no randomness, no server"},
	{prefix: "internal/id", forbid: []string{"os", "net", "time", "math/rand"},
		reason: "identity types are values"},
}

// Calls that read a clock. Types and arithmetic of package time are fine.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// clockless packages may use times, but never ask for one.
var clockless = map[string]string{
	"meta": "times are data, stamped by the leader: a clock in apply would let replicas diverge",
}

func TestDirections(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(directions, pure) {
		for _, s := range sources(t) {
			if s.test && !r.tests || !within(s.pkg, r.prefix) || withinAny(s.pkg, r.except) {
				continue
			}
			for _, imp := range s.imports {
				if withinAny(imp, r.forbid) && !withinAny(imp, r.allow) {
					t.Errorf("%s imports %s: %s", s.path, imp, r.reason)
				}
			}
		}
	}
}

// Every rule must still speak of a package that exists, or a renamed package
// would slip out of it.
func TestRulesMeanSomething(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, s := range sources(t) {
		for p := s.pkg; ; {
			have[p] = true
			i := strings.LastIndexByte(p, '/')
			if i < 0 {
				break
			}
			p = p[:i]
		}
	}
	for _, r := range slices.Concat(directions, pure) {
		if !have[r.prefix] {
			t.Errorf("a rule is for package %s, which does not exist", r.prefix)
		}
	}
}

func TestClockless(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		reason := clockless[s.pkg]
		if reason == "" || s.test {
			continue
		}
		eachCall(s, "time", func(name string, at ast.Node) {
			if slices.Contains(clocks, name) {
				t.Errorf("%v: time.%s: %s", s.fset.Position(at.Pos()), name, reason)
			}
		})
	}
}

func TestOnlyMainExits(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.file.Name.Name == "main" || s.test {
			continue
		}
		eachCall(s, "os", func(name string, at ast.Node) {
			if name == "Exit" {
				t.Errorf("%v: os.Exit outside a main package: deferred work would be skipped", s.fset.Position(at.Pos()))
			}
		})
		eachCall(s, "log", func(name string, at ast.Node) {
			if strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic") {
				t.Errorf("%v: log.%s outside a main package: return an error", s.fset.Position(at.Pos()), name)
			}
		})
	}
}

// eachCall calls f for each use of a name of the package imported as pkg.
func eachCall(s source, pkg string, f func(name string, at ast.Node)) {
	if !slices.Contains(s.imports, pkg) {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == pkg {
				f(sel.Sel.Name, n)
			}
		}
		return true
	})
}
