package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
)

// A node that keeps less lets go of the rest without anybody's file being deleted:
// removed at once, after a kill -9 in the middle, or left and edited by others meanwhile.
// What it keeps again is brought up to date without a conflict. A node may join with a part.
func TestOnly(t *testing.T) {
	t.Parallel()
	ctx := within(t, 120*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	has := func(n string, want string) {
		t.Helper()
		if got, err := os.ReadFile(n); want == "" && !os.IsNotExist(err) || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", n, got, err, want)
		}
	}
	for _, p := range []string{"docs/x", "big/1", "big/sub/2", "huge/3", "old/4", "old/5"} {
		writeFile(t, a, p, []byte("a's "+p))
	}
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	lockstep(t, ctx, a, 0, "tag", "begun", folderName) // these may have been several commits
	writeFile(t, b, "big/mine", []byte("b's own"))
	lockstep(t, ctx, b, 0, "folder", "set", folderName, "only=*,!/big")
	must(t, os.RemoveAll(at(b, "big")))
	writeFile(t, b, "docs/y", []byte("b's y"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	has(at(a, "big/1"), "a's big/1")
	has(at(a, "big/sub/2"), "a's big/sub/2")
	has(at(a, "big/mine"), "b's own")
	has(at(a, "docs/y"), "b's y")

	// Killed in the middle.
	must(t, b.Kill())
	must(t, b.Start(ctx, failpoint.Env+"=folder/leaving=kill"))
	lockstep(t, ctx, b, 0, "wait", folderName)
	if _, err := b.Run(ctx, "folder", "set", folderName, "only=/docs"); err != nil {
		t.Fatal(err)
	}
	for b.Running() {
		select {
		case <-ctx.Done():
			t.Fatal("the daemon runs on")
		case <-time.After(10 * time.Millisecond):
		}
	}
	must(t, os.RemoveAll(at(b, "huge")))
	must(t, b.Kill())
	must(t, b.Start(ctx))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	has(at(a, "huge/3"), "a's huge/3")
	has(at(b, "old/4"), "a's old/4") // it stays, and is b's own

	writeFile(t, a, "old/4", []byte("a's newer"))
	must(t, os.Remove(at(a, "old/5")))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	has(at(b, "old/4"), "a's old/4")
	if r := lockstep(t, ctx, b, 0, "status", "--ignored"); strings.Join(strings.Fields(r.Stdout), " ") != "IGNORED BY "+folderName+":old/ only=/docs" {
		t.Errorf("status --ignored: %q", r.Stdout)
	}
	if r := lockstep(t, ctx, b, 0, "status"); !strings.Contains(r.Stdout, "this node keeps only=/docs\n") {
		t.Errorf("status: %q", r.Stdout)
	}
	if r := lockstep(t, ctx, b, 0, "why", folderName+":huge/3"); !strings.Contains(r.Stdout, "not kept on this node: only=/docs") {
		t.Errorf("why: %q", r.Stdout)
	}
	if r := lockstep(t, ctx, b, 0, "cat", folderName+":huge/3@head"); r.Stdout != "a's huge/3" {
		t.Errorf("cat: %q", r.Stdout)
	}
	lockstep(t, ctx, b, 0, "rollback", folderName+":huge@begun")
	lockstep(t, ctx, b, 2, "folder", "set", folderName, "only=!/big")
	lockstep(t, ctx, b, 0, "folder", "pause", folderName)
	lockstep(t, ctx, b, 1, "folder", "set", folderName, "only=/big")
	lockstep(t, ctx, b, 0, "folder", "resume", folderName)

	d, err := c.Add(ctx, "c")
	must(t, err)
	must(t, os.MkdirAll(d.Tree, 0o755))
	writeFile(t, d, "old/4", []byte("a's old/4")) // not kept: stays
	lockstep(t, ctx, d, 0, "folder", "add", d.Tree, "--name", folderName, "--only", "/docs,huge")
	lockstep(t, ctx, d, 0, "wait", folderName, "--all")
	has(at(d, "docs/y"), "b's y")
	has(at(d, "huge/3"), "a's huge/3")
	has(at(d, "old/4"), "a's old/4")
	has(at(d, "big/1"), "")

	for _, n := range c.Nodes[1:] {
		lockstep(t, ctx, n, 0, "folder", "set", folderName, "only=")
	}
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	everywhere(t, ctx, c, a)
	has(at(b, "old/4"), "a's newer")
	has(at(b, "old/5"), "")
	if open := conflicts(t, ctx, b); len(open) != 0 {
		t.Errorf("conflicts: %+v", open)
	}
}
