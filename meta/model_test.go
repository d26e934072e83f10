package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// model is the conflict rules in plain maps, without a store or parents: every path is
// at the top. Moves go to names that never were, by somebody who has seen the head, and
// nobody who has not seen a move names what was moved (see stale): what is modelled of
// them is where records go. It is written from DESIGN.md, not from the code.
type model struct {
	rev     int
	paths   map[string][]modelVersion // oldest first
	records []*modelRecord
	history bool                   // conflicts=history
	rolled  string                 // the path of the last rollback
	sent    map[int][]modelOutcome // by node, outcomes in the order of sequences
}

type modelVersion struct {
	rev    int
	e      Entry // Absent for a tombstone
	node   int
	loser  bool   // a conflict copy, or built on one
	merged bool   // holds content that its author had not seen
	hidden bool   // no disk has it
	from   string // moved from there
	to     string // of a tombstone: moved to there
	back   int    // of a rollback: 1 and its target
}

// modelRecord is one conflict, resolved by what users do to the copy.
type modelRecord struct {
	kind       string
	path, copy string // copy "": decided by rule
	hidden     bool
	was        Entry // the copy's newest content
	state      string
}

// settle resolves the open records that versions just written at some paths decide.
func (m *model) settle(written ...string) {
	for _, r := range m.records {
		atPath, atCopy := slices.Contains(written, r.path), slices.Contains(written, r.copy)
		if r.state != "open" || !atPath && !atCopy {
			continue
		}
		path, _ := m.newest(r.path)
		was := r.path
		if to := m.wentTo(r.path); atPath && to != "" {
			r.path = to
			path, _ = m.newest(to)
		}
		other, _ := m.newest(r.copy)
		same := path.live().Kind != Absent && path.e.SameContent(r.was)
		switch {
		case r.hidden && atCopy && other.loser && other.live().Kind != Absent:
			r.hidden = false
		case r.hidden:
			if path.rev == m.rev && same {
				r.state = "resolved other"
			}
		case other.e.Kind == Absent && other.to != "":
			r.state = "resolved both"
		case other.e.Kind == Absent && same:
			r.state = "resolved other"
		case other.e.Kind == Absent:
			r.state = "resolved current"
		}
		if r.state != "open" && !r.hidden {
			r.path = was // a record that a copy's end resolves says where the path was
		}
		if atCopy && (!r.hidden || other.hidden) {
			r.was = other.e
		}
	}
}

// live is what the disks have of it.
func (v modelVersion) live() Entry {
	if v.hidden {
		return Entry{}
	}
	return v.e
}

// modelOutcome is what own(sequence) of one path stands for.
type modelOutcome struct {
	proposed, path string
	base           int // -1: none
	head           int // the revision after the proposal
	record         int // by which it went elsewhere, counted from 1
}

func (m *model) newest(p string) (modelVersion, bool) {
	v := m.paths[p]
	if len(v) == 0 {
		return modelVersion{}, false
	}
	return v[len(v)-1], true
}

func (m *model) at(p string, rev int) (out modelVersion) {
	for _, v := range m.paths[p] {
		if v.rev <= rev {
			out = v
		}
	}
	return out
}

// resolve returns path and base, and the record that the path comes from; base -1 is none.
func (m *model) resolve(node int, p string, b Base) (path string, base int, loser bool, record int) {
	switch {
	case b.Own == 0 && b.Revision == 0:
		return p, -1, false, 0
	case b.Own == 0:
		return p, int(b.Revision), false, 0
	}
	o := m.sent[node][b.Own-1]
	if o.proposed == p {
		if o.path != p {
			record = o.record
		}
		if o.base <= 0 {
			return o.path, -1, o.path != p, record // the empty folder is no base
		}
		return o.path, o.base, o.path != p, record
	}
	if v := m.at(p, o.head); v.live().Kind != Absent && v.rev != o.head && (v.node != node || v.loser || v.merged) {
		return p, -1, false, 0
	}
	if o.head == 0 {
		return p, -1, false, 0
	}
	return p, o.head, false, 0
}

// apply does a commit of one change and returns the revision it made, 0 for none.
func (m *model) apply(node int, ch Change) {
	p, base, loser, record := m.resolve(node, string(ch.Path), ch.Base)
	h, _ := m.newest(p)
	lost := h.hidden && loser
	if !lost {
		h.e = h.live()
	}
	known := h.rev == 0 || base >= 0 && (h.rev <= base || h.node == node && !h.loser && !h.merged)
	o := modelOutcome{proposed: string(ch.Path), path: p, base: m.rev, record: record}
	write := func(q string, v modelVersion) {
		m.rev++
		v.rev, v.node = m.rev, node
		var again *modelRecord
		if lost && q == p && v.e.Kind != Dir {
			v.hidden = true
			again = m.reopened(record, p, v.e)
		}
		m.paths[q] = append(m.paths[q], v)
		o.path, o.base = q, m.rev
		m.settle(q)
		if again != nil {
			m.records = append(m.records, again)
			o.record = len(m.records)
		}
	}
	if ch.Op == OpDelete {
		switch {
		case h.e.Kind == Absent || h.hidden:
		case known:
			write(p, modelVersion{})
		default:
			was := Entry{}
			if base >= 0 {
				was = m.at(p, base).live()
			}
			if h.e.Kind == Dir && was.Kind == Dir {
				write(p, modelVersion{})
				break
			}
			if was.Kind != Absent {
				m.automatic(p)
			}
			o.base = base
		}
		o.head = m.rev
		m.sent[node] = append(m.sent[node], o)
		return
	}
	m.put(node, p, base, known, loser, h, ch, &o, write)
	o.head = m.rev
	m.sent[node] = append(m.sent[node], o)
}

// reopened is the record of what goes on without a copy after its record was resolved,
// nil where the path has its content or the record is open: else nobody would hear of it.
func (m *model) reopened(record int, copy string, e Entry) *modelRecord {
	if record == 0 || m.records[record-1].state == "open" {
		return nil
	}
	r := m.records[record-1]
	if v, _ := m.newest(r.path); v.live().Kind != Absent && v.e.SameContent(e) {
		return nil
	}
	return &modelRecord{kind: r.kind, path: r.path, copy: copy, hidden: true, was: e, state: "open"}
}

func (m *model) automatic(p string) {
	m.records = append(m.records, &modelRecord{kind: "edit/delete", path: p, state: "automatic"})
}

func (m *model) put(node int, p string, base int, known, loser bool, h modelVersion, ch Change, o *modelOutcome, write func(string, modelVersion)) {
	lost := h.hidden && loser
	content0 := func(v modelVersion) Entry {
		if lost {
			return v.e
		}
		return v.live()
	}
	var was Entry
	if base >= 0 {
		was = m.at(p, base).e
	}
	mix := func(mask Fields) Entry {
		if ch.Entry.Kind != h.e.Kind {
			return ch.Entry
		}
		out := h.e
		if mask&FieldContent != 0 {
			out.Content, out.Size = ch.Entry.Content, ch.Entry.Size
		}
		if mask&FieldMode != 0 {
			out.Mode = ch.Entry.Mode
		}
		if mask&FieldMTime != 0 {
			out.MTime = ch.Entry.MTime
		}
		return out
	}
	set := func(e Entry, unseen bool) {
		if e != h.e {
			write(p, modelVersion{e: e, loser: loser, merged: unseen})
		}
	}
	mask := ch.Mask
	from := was
	if known {
		from = h.e
	}
	if !from.SameContent(ch.Entry) {
		mask |= FieldContent
	}
	content := mask&FieldContent != 0
	if !known && base >= 0 && !(content && h.e.SameContent(ch.Entry)) {
		for i := len(m.paths[p]) - 1; i >= 0; i-- {
			v := m.paths[p][i]
			attributes := content || (mask&FieldMode == 0 || v.e.Mode == ch.Entry.Mode) && (mask&FieldMTime == 0 || v.e.MTime == ch.Entry.MTime)
			if v.rev > base && content0(v).SameContent(ch.Entry) && attributes {
				o.base = v.rev
				return
			}
		}
	}
	switch {
	case h.e.Kind == Absent:
		if !known && base >= 0 && was.Kind != Absent {
			m.automatic(p)
		}
		write(p, modelVersion{e: ch.Entry, loser: loser})
	case known:
		if ch.Entry.Kind == h.e.Kind || mask&FieldContent != 0 {
			set(mix(mask), false)
		}
	case h.e.Kind == Dir && ch.Entry.Kind == Dir:
		if base >= 0 {
			set(mix(mask), false)
		}
	case h.e.SameContent(ch.Entry):
		if base < 0 {
			break
		}
		mask &^= FieldContent
		if ch.Mask&FieldContent != 0 || !was.SameContent(ch.Entry) {
			if h.e.Mode != was.Mode {
				mask &^= FieldMode
			}
			if h.e.MTime != was.MTime {
				mask &^= FieldMTime
			}
		}
		set(mix(mask), false)
	case mask&FieldContent == 0:
		if h.e.Kind == ch.Entry.Kind {
			set(mix(mask), true)
		}
		o.base = base
	case was.Kind != Absent && was.SameContent(h.e):
		set(mix(mask), false)
	default:
		for i := len(m.paths[p]) - 1; i >= 0; i-- {
			if v := m.paths[p][i]; base < 0 && content0(v).SameContent(ch.Entry) {
				o.base = v.rev
				return
			}
		}
		m.clash(node, p, was, h, ch, write)
		o.record = len(m.records)
	}
}

func (m *model) clash(node int, p string, was Entry, h modelVersion, ch Change, write func(string, modelVersion)) {
	kind := "edit/edit"
	if was.Kind == Absent {
		kind = "create/create"
	}
	if h.e.Kind != ch.Entry.Kind {
		kind = "kind"
	}
	stem, _, _ := strings.Cut(p, " (")
	q := fmt.Sprintf("%s (conflict %s r%d)", stem, string('a'+rune(node)), m.rev+1)
	hidden := m.history && ch.Entry.Kind != Dir
	write(q, modelVersion{e: ch.Entry, loser: true, hidden: hidden})
	m.records = append(m.records, &modelRecord{kind: kind, path: p, copy: q, hidden: hidden, was: ch.Entry, state: "open"})
}

func (m *model) tree() string {
	var out []string
	for p := range m.paths {
		if v, _ := m.newest(p); v.live().Kind != Absent {
			out = append(out, fmt.Sprintf("%s: %v %o %d %s", p, v.e.Kind, v.e.Mode, v.e.MTime, v.e.Content.Short()))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestModelProperty(t *testing.T) {
	t.Parallel()
	nodes := []id.Node{nodeA, nodeB, nodeC}
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		m := &model{paths: map[string][]modelVersion{}, sent: map[int][]modelOutcome{}}
		var names = []string{"x", "y"}
		if m.history = rapid.Bool().Draw(r, "history"); m.history {
			w.historyMode()
		}
		for step := range rapid.IntRange(1, 25).Draw(r, "steps") {
			n := rapid.IntRange(0, 2).Draw(r, "node")
			ch := Change{Op: OpPut, Path: id.Path(rapid.SampledFrom(names).Draw(r, "path"))}
			switch rapid.IntRange(0, 3).Draw(r, "base") {
			case 1, 2:
				if m.rev > 0 {
					ch.Base = w.at(id.Revision(rapid.IntRange(1, m.rev).Draw(r, "revision")))
				}
			case 3:
				if k := len(m.sent[n]); k > 0 {
					ch.Base = own(id.Sequence(rapid.IntRange(1, k).Draw(r, "own")))
				}
			}
			switch rapid.IntRange(0, 9).Draw(r, "op") {
			case 0, 1:
				ch.Op = OpDelete
			case 2:
				ch.Entry = Entry{Kind: Dir, Mode: uint32(0o700 + rapid.IntRange(0, 1).Draw(r, "mode"))}
			default:
				ch.Entry = file(fmt.Sprint("c", rapid.IntRange(0, 3).Draw(r, "content")))
				ch.Entry.Mode += uint32(rapid.IntRange(0, 1).Draw(r, "mode"))
				ch.Entry.MTime = int64(step*10 + n)
			}
			if ch.Op == OpPut {
				ch.Mask = rapid.SampledFrom([]Fields{FieldsAll, FieldContent | FieldMTime, FieldMode}).Draw(r, "mask")
			}
			w.modelStep(r, m, nodes, n, ch)
			for p := range m.paths {
				if !slices.Contains(names, p) {
					names = append(names, p)
				}
			}
			slices.Sort(names)
			if got, want := w.fullTree(), m.tree(); got != want || int(w.head().Revision) != m.rev {
				r.Fatalf("%s\nrevision %s, model %d\nmachine:\n%s\nmodel:\n%s", w.story.String(), w.head().Revision, m.rev, got, want)
			}
		}
		var lines []string
		for _, x := range m.records {
			lines = append(lines, x.String())
		}
		if got, want := w.recordLines(), strings.Join(lines, "\n"); got != want {
			r.Fatalf("%s\nrecords:\n%s\nmodel:\n%s", w.story.String(), got, want)
		}
	})
}

func (w *world) fullTree() string {
	v := w.m.View()
	defer v.Close()
	var out []string
	if err := v.Tree(w.folder, "", ^id.Revision(0), func(x Version) error {
		e := x.Entry
		out = append(out, fmt.Sprintf("%s: %v %o %d %s", x.Path, e.Kind, e.Mode, e.MTime, e.Content.Short()))
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (w *world) recordLines() string {
	v := w.m.View()
	defer v.Close()
	var out []string
	if err := v.Conflicts(w.folder, func(c Conflict) error {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Kind, c.Path, c.CopyPath))
		out = append(out, strings.TrimSpace(line+" "+c.State.String()+" "+c.Resolution))
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(out, "\n")
}
