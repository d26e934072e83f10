package folder

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// TestForgetMeetsARename: what one node forgets and another one renames, or renames the
// directory of, at the same time: history can be read after everybody has overwritten
// his copy, whoever was first.
func TestForgetMeetsARename(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name, forget string
		rename       step
	}{
		{"its directory", "d/x", func(n *node) { n.rename("d", "e") }},
		{"itself", "d/x", func(n *node) { n.rename("d/x", "w") }},
		{"the directory forgotten", "d", func(n *node) { n.rename("d", "e") }},
		{"the directory, a file in it", "d", func(n *node) { n.rename("d/x", "w") }},
		{"the directory above", "d/s", func(n *node) { n.rename("d", "e") }},
	} {
		for _, first := range []string{"the rename", "the forgetting"} {
			t.Run(k.name+"/first "+first, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 4)
				a, b, author := c.nodes[0], c.nodes[1], c.nodes[3]
				author.write("d/x", "old text of x")
				author.write("d/s/y", "old text of y")
				author.write("d/z", "z")
				c.settled()
				author.write(ignore.Name, "x\ny\n/d/\ns/\n")
				c.settled()
				author.end() // the others have the texts by location only
				c.ok(os.RemoveAll(author.home))
				c.nodes = c.nodes[:3]
				t.Cleanup(func() { c.nodes = append(c.nodes, author) })
				forget := func() {
					within(t, "forget", func(ctx context.Context) error {
						_, _, err := a.engine.Forget(ctx, id.Path(k.forget), false)
						var moved *NotForgettableError
						if first == "the rename" && k.name != "the directory, a file in it" && errors.As(err, &moved) {
							return nil
						}
						if err == nil && first == "the rename" && k.name != "the directory, a file in it" {
							err = errors.New("it says that it has forgotten what was moved away")
						}
						return err
					})
				}
				if first == "the rename" {
					a.set(false, true)
					k.rename(b)
					b.committed()
					done := make(chan struct{})
					proposed := c.entries()
					go func() { defer close(done); forget() }()
					eventually(t, "the forgetting to be proposed", func() error {
						if c.entries() == proposed {
							return errors.New("nothing yet")
						}
						return nil
					})
					a.set(false, false)
					<-done
				} else {
					b.set(true, false)
					forget()
					k.rename(b)
					b.captured()
					b.set(false, false)
				}
				c.settled()
				for range 2 {
					for _, n := range c.nodes {
						disk := render(n.disk())
						for _, text := range []string{"x", "y"} {
							if !strings.Contains(disk, "old text of "+text) {
								t.Errorf("%s has lost %s:\n%s%s", n.root, text, disk, c.story())
							}
						}
					}
					for _, n := range c.nodes {
						n.restart()
					}
					c.settled()
				}
				for _, n := range c.nodes {
					for _, p := range []string{"d/x", "e/x", "w", "d/s/y", "e/s/y"} {
						if _, err := os.Lstat(n.path(p)); err == nil && !c.inHead(p) {
							n.write(p, "by "+n.id.String())
						}
					}
				}
				c.settled()
				c.inHistory("old text of x")
				c.inHistory("old text of y")
			})
		}
	}
}

// TestForgottenBeforeItsRule: a node that was away gets a rule, what was forgotten by it
// and a rename of the directory at once. What history has of the file is packed though
// the directory is renamed here before the rule is in force.
func TestForgottenBeforeItsRule(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{"x\n", "/d/x\n"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			away, a, b := c.nodes[0], c.nodes[1], c.nodes[2]
			a.write("d/x", "old text of x")
			a.write("d/s/y", "y")
			a.write(ignore.Name, "other\n") // while it has none at all it lets go at once
			c.settled()
			away.end()
			a.write(ignore.Name, rule)
			a.committed()
			b.follows()
			a.forget("d/x")
			b.follows()
			b.rename("d", "e")
			b.committed()
			a.follows()
			a.committed()
			away.start()
			c.settled()
			away.has("e/s/y", "y")
			for _, n := range []*node{a, b} { // whose packs have it too
				n.end()
				c.ok(os.RemoveAll(n.home))
			}
			kept := 0
			for _, p := range []string{"d/x", "e/x"} {
				if _, err := os.Lstat(away.path(p)); err == nil {
					away.has(p, "old text of x")
					away.write(p, "from now on its own")
					kept++
				}
			}
			if kept == 0 {
				t.Error("the file went with its record")
			}
			away.captured()
			c.inHistory("old text of x")
		})
	}
}

// entries is how long the log is.
func (c *cluster) entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.log)
}
