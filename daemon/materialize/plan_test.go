package materialize

import (
	"errors"
	"fmt"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestPlanRefusesContradictions(t *testing.T) {
	t.Parallel()
	file := meta.Entry{Kind: meta.File}
	for name, items := range map[string][]Item{
		"twice":         {{Path: "a", Want: file}, {Path: "a"}},
		"reserved":      {{Path: ".lockstep/x", Want: file}},
		"outside":       {{Path: "../x", Want: file}},
		"below a file":  {{Path: "a", Want: file}, {Path: "a/b", Want: file}},
		"below nothing": {{Path: "a"}, {Path: "a/b/c", Want: file}},
		"unknown kind":  {{Path: "a", Want: meta.Entry{Kind: 9}}},
	} {
		if _, err := newPlan(items); !errors.Is(err, ErrBadPlan) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestPlanSteps shows the plans of the usual cases.
func TestPlanSteps(t *testing.T) {
	t.Parallel()
	file := func(c string) meta.Entry { return meta.Entry{Kind: meta.File, Content: id.Sum([]byte(c))} }
	dir := meta.Entry{Kind: meta.Dir, Mode: 0o755}
	onDisk := func(k vfs.Kind, ino uint64) vfs.Stat {
		st := vfs.Stat{Kind: k, Ino: ino}
		if k == vfs.Dir {
			st.Mode = 0o755
		}
		return st
	}
	for name, tc := range map[string]struct {
		items []Item
		want  string
	}{
		"a new subtree is one step": {[]Item{
			{Path: "d", Want: dir}, {Path: "d/e", Want: dir}, {Path: "d/e/f", Want: file("f")}, {Path: "d/g", Want: file("g")},
		}, "put d; "},
		"a directory's rename is one step": {[]Item{
			{Path: "a", Expect: onDisk(vfs.Dir, 1)}, {Path: "a/x", Expect: onDisk(vfs.File, 2)},
			{Path: "b", Want: dir, MoveFrom: "a", ExpectFrom: onDisk(vfs.Dir, 1)},
			{Path: "b/x", Want: file("x"), MoveFrom: "a/x", ExpectFrom: onDisk(vfs.File, 2)},
		}, "move a b; mode b; "},
		"with a child deleted and one edited": {[]Item{
			{Path: "a", Expect: onDisk(vfs.Dir, 1)}, {Path: "a/x", Expect: onDisk(vfs.File, 2)}, {Path: "a/y", Expect: onDisk(vfs.File, 3)},
			{Path: "b", Want: dir, MoveFrom: "a", ExpectFrom: onDisk(vfs.Dir, 1)},
			{Path: "b/y", Want: file("y2")},
		}, "remove a/y; remove a/x; move a b; put b/y; mode b; "},
		"a swap": {[]Item{
			{Path: "a", Want: file("b"), Was: file("a"), Expect: onDisk(vfs.File, 1), MoveFrom: "b", ExpectFrom: onDisk(vfs.File, 2)},
			{Path: "b", Want: file("a"), Was: file("b"), Expect: onDisk(vfs.File, 2), MoveFrom: "a", ExpectFrom: onDisk(vfs.File, 1)},
		}, "lift b; lift a; put a; put b; "},
		"a directory becomes a file": {[]Item{
			{Path: "d", Want: file("d"), Expect: onDisk(vfs.Dir, 1)}, {Path: "d/e", Expect: onDisk(vfs.Dir, 2)}, {Path: "d/e/f", Expect: onDisk(vfs.File, 3)},
		}, "remove d/e/f; rmdir d/e; put d; "},
		"a directory goes below itself": {[]Item{
			{Path: "a", Want: dir, Expect: onDisk(vfs.Dir, 1)},
			{Path: "a/a", Want: dir, MoveFrom: "a", ExpectFrom: onDisk(vfs.Dir, 1)},
			{Path: "a/x", Expect: onDisk(vfs.File, 2)},
			{Path: "a/a/x", Want: file("x"), MoveFrom: "a/x", ExpectFrom: onDisk(vfs.File, 2)},
		}, "put a/a; move a/x a/a/x; mode a; "},
		"a directory is replaced in one that moves": {[]Item{
			{Path: "a", Expect: onDisk(vfs.Dir, 1)}, {Path: "a/x", Expect: onDisk(vfs.Dir, 2)}, {Path: "b", Expect: onDisk(vfs.Dir, 3)},
			{Path: "c", Want: dir, MoveFrom: "a", ExpectFrom: onDisk(vfs.Dir, 1)},
			{Path: "c/x", Want: dir, MoveFrom: "b", ExpectFrom: onDisk(vfs.Dir, 3)},
		}, "rmdir a/x; move a c; move b c/x; mode c/x; mode c; "},
		"a copy's source stays": {[]Item{
			{Path: "b", Want: file("a"), MoveFrom: "a", ExpectFrom: onDisk(vfs.File, 1)},
		}, "put b; "},
	} {
		p, err := newPlan(tc.items)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		for _, s := range p.steps {
			got += fmt.Sprintf("%s ", map[op]string{opRemove: "remove", opRmdir: "rmdir", opLift: "lift", opMove: "move", opPut: "put", opAttr: "attr", opDirMode: "mode"}[s.op])
			switch s.op {
			case opLift:
				got += string(s.from)
			case opMove:
				got += string(s.from + " " + s.path)
			default:
				got += string(s.path)
			}
			got += "; "
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}

// model is a user's tree: entries by path, each with an identity that survives a rename.
type model struct {
	entries map[id.Path]meta.Entry
	ident   map[id.Path]int
	next    int
}

func (m *model) paths(dirs bool) []id.Path {
	var out []id.Path
	for p, e := range m.entries {
		if !dirs || e.Kind == meta.Dir {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a] < out[b] })
	return out
}

func (m *model) put(p id.Path, e meta.Entry) {
	m.entries[p], m.ident[p] = e, m.next
	m.next++
}

func (m *model) remove(p id.Path) {
	for q := range m.entries {
		if q.Within(p) {
			delete(m.entries, q)
			delete(m.ident, q)
		}
	}
}

func (m *model) rename(from, to id.Path) {
	if to.Within(from) || from.Within(to) {
		return
	}
	m.remove(to)
	for _, q := range m.paths(false) {
		if q.Within(from) {
			r := q.Rebase(from, to)
			m.entries[r], m.ident[r] = m.entries[q], m.ident[q]
		}
	}
	m.remove(from)
}

func (m *model) clone() *model {
	c := &model{entries: map[id.Path]meta.Entry{}, ident: map[id.Path]int{}, next: m.next}
	for p, e := range m.entries {
		c.entries[p], c.ident[p] = e, m.ident[p]
	}
	return c
}

var modelNames = []string{"a", "b", "c", "D"}

func (m *model) mutate(rt *rapid.T, s *store) {
	dirs := append([]id.Path{""}, m.paths(true)...)
	p := rapid.SampledFrom(dirs).Draw(rt, "dir").Join(rapid.SampledFrom(modelNames).Draw(rt, "name"))
	all := m.paths(false)
	switch rapid.SampledFrom([]string{"file", "file", "dir", "dir", "link", "rm", "mv", "mv", "mv", "swap", "chmod", "touch"}).Draw(rt, "op") {
	case "file":
		m.remove(p)
		m.put(p, s.file(fmt.Sprint("v", rapid.IntRange(0, 30).Draw(rt, "content")), rapid.SampledFrom([]uint32{0o644, 0o755, 0o444}).Draw(rt, "mode"), int64(rapid.IntRange(1, 9).Draw(rt, "mtime"))))
	case "dir":
		m.remove(p)
		m.put(p, dirEntry(rapid.SampledFrom([]uint32{0o755, 0o700, 0o555}).Draw(rt, "mode")))
	case "link":
		m.remove(p)
		m.put(p, linkEntry(rapid.SampledFrom([]string{"x", "../y"}).Draw(rt, "target")))
	case "rm":
		m.remove(p)
	case "mv":
		if len(all) > 0 {
			m.rename(rapid.SampledFrom(all).Draw(rt, "from"), p)
		}
	case "swap":
		if len(all) > 0 {
			q := rapid.SampledFrom(all).Draw(rt, "with")
			if _, ok := m.entries[p]; ok && !p.Within(q) && !q.Within(p) {
				m.rename(p, "tmp")
				m.rename(q, p)
				m.rename("tmp", q)
			}
		}
	case "chmod", "touch":
		if e, ok := m.entries[p]; ok && e.Kind != meta.Symlink {
			e.Mode ^= 0o050
			if e.Kind == meta.File {
				e.MTime++
			}
			m.entries[p] = e
		}
	}
}

// moves finds for each path of to where its identity was in from.
func (m *model) moves(to *model) map[id.Path]id.Path {
	was := map[int]id.Path{}
	for p, n := range m.ident {
		was[n] = p
	}
	out := map[id.Path]id.Path{}
	for p, n := range to.ident {
		if q, ok := was[n]; ok && q != p {
			out[p] = q
		}
	}
	return out
}

// TestAnyTreeToAnyTree: for random trees and what a user does to them, the plan
// makes the one into the other, whatever the filesystem can do.
func TestAnyTreeToAnyTree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, vfs.MemOptions{
			EnforceModes: rapid.Bool().Draw(rt, "modes"), NoExchange: rapid.Bool().Draw(rt, "noexchange"),
			NoLeases: rapid.Bool().Draw(rt, "noleases"), Umask: 0o077,
		})
		w.t = rapidTB{t, rt}
		before := &model{entries: map[id.Path]meta.Entry{}, ident: map[id.Path]int{}}
		for range rapid.IntRange(0, 12).Draw(rt, "before") {
			before.mutate(rt, w.store)
		}
		for _, p := range before.paths(false) {
			if e := before.entries[p]; e.Kind == meta.Dir {
				w.make(p, dirEntry(0o700))
			} else {
				w.make(p, e)
			}
		}
		for _, p := range before.paths(true) {
			w.must(w.user.Chmod(p, before.entries[p].Mode))
		}
		after := before.clone()
		for range rapid.IntRange(1, 12).Draw(rt, "after") {
			after.mutate(rt, w.store)
		}
		moves := map[id.Path]id.Path{}
		if rapid.Bool().Draw(rt, "moves known") {
			moves = before.moves(after)
		}
		w.allDone(w.run(w.diff(before.entries, after.entries, moves)))
		if d := diffTree(tree(w.t, root{w.user}), w.wanted(after.entries)); d != "" {
			rt.Fatal(d)
		}
		w.clean()
		if len(w.returned) > 0 {
			rt.Fatalf("given back without reason: %q", w.returned)
		}
	})
}
