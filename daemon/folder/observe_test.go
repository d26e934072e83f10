package folder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func (n *node) path(p string) string { return filepath.Join(n.root, p) }

// The user's doings; each fails the test when it cannot be done.

func (n *node) write(p, text string) {
	n.c.t.Helper()
	n.c.ok(os.MkdirAll(filepath.Dir(n.path(p)), 0o755))
	n.c.ok(os.WriteFile(n.path(p), []byte(text), 0o644))
}
func (n *node) mkdir(p string)       { n.c.t.Helper(); n.c.ok(os.MkdirAll(n.path(p), 0o755)) }
func (n *node) remove(p string)      { n.c.t.Helper(); n.c.ok(os.RemoveAll(n.path(p))) }
func (n *node) rename(a, b string)   { n.c.t.Helper(); n.c.ok(os.Rename(n.path(a), n.path(b))) }
func (n *node) symlink(to, p string) { n.c.t.Helper(); n.c.ok(os.Symlink(to, n.path(p))) }
func (n *node) chmod(p string, m fs.FileMode) {
	n.c.t.Helper()
	n.c.ok(os.Chmod(n.path(p), m))
}

// disk lists what is on the node's disk: a line for each path.
func (n *node) disk() map[string]string {
	n.c.t.Helper()
	out := make(map[string]string)
	n.c.ok(filepath.WalkDir(n.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(n.root, p)
		if rel == "." {
			return nil
		}
		if rel == id.ReservedName {
			return filepath.SkipDir
		}
		in, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[rel] = fmt.Sprintf("dir %o", in.Mode().Perm())
		case in.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			out[rel] = "link " + to
			return err
		default:
			b, err := os.ReadFile(p)
			text := string(b)
			if len(b) > 64 {
				text = id.Sum(b).String()
			}
			out[rel] = fmt.Sprintf("file %o %q %d", in.Mode().Perm(), text, in.ModTime().UnixNano())
			return err
		}
		return nil
	}))
	return out
}

func render(d map[string]string) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(d)) {
		fmt.Fprintf(&b, "  %s: %s\n", p, d[p])
	}
	return b.String()
}

// tree is the head of the leader's history, in disk's words.
func (c *cluster) tree() map[string]string {
	c.t.Helper()
	v := c.leader.View()
	defer v.Close()
	h, err := v.Head(c.folder)
	c.ok(err)
	out := make(map[string]string)
	c.ok(v.Tree(c.folder, "", h.Revision, func(ver meta.Version) error {
		e := ver.Entry
		switch e.Kind {
		case meta.Dir:
			out[string(ver.Path)] = fmt.Sprintf("dir %o", e.Mode)
		case meta.Symlink:
			out[string(ver.Path)] = "link " + e.Target
		case meta.File:
			b, err := c.read(e)
			if err != nil {
				return err
			}
			text := string(b)
			if len(b) > 64 {
				text = e.Content.String()
			}
			out[string(ver.Path)] = fmt.Sprintf("file %o %q %d", e.Mode, text, e.MTime)
		}
		return nil
	}))
	return out
}

// read returns a committed file's bytes from the nodes' chunk stores.
func (c *cluster) read(e meta.Entry) ([]byte, error) {
	n := c.nodes[0]
	r := fetch.Reader(context.Background(), n.chunks, n, c.folder, nil, fileOf(e))
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil && len(b) > 0 && chunks.Sum(chunks.Chunk, b) != e.Content {
		err = fmt.Errorf("content %s: other bytes", e.Content.Short())
	}
	return b, err
}

// equal fails unless all disks hold the head.
func (c *cluster) equal() {
	c.t.Helper()
	all := c.tree()
	for _, n := range c.nodes {
		got, want := n.disk(), n.within(all)
		n.withoutIgnored(got, want)
		if !maps.Equal(got, want) {
			c.t.Fatalf("the disk of %s:\n%swant the head:\n%s%s\n%s", filepath.Base(n.root), render(got), render(want), n.state(), c.story())
		}
	}
}

// quiet fails if another look at everything makes anything new.
func (c *cluster) quiet() {
	c.t.Helper()
	before := c.head()
	for _, n := range c.nodes {
		n.restart()
	}
	c.settled()
	if now := c.head(); now != before {
		c.t.Fatalf("a second run made revisions %d to %d\n%s", before.Revision+1, now.Revision, c.story())
	}
	c.equal()
}

// done is the end of most tests: all at rest, all equal, and so again after a restart.
func (c *cluster) done() {
	c.t.Helper()
	c.settled()
	c.equal()
	c.quiet()
}

// story tells the history, for failures.
func (c *cluster) story() string {
	v := c.leader.View()
	defer v.Close()
	h, _ := v.Head(c.folder)
	var b strings.Builder
	for r := id.Revision(1); r <= h.Revision; r++ {
		cm, _, _ := v.Commit(c.folder, r)
		fmt.Fprintf(&b, "r%d by n%d seq %d:", r, cm.Node[0], cm.Sequence)
		_ = v.Changes(c.folder, r, func(ver meta.Version) error {
			fmt.Fprintf(&b, " %s=%s", ver.Path, ver.Entry.Kind)
			if ver.Entry.Kind == meta.File {
				fmt.Fprintf(&b, ":%s", ver.Entry.Content.Short())
			}
			if ver.From != "" {
				fmt.Fprintf(&b, "(from %s)", ver.From)
			}
			if ver.To != "" {
				fmt.Fprintf(&b, "(to %s)", ver.To)
			}
			return nil
		})
		b.WriteByte('\n')
	}
	_ = v.Conflicts(c.folder, func(x meta.Conflict) error {
		fmt.Fprintf(&b, "conflict %d %s %s state %s copy %q\n", x.Number, x.Kind, x.Path, x.State, string(x.CopyPath))
		return nil
	})
	return b.String()
}

// conflicts fails unless that many conflicts are open.
func (c *cluster) conflicts(want int) {
	c.t.Helper()
	v := c.leader.View()
	defer v.Close()
	got, err := v.OpenConflicts(c.folder)
	c.ok(err)
	if got != want {
		c.t.Fatalf("%d open conflicts, want %d\n%s%s", got, want, c.story(), render(c.tree()))
	}
}

// inHistory fails unless some version of any path has exactly these bytes, and
// they can be read.
func (c *cluster) inHistory(text string) {
	c.t.Helper()
	sum := chunks.Sum(chunks.Chunk, []byte(text))
	v := c.leader.View()
	defer v.Close()
	h, err := v.Head(c.folder)
	c.ok(err)
	for r := id.Revision(1); r <= h.Revision; r++ {
		var e meta.Entry
		c.ok(v.Changes(c.folder, r, func(ver meta.Version) error {
			for _, x := range []meta.Entry{ver.Entry, ver.Lost} {
				if x.Kind == meta.File && x.Content == sum {
					e = x
				}
			}
			return nil
		}))
		if e.Kind == meta.File {
			if b, err := c.read(e); err != nil || !bytes.Equal(b, []byte(text)) {
				c.t.Fatalf("%.60q is in revision %d but cannot be read: %v", text, r, err)
			}
			return
		}
	}
	c.t.Fatalf("%.60q is lost\n%s", text, c.story())
}

// has fails unless the path on the node holds the text.
func (n *node) has(p, text string) {
	n.c.t.Helper()
	if b, err := os.ReadFile(n.path(p)); err != nil || string(b) != text {
		n.c.t.Fatalf("%s on %s holds %q (%v), want %q\n%s", p, filepath.Base(n.root), b, err, text, n.c.story())
	}
}

// gone fails if there is anything at the path.
func (n *node) gone(p string) {
	n.c.t.Helper()
	if _, err := os.Lstat(n.path(p)); !os.IsNotExist(err) {
		n.c.t.Fatalf("%s is on %s (%v)", p, filepath.Base(n.root), err)
	}
}
