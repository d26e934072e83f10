package meta

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// String is the record as world.recordLines has it.
func (r modelRecord) String() string {
	return strings.Join(strings.Fields(fmt.Sprint(r.kind, " ", r.path, " ", r.copy, " ", r.state)), " ")
}

// wentTo is where the newest revision has moved or brought back what was at p, "" if
// nowhere.
func (m *model) wentTo(p string) string {
	v, _ := m.newest(p)
	if v.live().Kind != Absent {
		return ""
	}
	if v.back == 0 {
		return v.to
	}
	made, rev := m.birth(p, m.rev-1)
	names := []string{p}
	for q := range m.paths {
		if q != p {
			names = append(names, q)
		}
	}
	slices.Sort(names[1:])
	for _, q := range names {
		if m.at(q, v.back-1).live().Kind == Absent {
			continue
		}
		if is, at := m.birth(q, v.back-1); is != made || at != rev {
			continue
		}
		if v, _ := m.newest(q); q == p || m.rolled != "" && q != m.rolled || v.live().Kind == Absent {
			return ""
		}
		return q
	}
	return ""
}

// birth is where and when what was at p at revision r was made.
func (m *model) birth(p string, r int) (string, int) {
	for {
		v := m.at(p, r)
		switch before := m.at(p, v.rev-1); {
		case v.from != "":
			p, r = v.from, v.rev-1
		case v.back != 0:
			r = v.back - 1
		case before.live().Kind == Absent:
			return p, v.rev
		default:
			r = v.rev - 1
		}
	}
}

// rollback makes p ("" is all) what it was at target, and returns whether that is a revision.
func (m *model) rollback(node int, p string, target int) {
	var written []string
	for q := range m.paths {
		was, _ := m.newest(q)
		if then := m.at(q, target).live(); (p == "" || p == q) && was.live() != then {
			m.paths[q] = append(m.paths[q], modelVersion{rev: m.rev + 1, e: then, node: -1, back: target + 1})
			written = append(written, q)
		}
	}
	if m.rolled = p; len(written) != 0 {
		m.rev++
		m.settle(written...)
	}
	m.sent[node] = append(m.sent[node], modelOutcome{head: m.rev})
}

// move renames p, whose head the node has seen, to a name that never was.
func (m *model) move(node int, p, to string) {
	m.rev++
	v, _ := m.newest(p)
	m.paths[p] = append(m.paths[p], modelVersion{rev: m.rev, node: node, to: to})
	m.paths[to] = append(m.paths[to], modelVersion{rev: m.rev, node: node, e: v.e, from: p})
	m.settle(p, to)
	m.sent[node] = append(m.sent[node], modelOutcome{head: m.rev})
}

// stale reports whether a change of p from b would have to follow a move, or would name
// what came by one from before it did: the rules of which are not modelled.
func (m *model) stale(node int, p string, b Base) bool {
	path, base, _, _ := m.resolve(node, p, b)
	if v := m.paths[path]; len(v) > 0 && v[0].from != "" && base < v[0].rev && base >= 0 {
		return true
	}
	if b.Own != 0 {
		if v := m.paths[p]; len(v) > 0 && v[0].from != "" && base < v[0].rev {
			return true
		}
	}
	for _, v := range m.paths[path] {
		if v.to != "" && base < v.rev && (base >= 0 || path != p) {
			return true
		}
	}
	return false
}

// modelStep does a change, or a rename or a rollback in its place, to both.
func (w *world) modelStep(r *rapid.T, m *model, nodes []id.Node, n int, ch Change) {
	p := string(ch.Path)
	switch rapid.IntRange(0, 11).Draw(r, "what") {
	case 0, 1:
		if v, ok := m.newest(p); ok && v.live().Kind != Absent {
			to := fmt.Sprint("m", m.rev+1)
			w.commit(nodes[n], mv(ch.Path, id.Path(to), w.head()))
			m.move(n, p, to)
			w.story.WriteString(fmt.Sprintf("%c moves %s to %s\n", 'a'+n, p, to))
			return
		}
	case 2, 3:
		if m.rev > 0 {
			if rapid.IntRange(0, 2).Draw(r, "all") > 0 {
				p = ""
			}
			to := rapid.IntRange(1, m.rev).Draw(r, "target")
			w.must(w.do(nodes[n], RollbackCmd{Folder: w.folder, Path: id.Path(p), Target: id.Revision(to), TargetHash: w.at(id.Revision(to)).Hash}))
			m.rollback(n, p, to)
			w.story.WriteString(fmt.Sprintf("%c rolls %q back to %d\n", 'a'+n, p, to))
			return
		}
	}
	if m.stale(n, p, ch.Base) {
		ch.Base = Base{}
	}
	if v, _ := m.newest(p); ch.Op == OpDelete && v.to != "" {
		ch.Base = w.head() // else the deletion would be of what was moved
	}
	w.commit(nodes[n], ch)
	m.apply(n, ch)
	w.story.WriteString(fmt.Sprintf("%c %d %s base %d own %d: %s %d mask %d\n", 'a'+n, ch.Op, ch.Path, ch.Base.Revision, ch.Base.Own, show(ch.Entry), ch.Entry.MTime, ch.Mask))
}
