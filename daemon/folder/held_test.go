package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/meta"
)

// holds fails unless the node holds that many deletions.
func (n *node) holds(want int) {
	n.c.t.Helper()
	within(n.c.t, fmt.Sprintf("%d held deletions", want), func(ctx context.Context) error {
		_, err := n.engine.Wait(ctx)
		var he *HeldError
		if !errors.As(err, &he) {
			return errors.Join(errors.New("nothing is held"), err)
		}
		if he.Held.Deletes != want || he.Held.Since.IsZero() {
			return fmt.Errorf("held: %+v", he.Held)
		}
		return nil
	})
}

// comes returns when the path on the node holds the text.
func (n *node) comes(p, text string) {
	n.c.t.Helper()
	eventually(n.c.t, p, func() error {
		b, err := os.ReadFile(n.path(p))
		if err == nil && string(b) == text {
			return nil
		}
		return fmt.Errorf("%q, %v: %s", b, err, n.state())
	})
}

// many makes n files in ten directories on the node.
func (n *node) many(count int) {
	n.c.t.Helper()
	for i := range count {
		n.write(fmt.Sprintf("t/%d/f%d", i%10, i), fmt.Sprint("text ", i))
	}
}

func (n *node) allow() (deletes int) {
	n.c.t.Helper()
	within(n.c.t, "allow", func(ctx context.Context) (err error) {
		out, err := n.engine.Allow(ctx, "alice", false)
		deletes = out.Deletes
		return err
	})
	return deletes
}

// TestMassDeletionIsHeld: nobody else loses a file, also over a restart, while other
// changes go on; then the user lets it go, or takes it back.
func TestMassDeletionIsHeld(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"allow", "revert", "by hand"} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/down %v", how, down), func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.many(120)
				a.write("stays", "0")
				a.write("t/3/theirs", "0")
				c.settled()
				if down {
					b.end()
				}
				c.ok(os.Rename(b.path("t"), b.path("../away")))
				if down {
					b.start()
				}
				b.holds(121)
				b.write("other", "b")
				a.write("t/3/theirs", "a")
				a.write("t/5/unseen", "a")
				a.committed()
				b.holds(121)
				b.restart()
				b.holds(121)
				a.follows()
				a.has("other", "b")
				a.has("t/0/f0", "text 0")
				b.comes("t/5/unseen", "a")
				b.gone("t/0/f0")
				if x, below, n, err := b.engine.Why("t/0/f0"); err != nil || x.Step != Stuck || n != 0 || len(below) != 0 {
					t.Errorf("why: %+v, %d below, %v", x, n, err)
				}
				switch how {
				case "allow":
					within(t, "allow", func(ctx context.Context) error {
						for _, dry := range []bool{true, false} {
							out, err := b.engine.Allow(ctx, "alice", dry)
							if err != nil {
								return err
							}
							if out != (Allowed{Deletes: 120, Stay: 1}) {
								t.Errorf("dry %v: %+v", dry, out)
							}
						}
						return nil
					})
					c.done()
					a.gone("t/0")
					a.has("t/3/theirs", "a")
					a.has("t/5/unseen", "a")
					a.has("stays", "0")
					v := c.leader.View()
					defer v.Close()
					said := false
					for r := c.head().Revision; r > 0; r-- {
						cm, _, err := v.Commit(c.folder, r)
						c.ok(err)
						said = said || cm.Message == "120 held deletions, allowed by alice"
					}
					if !said {
						t.Errorf("history does not say who allowed it\n%s", c.story())
					}
				case "revert":
					within(t, "revert", func(ctx context.Context) error { _, err := b.engine.Revert(ctx, false); return err })
					c.done()
					b.has("t/0/f0", "text 0")
					b.has("t/3/theirs", "a")
				default:
					for i := range 120 {
						p := fmt.Sprintf("t/%d/f%d", i%10, i)
						c.ok(os.MkdirAll(b.path("t/"+fmt.Sprint(i%10)), 0o755))
						c.ok(os.Rename(b.path("../away/"+p[2:]), b.path(p)))
					}
					b.write("t/3/theirs", "0")
					c.done()
					a.has("t/0/f0", "text 0")
				}
				c.conflicts(0)
				within(t, "a second answer", func(ctx context.Context) error {
					if _, err := b.engine.Allow(ctx, "alice", false); !errors.Is(err, ErrNothingHeld) {
						return errors.Join(errors.New("something is held"), err)
					}
					return nil
				})
			})
		}
	}
}

// TestSlowMassDeletion: a program that deletes for seconds is seen as one.
func TestSlowMassDeletion(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	b.calm = 3 * time.Second // on a busy machine this test itself stands still for long
	c.start()
	a.many(400)
	c.settled()
	for i := range 400 {
		c.ok(os.Remove(b.path(fmt.Sprintf("t/%d/f%d", i%10, i))))
		if i%20 == 0 {
			time.Sleep(25 * time.Millisecond) // the pace of the program that deletes, not a wait
		}
	}
	within(t, "held", func(ctx context.Context) error {
		_, err := b.engine.Wait(ctx)
		var he *HeldError
		if !errors.As(err, &he) {
			return errors.Join(errors.New("nothing is held"), err)
		}
		if he.Held.Deletes < 400-brakeLeast {
			return fmt.Errorf("%d have gone through", 400-he.Held.Deletes)
		}
		return nil
	})
}

// TestMassDeletionOfWhatIsLeft: most of the folder went before, by somebody else's word
// or by what was allowed here. What is left is what counts.
func TestMassDeletionOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"rolled back", "allowed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			for i := range 60 {
				a.write(fmt.Sprintf("left/f%d", i), fmt.Sprint("left ", i))
			}
			c.settled()
			to := c.head()
			a.write("x", "x")
			a.many(1400)
			c.settled()
			b.remove("x") // has everything counted
			c.settled()
			if how == "allowed" {
				c.ok(os.Rename(b.path("t"), b.root+"-t"))
				b.holds(1400)
				b.allow()
			} else {
				within(t, "rollback", func(ctx context.Context) error {
					_, err := a.engine.Submit(ctx, meta.RollbackCmd{Folder: c.folder, Target: to.Revision, TargetHash: to.Hash.Prefix()})
					return err
				})
			}
			c.settled()
			c.ok(os.Rename(b.path("left"), b.root+"-left"))
			b.holds(60)
		})
	}
}

// TestNoMassDeletion: what deletes much and is not held.
func TestNoMassDeletion(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name string
		do   step
		gone string
	}{
		{"half", func(n *node) {
			for i := range 60 {
				_ = os.Remove(n.path(fmt.Sprintf("t/%d/f%d", i%10, i)))
			}
		}, "t/0/f0"},
		{"renamed", func(n *node) { n.rename("t", "u") }, "t"},
		{"renamed, new below, edited", func(n *node) { n.rename("t", "u"); n.write("u/1/f1", "edited"); n.write("u/new", "x") }, "t"},
		{"each renamed", func(n *node) {
			for i := range 10 {
				n.rename(fmt.Sprintf("t/%d", i), fmt.Sprintf("u%d", i))
			}
		}, "t/0"},
	} {
		for _, how := range []string{"at rest", "under way", "down"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.many(120)
				c.settled()
				if how == "under way" { // a directory cannot be moved as one
					b.set(true, false)
					for i := range 10 {
						b.write(fmt.Sprintf("t/%d/more", i), "x")
					}
					b.captured()
				}
				if how == "down" {
					b.end()
				}
				k.do(b)
				if how == "down" {
					b.start()
				}
				c.done()
				a.gone(k.gone)
				c.conflicts(0)
			})
		}
	}
	t.Run("rollback", func(t *testing.T) {
		t.Parallel()
		c := startCluster(t, 2)
		a, b := c.nodes[0], c.nodes[1]
		a.write("f", "0")
		c.settled()
		to := c.head()
		a.many(120)
		c.settled()
		within(t, "rollback", func(ctx context.Context) error {
			_, err := b.engine.Submit(ctx, meta.RollbackCmd{Folder: c.folder, Target: to.Revision, TargetHash: to.Hash.Prefix()})
			return err
		})
		c.done()
		a.gone("t")
	})
}

// TestHeldUnderAReplacedDirectory: a file takes the place of a directory of many.
func TestHeldUnderAReplacedDirectory(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"allow", "revert"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2)
			a, b := c.nodes[0], c.nodes[1]
			a.many(60)
			c.settled()
			b.remove("t")
			b.write("t", "a file")
			within(t, "held", func(ctx context.Context) error { // some may have gone before the rest were so many
				_, err := b.engine.Wait(ctx)
				var he *HeldError
				if !errors.As(err, &he) {
					return errors.Join(errors.New("nothing is held"), err)
				}
				return nil
			})
			a.has("t/9/f59", "text 59")
			if how == "allow" {
				b.allow()
				c.done()
				a.has("t", "a file")
				c.conflicts(0)
				return
			}
			within(t, "revert", func(ctx context.Context) error { _, err := b.engine.Revert(ctx, false); return err })
			c.done()
			b.has("t/9/f59", "text 59")
			c.inHistory("a file")
		})
	}
}

// TestTreeMadeAgain: what is removed and made again, but for a few files, is not held
// for long.
func TestTreeMadeAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	b.many(120)
	c.settled()
	b.remove("t")
	b.captured()
	b.many(117)
	b.captured()
	within(t, "the brake to let go", func(ctx context.Context) error {
		_, err := b.engine.Wait(ctx)
		var he *HeldError
		if !errors.As(err, &he) {
			return err
		}
		if he.Held.Deletes > 3 { // a few may have gone before it was much
			return fmt.Errorf("%d are held", he.Held.Deletes)
		}
		return b.engine.until(ctx, func() (bool, error) {
			in, err := b.engine.Info()
			return in.Held == nil, err
		})
	})
	c.done()
	a.has("t/0/f0", "text 0")
	a.gone("t/9/f119")
	c.conflicts(0)
}

// TestHeldMovedByOthers: what is held stays held at the name that others give it, also if
// they edit it there, or rename on; and then goes, or comes back, there.
func TestHeldMovedByOthers(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name        string
		removed, do step
		at          string
		edited      bool
		held        int
		rest, text  string
	}{
		{"the directory", func(n *node) { n.remove("t") }, func(n *node) { n.rename("t", "u") }, "u/3/f3", false, 60, "", ""},
		{"renamed on", func(n *node) { n.remove("t") }, func(n *node) { n.rename("t", "u"); n.committed(); n.rename("u", "a") }, "a/3/f3", false, 60, "", ""},
		{"below", func(n *node) { n.remove("t") }, func(n *node) { n.rename("t/3", "t/u") }, "t/u/f3", false, 60, "", ""},
		{"file by file", func(n *node) { n.remove("t") }, func(n *node) {
			n.end() // else one may be seen as a deletion and a new file
			n.mkdir("a")
			for i := range 60 {
				n.rename(fmt.Sprintf("t/%d/f%d", i%10, i), fmt.Sprintf("a/f%d", i))
			}
			n.remove("t")
			n.start()
		}, "a/f3", false, 60, "", ""},
		{"renamed and edited", func(n *node) { n.remove("t") }, func(n *node) { n.rename("t", "u"); n.committed(); n.write("u/3/f3", "edited") }, "u/3/f3", true, 60, "", ""},
		{"all but one were removed", func(n *node) {
			c := n.c
			c.ok(os.Rename(n.path("t/9/f59"), n.path("../f59")))
			n.remove("t")
			n.mkdir("t/9")
			c.ok(os.Rename(n.path("../f59"), n.path("t/9/f59")))
		}, func(n *node) { n.rename("t", "u") }, "u/3/f3", false, 59, "u/9/f59", "text 59"},
	} {
		for _, how := range []string{"allow", "revert"} {
			t.Run(k.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				a.many(60)
				c.settled()
				a.end() // so that its scan finds all at once
				k.removed(a)
				a.start()
				a.holds(k.held)
				k.do(b)
				b.write("later", "x")
				b.committed()
				a.comes("later", "x")
				a.restart()
				a.holds(k.held)
				a.gone(k.at)
				if k.rest != "" {
					a.has(k.rest, k.text)
				}
				if how == "allow" {
					want := k.held
					if k.edited {
						want--
					}
					if n := a.allow(); n != want {
						t.Errorf("%d were allowed", n)
					}
				} else {
					within(t, "revert", func(ctx context.Context) error { _, err := a.engine.Revert(ctx, false); return err })
				}
				c.done()
				switch {
				case k.edited:
					b.has(k.at, "edited")
				case how == "allow":
					b.gone(k.at)
				default:
					a.has(k.at, "text 3")
				}
				if k.rest != "" {
					b.has(k.rest, k.text)
				}
				c.conflicts(0)
			})
		}
	}
}
