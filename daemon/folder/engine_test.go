package folder

import (
	"testing"
)

// TestOneWriter: whatever one writer does, the others' disks follow, and there is
// never a conflict: offline, in one batch, in many, or while outcomes are held.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	for _, k := range oneWriterCases {
		for _, how := range []string{"at once", "step by step", "offline", "held"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a := c.nodes[0]
				k.before(a)
				c.settled()
				a.set(how == "offline", how == "held")
				for _, step := range k.steps {
					step(a)
					if how != "at once" {
						a.captured()
					}
				}
				c.done()
				c.conflicts(0)
			})
		}
	}
}

type oneWriterCase struct {
	name   string
	before func(n *node)
	steps  []func(n *node)
}

type step = func(n *node)

var oneWriterCases = []oneWriterCase{
	{"edits", func(n *node) { n.write("f", "0") }, []step{
		func(n *node) { n.write("f", "1") }, func(n *node) { n.write("f", "2") }, func(n *node) { n.write("f", "3") }}},
	{"new and edited", func(n *node) {}, []step{
		func(n *node) { n.write("f", "1") }, func(n *node) { n.write("f", "2") }}},
	{"delete and recreate", func(n *node) { n.write("f", "0") }, []step{
		func(n *node) { n.remove("f") }, func(n *node) { n.write("f", "1") }, func(n *node) { n.remove("f") }, func(n *node) { n.write("f", "2") }}},
	{"file to directory", func(n *node) { n.write("x", "0") }, []step{
		func(n *node) { n.remove("x"); n.write("x/sub/f", "1"); n.write("x/g", "2") }}},
	{"file into itself as a directory", func(n *node) { n.write("x", "0") }, []step{
		func(n *node) { n.rename("x", "t"); n.mkdir("x/sub"); n.rename("t", "x/sub/x") }}},
	{"directory to file", func(n *node) { n.write("x/sub/f", "0"); n.write("x/g", "1") }, []step{
		func(n *node) { n.remove("x"); n.write("x", "2") }, func(n *node) { n.write("x", "3") }}},
	{"file to symlink and back", func(n *node) { n.write("x", "0") }, []step{
		func(n *node) { n.remove("x"); n.symlink("y", "x") }, func(n *node) { n.remove("x"); n.write("x", "1") }}},
	{"directory to symlink and back", func(n *node) { n.write("x/f", "0") }, []step{
		func(n *node) { n.remove("x"); n.symlink("y", "x") }, func(n *node) { n.remove("x"); n.write("x/f", "1"); n.write("x/h/g", "1") }}},
	{"symlink changed", func(n *node) { n.symlink("a", "x") }, []step{
		func(n *node) { n.remove("x"); n.symlink("b", "x") }}},
	{"rename a directory and edit inside", func(n *node) { n.write("d/f", "0"); n.write("d/s/g", "1") }, []step{
		func(n *node) { n.rename("d", "e"); n.write("e/f", "2"); n.write("e/new", "3") }, func(n *node) { n.write("e/s/g", "4") }}},
	{"rename a directory twice", func(n *node) { n.write("d/f", "0"); n.write("d/s/g", "1") }, []step{
		func(n *node) { n.rename("d", "e") }, func(n *node) { n.rename("e", "h"); n.write("h/f", "2") }, func(n *node) { n.rename("h", "d") }}},
	{"rename a directory into a new one", func(n *node) { n.write("d/f", "0") }, []step{
		func(n *node) { n.mkdir("new/deep"); n.rename("d", "new/deep/d") }}},
	{"rename a directory and make a new one in its place", func(n *node) { n.write("d/f", "0") }, []step{
		func(n *node) { n.rename("d", "e"); n.write("d/f", "1"); n.write("d/g", "2") }}},
	{"move a file out of a directory that goes", func(n *node) { n.write("d/f", "0"); n.write("d/g", "1") }, []step{
		func(n *node) { n.rename("d/f", "f"); n.remove("d") }}},
	{"rename over", func(n *node) { n.write("a", "0"); n.write("b", "1") }, []step{
		func(n *node) { n.rename("a", "b") }, func(n *node) { n.write("a", "2") }}},
	{"rename and edit", func(n *node) { n.write("a", "0") }, []step{
		func(n *node) { n.rename("a", "b") }, func(n *node) { n.write("b", "1") }, func(n *node) { n.rename("b", "a") }, func(n *node) { n.write("a", "2") }}},
	{"swap", func(n *node) { n.write("a", "0"); n.write("b", "1") }, []step{
		func(n *node) { n.rename("a", "t"); n.rename("b", "a"); n.rename("t", "b") }}},
	{"rename a directory to where a file was", func(n *node) { n.write("d", "0"); n.write("c/d/f", "1"); n.write("c/g", "2") }, []step{
		func(n *node) { n.remove("d"); n.rename("c", "d") }}},
	{"rename a directory to where a file was, with an empty one in it", func(n *node) { n.write("d", "0"); n.mkdir("c/d") }, []step{
		func(n *node) { n.remove("d"); n.rename("c", "d"); n.chmod("d", 0o700) }, func(n *node) { n.write("d/d/f", "1") }}},
	{"rename a directory into one that took a file's place", func(n *node) { n.write("d", "0"); n.write("c/f", "1") }, []step{
		func(n *node) { n.remove("d") }, func(n *node) { n.mkdir("d"); n.chmod("d", 0o700); n.rename("c", "d/c") }}},
	{"swap directories", func(n *node) { n.write("a/f", "0"); n.write("b/f", "1"); n.write("b/g", "2") }, []step{
		func(n *node) { n.rename("a", "t"); n.rename("b", "a"); n.rename("t", "b") }}},
	{"save as editors do", func(n *node) { n.write("f", "0") }, []step{
		func(n *node) { n.write(".f.tmp", "1"); n.rename(".f.tmp", "f") },
		func(n *node) { n.rename("f", "f~"); n.write("f", "2"); n.remove("f~") }}},
	{"attributes", func(n *node) { n.write("f", "0"); n.write("d/g", "0") }, []step{
		func(n *node) { n.chmod("f", 0o600); n.chmod("d", 0o700) }, func(n *node) { n.write("f", "1") }, func(n *node) { n.chmod("f", 0o755) }}},
	{"read-only directory", func(n *node) {}, []step{
		func(n *node) { n.write("d/f", "0"); n.chmod("d", 0o555) }, func(n *node) { n.chmod("d", 0o755) }, func(n *node) { n.write("d/g", "1"); n.chmod("d", 0o500) }}},
	{"delete a tree", func(n *node) { n.write("d/e/f", "0"); n.write("d/g", "1") }, []step{
		func(n *node) { n.write("d/new", "2") }, func(n *node) { n.remove("d") }, func(n *node) { n.write("d/e", "3") }}},
	{"copy and empty files", func(n *node) { n.write("f", "0"); n.write("z", "") }, []step{
		func(n *node) { n.write("g", "0"); n.write("z2", "") }, func(n *node) { n.remove("f"); n.rename("z", "f") }}},
}
