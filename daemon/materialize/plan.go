package materialize

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// ErrBadPlan is wrapped when the items contradict each other: one path twice, or
// something wanted below what is no directory.
var ErrBadPlan = errors.New("items contradict each other")

// op is what one step does to the disk. The numbers are part of the format of
// intents.
type op uint8

const (
	opRemove  op = 1 // a file or symlink goes from path to kept
	opRmdir   op = 2 // an empty directory goes
	opLift    op = 3 // what is at from is taken into kept until its opPut
	opMove    op = 4 // rename from -> path, nothing being at path
	opPut     op = 5 // a stage (or what was lifted) goes to path
	opAttr    op = 6 // a file's mode and mtime are set in place
	opDirMode op = 7 // a directory's mode is set
)

// step is one visible change. Steps are executed in order.
type step struct {
	op   op
	item int // index of the item that it is done for
	path id.Path
	from id.Path
	// expect is what must be at path (at from for opLift and opMove) just before.
	expect vfs.Stat
	lifted bool // of opPut: the thing was lifted, not staged
}

// role says what an item needs beside its steps.
type role struct {
	stage meta.Kind // what has to be staged for it; Absent: nothing
	// leader is the item whose fate it shares: the top of a subtree staged whole, or the
	// move that carries or consumes it. Its own index where it has steps of its own.
	leader int
	// carried: a move of a directory above brings it along.
	carried bool
	// lateMode: a staged directory gets its mode after the rest is in place.
	lateMode bool
}

// plan is the pure result of newPlan.
type plan struct {
	items  []Item
	steps  []step
	roles  []role
	byPath map[id.Path]int
	claim  map[id.Path]int // source path -> the item that takes it
}

type planner struct {
	plan
	order  []int           // items in path order
	whole  map[id.Path]int // source directories that are renamed as a whole -> the item
	target map[id.Path]int // their targets
}

// newPlan orders items into steps. First, in reverse path order, everything that
// goes away is taken from its old place; then, parents first, everything new is put in place;
// last, deepest first, directories are removed and modes set. It is pure.
func newPlan(items []Item) (*plan, error) {
	p := &planner{
		plan:  plan{items: items, roles: make([]role, len(items)), byPath: make(map[id.Path]int, len(items)), claim: map[id.Path]int{}},
		whole: map[id.Path]int{}, target: map[id.Path]int{},
	}
	if err := p.index(); err != nil {
		return nil, err
	}
	p.claims()
	p.clear()
	p.build()
	p.finish()
	return &p.plan, nil
}

func (p *planner) index() error {
	p.order = pathOrder(p.items)
	for i := range p.items {
		it := &p.items[i]
		if err := it.Path.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrBadPlan, err)
		}
		if _, dup := p.byPath[it.Path]; dup {
			return fmt.Errorf("%w: %q twice", ErrBadPlan, it.Path)
		}
		if it.Want.Kind > meta.Symlink {
			return fmt.Errorf("%w: %q is wanted as kind %d", ErrBadPlan, it.Path, it.Want.Kind)
		}
		p.byPath[it.Path] = i
		p.roles[i].leader = i
	}
	for i := range p.items {
		if p.items[i].Want.Kind == meta.Absent {
			continue
		}
		if a, ok := p.above(p.items[i].Path, p.notDir); ok {
			return fmt.Errorf("%w: %q is wanted below %q, a %v", ErrBadPlan, p.items[i].Path, p.items[a].Path, p.items[a].Want.Kind)
		}
	}
	return nil
}

func (p *planner) notDir(i int) bool { return p.items[i].Want.Kind != meta.Dir }

// above finds the nearest item strictly above path for which ok holds.
func (p *planner) above(path id.Path, ok func(int) bool) (int, bool) {
	for d := path.Dir(); d != ""; d = d.Dir() {
		if i, is := p.byPath[d]; is && ok(i) {
			return i, true
		}
	}
	return 0, false
}

// nearest finds the nearest path in m at or above path.
func nearest(m map[id.Path]int, path id.Path) (id.Path, int, bool) {
	for d := path; d != "" && len(m) > 0; d = d.Dir() {
		if i, ok := m[d]; ok {
			return d, i, true
		}
	}
	return "", 0, false
}

// claims decides which MoveFrom are taken: the source must be an item that goes
// away, and the first in path order gets it.
func (p *planner) claims() {
	for _, i := range p.order {
		it := &p.items[i]
		if it.MoveFrom == "" || it.Want.Kind == meta.Absent || it.MoveFrom == it.Path {
			continue
		}
		j, ok := p.byPath[it.MoveFrom]
		if !ok || !SameKind(it.ExpectFrom.Kind, it.Want.Kind) || p.items[j].Expect.Kind != it.ExpectFrom.Kind {
			continue
		}
		src := &p.items[j]
		if src.Want.Kind != meta.Absent && (src.Was.SameContent(src.Want) || src.Want.Kind == meta.Dir && it.Want.Kind == meta.Dir) {
			continue // it stays where it is
		}
		if _, taken := p.claim[it.MoveFrom]; taken {
			continue
		}
		if it.Want.Kind == meta.Dir {
			if it.Expect.Kind == vfs.Dir && !p.alias(i) {
				continue // merged: the files move one by one
			}
			if t, ti, ok := nearest(p.target, it.Path); ok && it.Path.Rebase(t, p.items[ti].MoveFrom) == it.MoveFrom {
				continue // carried by the directory above
			}
			p.whole[it.MoveFrom] = i
			p.target[it.Path] = i
		}
		p.claim[it.MoveFrom] = i
	}
}

// alias reports that on this disk the target's name means the source itself: a
// case-only rename where names are compared without case.
func (p *planner) alias(i int) bool {
	it := &p.items[i]
	return it.Expect.Kind == it.ExpectFrom.Kind && it.Expect.Ino != 0 && it.Expect.Ino == it.ExpectFrom.Ino &&
		strings.EqualFold(string(it.Path), string(it.MoveFrom))
}

// carrier returns the move of a directory above that brings item i's content
// along, if there is one.
func (p *planner) carrier(i int) (int, bool) {
	it := &p.items[i]
	t, ti, ok := nearest(p.target, it.Path.Dir())
	if !ok {
		return 0, false
	}
	from := p.items[ti].MoveFrom
	src := it.Path.Rebase(t, from)
	if f, _, ok := nearest(p.whole, src); !ok || f != from {
		return 0, false // src goes elsewhere with a directory of its own
	}
	j, ok := p.byPath[src]
	if !ok {
		return 0, false
	}
	if it.Want.Kind == meta.Dir {
		// One with a move of its own does not become what is brought there.
		return ti, p.items[j].Expect.Kind == vfs.Dir && !p.takes(i)
	}
	c, claimed := p.claim[src]
	return ti, claimed && c == i
}

// expect is what will be at item i's path when it is put there.
func (p *planner) expect(i int) vfs.Stat {
	it := &p.items[i]
	if _, moved := p.claim[it.Path]; moved {
		return vfs.Stat{}
	}
	if _, _, ok := nearest(p.target, it.Path.Dir()); ok {
		return vfs.Stat{}
	}
	if c, ok := p.claim[it.MoveFrom]; ok && c == i && p.alias(i) {
		return vfs.Stat{}
	}
	return it.Expect
}

// direct reports that item i's move can be one rename at its turn: the source is
// still at its old path then and its name is not needed by anything before.
func (p *planner) direct(i int) bool {
	it := &p.items[i]
	if p.items[p.byPath[it.MoveFrom]].Want.Kind != meta.Absent || p.expect(i).Kind != vfs.Absent ||
		strings.EqualFold(string(it.Path), string(it.MoveFrom)) {
		return false
	}
	return !p.early(it.MoveFrom)
}

// early reports that what is at path must be gone before anything new is put in
// place: a directory above it moves as a whole, or becomes something else.
func (p *planner) early(path id.Path) bool {
	if _, _, ok := nearest(p.whole, path.Dir()); ok {
		return true
	}
	_, ok := p.above(path, func(i int) bool {
		k := p.items[i].Want.Kind
		return k == meta.File || k == meta.Symlink
	})
	return ok
}

// clear plans the first phase, and decides carried and consumed items.
func (p *planner) clear() {
	for _, i := range p.order {
		if p.items[i].Want.Kind == meta.Absent {
			continue
		}
		if ti, ok := p.carrier(i); ok {
			p.roles[i].carried, p.roles[i].leader = true, ti
			src := p.items[i].Path.Rebase(p.items[ti].Path, p.items[ti].MoveFrom)
			p.roles[p.byPath[src]].leader = ti
			if c, claimed := p.claim[src]; !claimed || c != i { // a directory
				p.claim[src] = i
			}
		}
	}
	for n := len(p.order) - 1; n >= 0; n-- {
		i := p.order[n]
		it := &p.items[i]
		if c, ok := p.claim[it.Path]; ok {
			if it.Want.Kind == meta.Absent && !p.roles[c].carried {
				p.roles[i].leader = c
			}
			if cl := &p.items[c]; !p.roles[c].carried && !p.direct(c) {
				p.add(step{op: opLift, item: c, path: cl.Path, from: it.Path, expect: cl.ExpectFrom})
			}
			continue
		}
		if it.Want.Kind != meta.Absent {
			continue
		}
		if it.Expect.Kind != vfs.Dir {
			p.add(step{op: opRemove, item: i, path: it.Path, expect: it.Expect})
		} else if p.early(it.Path) {
			p.add(step{op: opRmdir, item: i, path: it.Path, expect: it.Expect})
		}
	}
}

// build plans the second phase: what is new, parents first.
func (p *planner) build() {
	for _, i := range p.order {
		it := &p.items[i]
		r := &p.roles[i]
		switch {
		case it.Want.Kind == meta.Absent:
		case r.carried:
			if it.Want.Kind == meta.File && !attrsAre(it.ExpectFrom, it.Want) {
				p.add(step{op: opAttr, item: i, path: it.Path, expect: it.ExpectFrom})
			}
		case p.takes(i):
			p.move(i)
		default:
			p.put(i)
		}
	}
}

func (p *planner) move(i int) {
	it := &p.items[i]
	if p.direct(i) {
		p.add(step{op: opMove, item: i, path: it.Path, from: it.MoveFrom, expect: it.ExpectFrom})
	} else {
		p.add(step{op: opPut, item: i, path: it.Path, from: it.MoveFrom, expect: p.expect(i), lifted: true})
	}
	p.needs(it.Path.Dir())
	if it.Want.Kind == meta.File && !attrsAre(it.ExpectFrom, it.Want) {
		p.add(step{op: opAttr, item: i, path: it.Path, expect: it.ExpectFrom})
	}
}

func (p *planner) put(i int) {
	it := &p.items[i]
	r := &p.roles[i]
	expect := p.expect(i)
	switch {
	case it.Want.Kind == meta.Dir && expect.Kind == vfs.Dir:
		return // at most its mode, in the last phase
	case expect.Kind == vfs.File && it.Was.SameContent(it.Want),
		expect.Kind == vfs.Symlink && it.Was.SameContent(it.Want):
		p.add(step{op: opAttr, item: i, path: it.Path, expect: expect})
		return
	}
	r.stage = it.Want.Kind
	if d, ok := p.byPath[it.Path.Dir()]; ok && p.roles[d].stage == meta.Dir && expect.Kind == vfs.Absent {
		r.leader = p.roles[d].leader
		return
	}
	p.needs(it.Path.Dir())
	if r.stage == meta.Dir && !writable(it.Want.Mode) {
		r.lateMode = true // a directory that moves must be writable for us
	}
	p.add(step{op: opPut, item: i, path: it.Path, expect: expect})
}

// needs notes that something is put into dir after it is in place.
func (p *planner) needs(dir id.Path) {
	if d, ok := p.byPath[dir]; ok && p.roles[d].stage == meta.Dir && !writable(p.items[d].Want.Mode) {
		p.roles[d].lateMode = true
	}
}

// finish plans the last phase.
func (p *planner) finish() {
	for n := len(p.order) - 1; n >= 0; n-- {
		i := p.order[n]
		it := &p.items[i]
		r := &p.roles[i]
		_, claimed := p.claim[it.Path]
		switch {
		case it.Want.Kind == meta.Absent && it.Expect.Kind == vfs.Dir && !claimed && !p.early(it.Path):
			p.add(step{op: opRmdir, item: i, path: it.Path, expect: it.Expect})
		case it.Want.Kind != meta.Dir:
		case r.lateMode:
			p.add(step{op: opDirMode, item: i, path: it.Path})
		case r.carried || p.takes(i):
			p.add(step{op: opDirMode, item: i, path: it.Path, expect: p.brought(i)})
		case r.stage == meta.Absent:
			p.add(step{op: opDirMode, item: i, path: it.Path, expect: it.Expect})
		}
	}
}

// brought is the stat of the directory that a move brought to item i's path.
func (p *planner) brought(i int) vfs.Stat {
	if it := &p.items[i]; !p.roles[i].carried {
		return it.ExpectFrom
	}
	t := &p.items[p.roles[i].leader]
	return p.items[p.byPath[p.items[i].Path.Rebase(t.Path, t.MoveFrom)]].Expect
}

func (p *planner) add(s step) { p.steps = append(p.steps, s) }

func writable(mode uint32) bool { return mode&0o300 == 0o300 }

// attrsAre reports that a file with stat s needs no change of mode or mtime.
func attrsAre(s vfs.Stat, e meta.Entry) bool { return s.Mode == e.Mode && s.MTime == e.MTime }

// SameKind reports that an entry of kind m is a v on the disk.
func SameKind(v vfs.Kind, m meta.Kind) bool {
	return v == vfs.File && m == meta.File || v == vfs.Dir && m == meta.Dir || v == vfs.Symlink && m == meta.Symlink
}

// batches cuts the steps into runs of at most about max, never between the lift
// of a thing and its being put in place. It returns the end of each run.
func (p *plan) batches(max int) []int {
	var ends []int
	open, start := 0, 0
	for i, s := range p.steps {
		switch {
		case s.op == opLift:
			open++
		case s.op == opPut && s.lifted:
			open--
		}
		if i+1-start >= max && open == 0 {
			ends = append(ends, i+1)
			start = i + 1
		}
	}
	if start < len(p.steps) {
		ends = append(ends, len(p.steps))
	}
	return ends
}
