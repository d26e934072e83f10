package folder

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// subset is what the node keeps.
func (n *node) subset() *ignore.Only {
	n.c.t.Helper()
	o, err := ignore.ParseOnly(n.only)
	n.c.ok(err)
	return o
}

// within takes off a list of the head what the node does not keep.
func (n *node) within(head map[string]string) map[string]string {
	o, out := n.subset(), make(map[string]string)
	for p, line := range head {
		if o.Keeps(id.Path(p), strings.HasPrefix(line, "dir ")) {
			out[p] = line
		}
	}
	return out
}

// noteKept writes, as the node does, what was kept here before.
func (n *node) noteKept(l *local.DB) {
	n.c.t.Helper()
	if len(n.was) == 0 {
		return
	}
	m, _, err := l.Folder(n.c.folder)
	n.c.ok(err)
	m.ID, m.Root, m.Kept = n.c.folder, n.root, append(m.Kept, n.was...)
	b := l.NewBatch()
	b.SetFolder(m)
	n.c.ok(b.Commit(true))
	n.was = nil
}

// keep sets what the node keeps, as the node's command does.
func (n *node) keep(only string) {
	n.c.t.Helper()
	o, err := ignore.ParseOnly(only)
	n.c.ok(err)
	if o != nil {
		within(n.c.t, "keep less", func(ctx context.Context) error { return n.engine.Leave(ctx, o) })
	}
	n.setKept(only)
	n.restart()
}

// setKept is what keep makes durable.
func (n *node) setKept(only string) {
	if n.only != "" {
		n.was = append(n.was, n.only)
	}
	n.only = only
}

// halts ends a node whose engine a failpoint has ended.
func (n *node) halts() {
	n.c.t.Helper()
	eventually(n.c.t, "halt", func() error {
		if !n.engine.Halted() {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	n.cancel()
	<-n.done
	n.err = nil
}

// onlySets are what random users keep.
var onlySets = []string{"", "", "a", "/a,/b", "*,!/a", "*,!b", "a,b,!c", "/a/b", "*,!/a,/a/b", "a/*,d", "*,!c/**"}

// keepsOther lets the user keep another part of the folder, and sometimes remove at once
// what is not kept any more.
func (u *user) keepsOther() string {
	if u.n.paused {
		return "nothing"
	}
	next := onlySets[u.rng.IntN(len(onlySets))]
	u.capture()
	before, said := u.n.c.head(), u.n.engine.lastSequence()
	u.n.keep(next)
	what := "keep " + next
	if u.rng.IntN(2) == 0 {
		o := u.n.subset()
		for p := range u.n.disk() {
			at := u.n.path(p)
			if in, err := os.Lstat(at); err == nil && !o.Keeps(id.Path(p), in.IsDir()) {
				_ = os.RemoveAll(at)
				what += " rm " + p
			}
		}
	}
	u.n.captured()
	u.n.deletedNothing(before, said)
	return what
}

func (e *Engine) lastSequence() (last id.Sequence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for seq := range e.flight {
		last = max(last, seq)
	}
	return last
}

// deletedNothing fails if the node has proposed, since then, the deletion of something
// that it does not keep.
func (n *node) deletedNothing(before meta.Commit, said id.Sequence) {
	n.c.t.Helper()
	o := n.subset()
	n.engine.mu.Lock()
	for seq, fl := range n.engine.flight {
		for _, c := range fl.changes {
			gone := c.Path
			if c.Op == meta.OpMove {
				gone = c.From
			}
			if seq > said && c.Op != meta.OpPut && !o.Keeps(gone, true) {
				n.c.t.Fatalf("%s proposes the deletion of %q, and keeps %q", n.root, string(gone), n.only)
			}
		}
	}
	n.engine.mu.Unlock()
	v := n.c.leader.View()
	defer v.Close()
	for r := before.Revision + 1; r <= n.c.head().Revision; r++ {
		cm, _, err := v.Commit(n.c.folder, r)
		n.c.ok(err)
		n.c.ok(v.Changes(n.c.folder, r, func(ver meta.Version) error {
			if cm.Node == n.id && cm.Sequence > said && ver.Entry.Kind == meta.Absent && !o.Keeps(ver.Path, true) {
				n.c.t.Fatalf("%s deleted %q, and keeps %q\n%s", n.root, string(ver.Path), n.only, n.c.story())
			}
			return nil
		}))
	}
}
