package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

func TestTreeKinds(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := newCluster(t)
	a, err := c.Add(ctx, "a")
	must(t, err)
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	file := func(name string, mode fs.FileMode, content []byte) {
		writeFile(t, a, name, content)
		must(t, os.Chmod(at(a, name), mode))
		must(t, os.Chtimes(at(a, name), old, old))
	}
	big := make([]byte, 5<<20+333)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	file("empty file", 0o644, nil)
	file("one byte", 0o600, []byte("x"))
	file("many chunks", 0o644, big)
	file("zeros", 0o644, make([]byte, 3<<20))
	file("script.sh", 0o755, []byte("#!/bin/sh\n"))
	file("read only", 0o444, []byte("do not write"))
	file("deep/er/and/deeper/file", 0o640, []byte("down here"))
	file("names/new\nline", 0o644, []byte("n"))
	file("names/\xff\xfe not UTF-8", 0o644, []byte("bytes"))
	file("names/"+strings.Repeat("ü", 127), 0o644, []byte("255 bytes less one"))
	file("names/ä日本 -", 0o644, []byte("unicode"))
	file("twice/1", 0o644, []byte("the same content"))
	file("twice/2", 0o644, []byte("the same content"))
	must(t, os.MkdirAll(at(a, "empty/dir/s"), 0o755))
	must(t, os.Mkdir(at(a, "private"), 0o700))
	for name, target := range map[string]string{
		"to file": "script.sh", "to dir": "deep/er", "dangling": "no/such/thing", "outside": "/etc/passwd", "up": "../../..",
	} {
		must(t, os.Symlink(target, at(a, "links-"+name)))
	}
	must(t, os.Chmod(at(a, "deep/er/and"), 0o555)) // read-only for its owner: it has to be filled all the same
	want := snapshot(t, a)

	for _, name := range []string{"b", "c"} {
		_, err := c.Add(ctx, name)
		must(t, err)
	}
	must(t, c.Share(ctx, folderName))
	must(t, harness.WaitTree(ctx, want, c.Nodes...))

	t.Run("changes of kind and attributes", func(t *testing.T) {
		b := c.Nodes[1]
		must(t, os.Chmod(at(b, "one byte"), 0o755))
		must(t, os.Chtimes(at(b, "zeros"), old.Add(1), old.Add(1))) // one nanosecond
		must(t, os.Chmod(at(b, "private"), 0o750))
		must(t, os.Remove(at(b, "empty file")))
		must(t, os.Mkdir(at(b, "empty file"), 0o755)) // file to directory
		must(t, os.Remove(at(b, "links-up")))
		writeFile(t, b, "links-up", []byte("symlink to file"))
		must(t, os.RemoveAll(at(b, "twice")))
		must(t, os.Symlink("names", at(b, "twice"))) // directory with files to symlink
		must(t, os.Rename(at(b, "names"), at(b, "renamed")))
		must(t, os.RemoveAll(at(b, "empty")))
		everywhere(t, ctx, c, b)
	})
	if _, err := os.Lstat(filepath.Join(a.Tree, "..", "..", "passwd")); err == nil {
		t.Error("something was written outside the root")
	}
	settled(t, ctx, c)
	if got := conflicts(t, ctx, a, "--all"); len(got) > 0 {
		t.Errorf("one writer at a time made conflicts: %+v", got)
	}
}

// A commit of each kind of editing habit arrives, and an edit of a multi-chunk file
// sends little.
func TestEditsSendDeltas(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	const size = 32 << 20
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	writeFile(t, a, "big", content)
	everywhere(t, ctx, c, a)
	before, err := b.Folder(ctx, folderName)
	must(t, err)
	if before.WireBytesReceived < size {
		t.Errorf("the counter says %d bytes for %d random ones", before.WireBytesReceived, size)
	}
	carried := b.WireIn()
	writeFile(t, a, "big", append([]byte{42}, content...))
	everywhere(t, ctx, c, a)
	if sent := b.WireIn() - carried; sent > size/20 {
		t.Errorf("one byte inserted at the start of %d sent %d bytes", size, sent)
	}
}

func TestEditingHabits(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	for i := range 20 {
		writeFile(t, a, fmt.Sprintf("d/%02d", i), fmt.Appendf(nil, "file %d\n", i))
	}
	everywhere(t, ctx, c, a)

	steps := []struct {
		name string
		do   func(n *harness.Node) error
	}{
		{"append", func(n *harness.Node) error {
			f, err := os.OpenFile(at(n, "d/00"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("more\n")
			return err
		}},
		{"write beside and rename over", func(n *harness.Node) error {
			if err := os.WriteFile(at(n, "d/.01.swp"), []byte("new 1"), 0o644); err != nil {
				return err
			}
			return os.Rename(at(n, "d/.01.swp"), at(n, "d/01"))
		}},
		{"move the old aside, write the new, remove the old", func(n *harness.Node) error {
			if err := os.Rename(at(n, "d/02"), at(n, "d/02~")); err != nil {
				return err
			}
			if err := os.WriteFile(at(n, "d/02"), []byte("new 2"), 0o644); err != nil {
				return err
			}
			return os.Remove(at(n, "d/02~"))
		}},
		{"truncate", func(n *harness.Node) error { return os.Truncate(at(n, "d/03"), 2) }},
		{"swap two names", func(n *harness.Node) error {
			if err := os.Rename(at(n, "d/04"), at(n, "t")); err != nil {
				return err
			}
			if err := os.Rename(at(n, "d/05"), at(n, "d/04")); err != nil {
				return err
			}
			return os.Rename(at(n, "t"), at(n, "d/05"))
		}},
		{"rename a directory and edit in it at once", func(n *harness.Node) error {
			if err := os.Rename(at(n, "d"), at(n, "e")); err != nil {
				return err
			}
			return os.WriteFile(at(n, "e/06"), []byte("edited after the rename"), 0o644)
		}},
		{"remove and edit in a directory and rename it at once", func(n *harness.Node) error {
			if err := os.Remove(at(n, "e/08")); err != nil {
				return err
			}
			if err := os.WriteFile(at(n, "e/09"), []byte("edited before the rename"), 0o644); err != nil {
				return err
			}
			if err := os.Rename(at(n, "e"), at(n, "g")); err != nil {
				return err
			}
			return os.WriteFile(at(n, "g/new"), []byte("made after it"), 0o644)
		}},
		{"and back", func(n *harness.Node) error { return os.Rename(at(n, "g"), at(n, "e")) }},
		{"same size and mtime, other content", func(n *harness.Node) error {
			st, err := os.Lstat(at(n, "e/07"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(at(n, "e/07"), bytes.Repeat([]byte("z"), int(st.Size())), 0o644); err != nil {
				return err
			}
			return os.Chtimes(at(n, "e/07"), st.ModTime(), st.ModTime())
		}},
		{"case of a name", func(n *harness.Node) error {
			if err := os.WriteFile(at(n, "e/lower"), []byte("l"), 0o644); err != nil {
				return err
			}
			return os.Rename(at(n, "e/lower"), at(n, "e/LOWER"))
		}},
		{"a fresh tree at once", func(n *harness.Node) error {
			for i := range 200 {
				p := at(n, fmt.Sprintf("fresh/%d/%d/f", i%7, i))
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(p, fmt.Append(nil, i), 0o644); err != nil {
					return err
				}
			}
			return nil
		}},
		{"remove a tree", func(n *harness.Node) error {
			if err := os.RemoveAll(at(n, "fresh")); err != nil {
				return err
			}
			// It is most of the folder: whether that was meant is asked first.
			lockstep(t, ctx, n, 1, "wait", folderName)
			lockstep(t, ctx, n, 0, "folder", "allow", folderName)
			return nil
		}},
	}
	for i, s := range steps {
		n := []*harness.Node{a, b}[i%2]
		must(t, s.do(n))
		want := snapshot(t, n)
		if err := harness.WaitTree(ctx, want, c.Nodes...); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	settled(t, ctx, c)
	if got := conflicts(t, ctx, a, "--all"); len(got) > 0 {
		t.Errorf("one writer at a time made conflicts: %+v", got)
	}
}
