package meta

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// author is a simulated node: a disk, what it recorded of it, and a queue of
// proposals that it has not sent. It knows nothing of what others do until it
// syncs.
type author struct {
	w      *world
	node   id.Node
	disk   map[id.Path]Entry
	base   map[id.Path]Base // recorded, or own() of a queued change
	queue  []CommitCmd
	next   id.Sequence
	acked  id.Sequence
	synced Base
	wrote  []id.Digest
	seen   map[id.Digest]bool
	fail   func(string, ...any)
	paths  []string // names that it uses at the top
	n      *int     // counts contents
}

func newAuthor(w *world, n id.Node, counter *int, names ...string) *author {
	return &author{w: w, node: n, disk: map[id.Path]Entry{}, base: map[id.Path]Base{}, seen: map[id.Digest]bool{}, paths: names, n: counter}
}

// change queues a commit. Bases of what it touches become own(sequence).
func (a *author) change(changes ...Change) {
	if len(changes) == 0 {
		return
	}
	a.next++
	a.queue = append(a.queue, CommitCmd{Folder: a.w.folder, Origin: OriginEdit, Changes: changes, Acked: a.acked, Seen: a.synced})
	for _, c := range changes {
		if c.Op == OpMove {
			for p := range maps.Clone(a.disk) {
				if p.Within(c.Path) {
					a.base[p] = own(a.next)
				}
			}
			for p := range maps.Clone(a.base) {
				if p.Within(c.From) {
					a.base[p] = own(a.next)
				}
			}
		}
		a.base[c.Path] = own(a.next)
	}
}

// under returns what the disk has within p, in byte order.
func (a *author) under(p id.Path) []id.Path {
	var out []id.Path
	for q := range a.disk {
		if q.Within(p) {
			out = append(out, q)
		}
	}
	slices.Sort(out)
	return out
}

// free draws a path that is not on the disk, in a directory that is.
func (a *author) free(t *rapid.T) (id.Path, bool) {
	dirs := []id.Path{""}
	for _, p := range a.under("") {
		if a.disk[p].Kind == Dir {
			dirs = append(dirs, p)
		}
	}
	d := rapid.SampledFrom(dirs).Draw(t, "dir")
	if d.Depth() > 3 {
		return "", false
	}
	name := rapid.SampledFrom(a.paths).Draw(t, "name")
	p := d.Join(name)
	_, taken := a.disk[p]
	return p, !taken
}

func (a *author) content() Entry {
	*a.n++
	e := file(fmt.Sprint("content ", *a.n))
	a.wrote = append(a.wrote, e.Content)
	a.seen[e.Content] = true
	return e
}

// act does one random thing on the disk and queues it.
func (a *author) act(t *rapid.T) {
	a.do(t, rapid.SampledFrom([]string{"create", "mkdir", "edit", "edit", "chmod", "delete", "move", "move", "two"}).Draw(t, "op"))
}

// do does one kind of thing to a random path.
func (a *author) do(t *rapid.T, op string) {
	all := a.under("")
	if op == "create" || op == "mkdir" || len(all) == 0 {
		p, ok := a.free(t)
		if !ok {
			return
		}
		e := dir()
		if op != "mkdir" {
			e = a.content()
		}
		a.disk[p] = e
		a.change(put(p, a.base[p], e))
		return
	}
	p := rapid.SampledFrom(all).Draw(t, "path")
	e := a.disk[p]
	switch op {
	case "edit":
		if e.Kind != File {
			return
		}
		n := a.content()
		n.Mode = e.Mode
		a.disk[p] = n
		a.change(edit(p, a.base[p], n))
	case "chmod":
		if e.Kind == Symlink {
			return
		}
		e.Mode ^= 0o11
		a.disk[p] = e
		a.change(Change{Op: OpPut, Path: p, Base: a.base[p], Entry: e, Mask: FieldMode})
	case "delete":
		for _, q := range a.under(p) {
			delete(a.disk, q)
		}
		a.change(del(p, a.base[p]))
	case "move":
		to, ok := a.free(t)
		if !ok || to.Within(p) {
			return
		}
		a.rename(p, to)
		a.change(mv(p, to, a.base[p]))
	case "two": // a file replaced by a directory, or the other way round
		for _, q := range a.under(p) {
			delete(a.disk, q)
		}
		if e.Kind == Dir {
			a.disk[p] = a.content()
			a.change(del(p, a.base[p]), put(p, own(a.next+1), a.disk[p]))
			return
		}
		a.disk[p], a.disk[p+"/in"] = dir(), a.content()
		a.change(put(p, a.base[p], dir()), put(p+"/in", a.base[p+"/in"], a.disk[p+"/in"]))
	}
}

func (a *author) rename(from, to id.Path) {
	for _, q := range a.under(from) {
		a.disk[q.Rebase(from, to)] = a.disk[q]
		delete(a.disk, q)
	}
}

// send proposes the oldest queued commit.
func (a *author) send() {
	c := a.queue[0]
	a.queue = a.queue[1:]
	before := a.w.live()
	o := a.w.must(a.w.do(a.node, c))
	after := a.w.live()
	a.w.story.WriteString(tell(a.node, c, o) + a.w.headTree() + "\n\n")
	for d, p := range before {
		if _, ok := after[d]; !ok && !a.seen[d] {
			a.fail("%s made the content of %q disappear that it had never seen\n%s", a.node.Short(), p, a.w.story.String())
		}
	}
	if o.Sequence != a.next-id.Sequence(len(a.queue)) {
		a.w.t.Fatalf("sequence %d, queue of %d to %d", o.Sequence, len(a.queue), a.next)
	}
}

// tell is one proposal and what became of it, to be read.
func tell(n id.Node, c CommitCmd, o Outcome) string {
	base := func(b Base) string {
		if b.Own != 0 {
			return fmt.Sprintf("own(%d)", b.Own)
		}
		return fmt.Sprint(b.Revision)
	}
	s := fmt.Sprintf("node %x, sequence %d, revision %d\n", n[0], o.Sequence, o.Revision)
	for _, ch := range c.Changes {
		op := [...]string{"", "put", "delete", "move"}[ch.Op]
		s += fmt.Sprintf("  %s %s %s base %s mask %d: %s %s\n", op, ch.From, ch.Path, base(ch.Base), ch.Mask, show(ch.Entry), ch.Entry.Content.Short())
	}
	for _, x := range o.Changes {
		s += fmt.Sprintf("  -> %s kind %d at %s base %s conflict %d\n", x.Proposed, x.Kind, x.Path, base(x.Base), x.Conflict)
	}
	return s
}

// live are the contents at the head.
func (w *world) live() map[id.Digest]id.Path {
	out := make(map[id.Digest]id.Path)
	v := w.m.View()
	defer v.Close()
	if err := v.Tree(w.folder, "", ^id.Revision(0), func(x Version) error {
		if x.Entry.Kind == File {
			out[x.Entry.Content] = x.Path
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// sync makes the disk the head. The queue must be empty.
func (a *author) sync() {
	a.acked = a.next
	clear(a.disk)
	clear(a.base)
	head := a.w.head()
	a.synced = head
	v := a.w.m.View()
	defer v.Close()
	if err := v.Tree(a.w.folder, "", head.Revision, func(x Version) error {
		a.disk[x.Path], a.base[x.Path] = x.Entry, head
		a.seen[x.Entry.Content] = true
		return nil
	}); err != nil {
		a.w.t.Fatal(err)
	}
}

func (a *author) tree() string {
	var out []string
	for _, p := range a.under("") {
		out = append(out, string(p)+": "+show(a.disk[p])+" "+a.disk[p].Content.Short())
	}
	return strings.Join(out, "\n")
}

func (w *world) headTree() string {
	b := newAuthor(w, id.Node{}, nil)
	b.sync()
	return b.tree()
}

func (w *world) conflictCount() (n int) {
	v := w.m.View()
	defer v.Close()
	if err := v.Conflicts(w.folder, func(Conflict) error { n++; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A writer alone never makes a conflict, however long its queue.
func TestAloneProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		n := 0
		a := newAuthor(w, nodeA, &n, "a", "b", "c")
		a.fail = r.Fatalf
		for range rapid.IntRange(1, 12).Draw(r, "rounds") {
			for range rapid.IntRange(1, 6).Draw(r, "acts") {
				a.act(r)
			}
			for i := rapid.IntRange(0, len(a.queue)).Draw(r, "sends"); i > 0; i-- {
				a.send()
			}
			if len(a.queue) == 0 {
				if got, want := w.headTree(), a.tree(); got != want {
					r.Fatalf("head:\n%s\ndisk:\n%s", got, want)
				}
				if rapid.Bool().Draw(r, "sync") {
					a.sync()
				}
			}
		}
		for len(a.queue) > 0 {
			a.send()
		}
		if got, want := w.headTree(), a.tree(); got != want {
			r.Fatalf("head:\n%s\ndisk:\n%s", got, want)
		}
		if n := w.conflictCount(); n != 0 {
			r.Fatalf("%d conflicts of one writer alone", n)
		}
		w.checkInvariants()
	})
}

// Several writers: nothing that was written is missing in history, and the head
// is a tree. Writers who keep to names of their own make no conflict.
func TestTogetherProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		if rapid.Bool().Draw(r, "history") {
			w.historyMode()
		}
		n := 0
		apart := rapid.Bool().Draw(r, "apart")
		var all []*author
		for i, node := range []id.Node{nodeA, nodeB, nodeC} {
			a := newAuthor(w, node, &n, "a", "b")
			a.fail = r.Fatalf
			if apart {
				a.paths = []string{string('k' + rune(i)), string('p' + rune(i))}
			}
			all = append(all, a)
		}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			a := all[rapid.IntRange(0, len(all)-1).Draw(r, "who")]
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0, 1, 2:
				if apart {
					a.actApart(r)
				} else {
					a.act(r)
				}
			case 3:
				if len(a.queue) > 0 {
					a.send()
				}
			case 4:
				for len(a.queue) > 0 {
					a.send()
				}
				a.sync()
			case 5:
				if len(a.queue) == 0 && w.resolveSome(r, a.node) {
					a.next++
				}
			}
		}
		have := make(map[id.Digest]bool)
		for _, a := range all {
			for len(a.queue) > 0 {
				a.send()
			}
		}
		v := w.m.View()
		defer v.Close()
		head, err := v.Head(w.folder)
		if err != nil {
			t.Fatal(err)
		}
		for rev := id.Revision(1); rev <= head.Revision; rev++ {
			if err := v.Changes(w.folder, rev, func(x Version) error { have[x.Entry.Content], have[x.Lost.Content] = true, true; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range all {
			for _, c := range a.wrote {
				if !have[c] {
					r.Fatalf("%s is lost", c.Short())
				}
			}
		}
		if apart && w.conflictCount() != 0 {
			r.Fatalf("conflicts of writers apart")
		}
		w.checkInvariants()
	})
}

// actApart is act without a directory of somebody else's.
func (a *author) actApart(t *rapid.T) {
	mine := maps.Clone(a.disk)
	for p := range mine {
		if !slices.Contains(a.paths, p.First()) {
			delete(a.disk, p)
		}
	}
	a.act(t)
	for p, e := range mine {
		if !slices.Contains(a.paths, p.First()) {
			a.disk[p] = e
		}
	}
}
