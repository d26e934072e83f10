package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// Ignored files stay on their node through rules that arrive, a directory that others
// delete, kill -9, `folder forget` and rules that go; `status --ignored` lists them with their rules.
func TestIgnoreRules(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, ignore.Name, []byte("*.o\nmodules/\n"))
	writeFile(t, a, "src/main.c", []byte("int main;"))
	writeFile(t, a, "src/main.o", []byte("a's object"))
	writeFile(t, a, "src/modules/m", []byte("a's module"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	writeFile(t, b, "src/b.o", []byte("b's object"))
	writeFile(t, b, "b.c", []byte("int b;"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	here := func(n string, want bool) {
		t.Helper()
		if _, err := os.Lstat(n); os.IsNotExist(err) == want {
			t.Errorf("%s: %v, want it there: %v", n, err, want)
		}
	}
	here(at(a, "b.c"), true)
	here(at(a, "src/b.o"), false)
	here(at(b, "src/main.o"), false)
	here(at(b, "src/modules"), false)
	if r := lockstep(t, ctx, a, 0, "status", "--ignored"); strings.Join(strings.Fields(r.Stdout), " ") !=
		"IGNORED BY "+folderName+":src/main.o .lockstepignore:1:*.o "+folderName+":src/modules/ .lockstepignore:2:modules/" {
		t.Errorf("status --ignored: %q", r.Stdout)
	}

	must(t, b.Kill())
	must(t, os.RemoveAll(at(a, "src")))
	lockstep(t, ctx, a, 0, "wait", folderName)
	must(t, b.Start(ctx))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	here(at(b, "src/main.c"), false)
	here(at(b, "src/b.o"), true)
	here(at(a, "src"), false) // it did not come back for what is ignored
	// What is tracked stays so under a new rule, until it is forgotten: then it is
	// everybody's own.
	writeFile(t, a, ignore.Name, []byte("*.o\nmodules/\n/b.c\n"))
	writeFile(t, a, "b.c", []byte("still synced"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	lockstep(t, ctx, b, 1, "folder", "forget", folderName+":"+ignore.Name)
	lockstep(t, ctx, b, 0, "folder", "forget", at(b, "b.c"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	writeFile(t, b, "b.c", []byte("b's own"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	if got, err := os.ReadFile(at(a, "b.c")); string(got) != "still synced" {
		t.Errorf("a's copy is %q (%v)", got, err)
	}
	if r := lockstep(t, ctx, a, 0, "log", folderName, "-n", "1"); !strings.Contains(r.Stdout, "forget") {
		t.Errorf("log: %q", r.Stdout)
	}

	writeFile(t, a, "b.c", []byte("b's own")) // else both sides' would be new
	must(t, os.Remove(at(b, ignore.Name)))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	here(at(a, "src/b.o"), true)
	if r := lockstep(t, ctx, b, 0, "status", "--ignored"); r.Stdout != "nothing is ignored\n" {
		t.Errorf("status --ignored: %q", r.Stdout)
	}
}
