package vfs

import (
	"maps"
	"math/rand/v2"
)

// The journal of names. A directory's durable names (dents) change only by
// committing operations from pending. An operation is atomic, as on any
// journaled filesystem: a rename between two directories is never half there.

// slot is one name of one directory, and what it becomes: nil for no entry.
type slot struct {
	dir  *inode
	key  string
	name string
	node *inode
}

func (p place) slot(n *inode) slot { return slot{p.dir, p.key, p.name, n} }

// metaOp is one change of names.
type metaOp struct {
	slots   []slot
	nodes   []*inode // that were linked, unlinked or moved
	ctimes  []int64  // of nodes after it
	emptied []*inode // directories removed: all that left them must go first
	move    bool     // a rename: must not become durable before its target directory is
	// above are a rename's directories and all that they lay in: if a move of one of
	// these is lost, this move could make a ring of directories that hangs nowhere.
	above []*inode
}

func (m *Mem) journal(op *metaOp) {
	for _, n := range op.nodes {
		op.ctimes = append(op.ctimes, n.attr.ctime)
	}
	for _, s := range op.slots {
		for d := s.dir; op.move && d != m.root; d = d.parent {
			op.above = append(op.above, d)
		}
	}
	m.pending = append(m.pending, op)
}

// apply makes op durable.
func (op *metaOp) apply() {
	for _, s := range op.slots {
		if s.node == nil {
			delete(s.dir.dents, s.key)
		} else {
			s.dir.dents[s.key] = dirent{s.name, s.node}
		}
	}
	for i, n := range op.nodes {
		n.dattr.ctime = op.ctimes[i]
	}
}

type slotKey struct {
	dir *inode
	key string
}

// touched is a set of slots, inodes and whole directories.
type touched struct {
	slots map[slotKey]bool
	nodes map[*inode]bool
	dirs  map[*inode]bool
}

func newTouched() touched {
	return touched{map[slotKey]bool{}, map[*inode]bool{}, map[*inode]bool{}}
}

// commit makes durable every pending operation that seed chooses, and those
// earlier ones without which it could not have happened.
func (m *Mem) commit(seed func(*metaOp) bool) {
	need := newTouched()
	keep := make([]bool, len(m.pending))
	for i := len(m.pending) - 1; i >= 0; i-- {
		op := m.pending[i]
		pulled := need.hit(op)
		if !pulled && !seed(op) {
			continue
		}
		keep[i] = true
		for _, s := range op.slots {
			need.slots[slotKey{s.dir, s.key}] = true
			if pulled {
				need.nodes[s.dir] = true // else the entry would be lost with its directory
			}
		}
		for _, d := range op.above {
			need.nodes[d] = true
		}
		for _, n := range op.nodes {
			need.nodes[n] = true
		}
		for _, d := range op.emptied {
			need.dirs[d] = true
		}
	}
	rest := m.pending[:0]
	for i, op := range m.pending {
		if keep[i] {
			op.apply()
		} else {
			rest = append(rest, op)
		}
	}
	clear(m.pending[len(rest):])
	m.pending = rest
}

// hit reports whether op wrote something in t.
func (t touched) hit(op *metaOp) bool {
	for _, s := range op.slots {
		if t.slots[slotKey{s.dir, s.key}] || t.dirs[s.dir] {
			return true
		}
	}
	for _, n := range op.nodes {
		if t.nodes[n] {
			return true
		}
	}
	return false
}

// commitSome makes a random set of pending operations durable that is closed
// under what they depend on: half of the time a prefix, as a journal does it.
func (m *Mem) commitSome(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		for _, op := range m.pending[:rng.IntN(len(m.pending)+1)] {
			op.apply()
		}
		m.pending = nil
		return
	}
	lost := newTouched() // what dropped operations wrote
	p := []float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	for _, op := range m.pending {
		if rng.Float64() < p && !lost.needed(op) {
			op.apply()
			continue
		}
		for _, s := range op.slots {
			lost.slots[slotKey{s.dir, s.key}] = true
			lost.dirs[s.dir] = true
		}
		for _, n := range op.nodes {
			lost.nodes[n] = true
		}
	}
	m.pending = nil
}

// needed reports whether op builds on something in t.
func (t touched) needed(op *metaOp) bool {
	for _, s := range op.slots {
		if t.slots[slotKey{s.dir, s.key}] || t.nodes[s.dir] {
			return true
		}
	}
	for _, n := range op.nodes {
		if t.nodes[n] {
			return true
		}
	}
	for _, d := range op.above {
		if t.nodes[d] {
			return true
		}
	}
	for _, d := range op.emptied {
		if t.dirs[d] {
			return true
		}
	}
	return false
}

// CrashMode says how much a crash leaves.
type CrashMode uint8

const (
	// Kill is the end of the process: all that was done stays, durable or not, and
	// the same things are still not durable.
	Kill CrashMode = iota
	// PowerCut leaves what was made durable and nothing else: names by SyncDir of
	// their directory, content and attributes by Sync, all by SyncAll.
	PowerCut
	// PowerCutSome leaves beside that a random part of the rest: a consistent set of
	// changed names; attributes; content as it was, as it is, or mixed by pages of
	// 4 KiB with zeros where a page was not written.
	PowerCutSome
)

// Crash returns the filesystem as the next start finds it. m itself goes on
// unharmed: a hook can crash copies at every operation of one run (see Stop for
// what remains of the old process). Open handles, leases, hooks and injected
// errors are not in the copy. Seed chooses for PowerCutSome.
func (m *Mem) Crash(mode CrashMode, seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x6c6f636b73746570))
	c := &copier{seen: map[*inode]*inode{}}
	out := &Mem{disk: &disk{opts: m.opts, nextIno: m.nextIno, clock: m.clock}, faults: &faults{}}
	out.root = c.node(m.root)
	for _, op := range m.pending {
		out.pending = append(out.pending, c.op(op))
	}
	switch mode {
	case PowerCut:
		out.pending = nil
		out.root.revive(out.root, nil)
	case PowerCutSome:
		out.commitSome(rng)
		out.root.revive(out.root, rng)
	}
	if mode == Kill {
		out.free = append(out.free, m.free...)
	}
	return out
}

// syncDir makes the names in d durable, not d's own.
func (m *Mem) syncDir(d *inode) {
	m.commit(func(op *metaOp) bool {
		for _, s := range op.slots {
			if s.dir == d {
				return true
			}
		}
		return false
	})
	d.dattr, d.dirty = d.attr, false
}

func (m *Mem) syncAll() {
	for _, op := range m.pending {
		op.apply()
	}
	m.pending = nil
	m.root.syncTree()
}

func (n *inode) syncTree() {
	n.sync()
	n.dattr = n.attr
	for _, e := range n.ents {
		e.node.syncTree()
	}
}

// revive makes what is durable what is.
func (n *inode) revive(parent *inode, rng *rand.Rand) {
	n.linked, n.parent = true, parent
	if rng != nil && n.dirty {
		n.surviveSome(rng)
	}
	n.attr, n.data, n.dirty = n.dattr, n.ddata, false
	n.ddata = append([]byte(nil), n.data...)
	if n.kind != Dir {
		return
	}
	n.ents = maps.Clone(n.dents)
	for _, k := range sortedKeys(n.ents) {
		n.ents[k].node.revive(n, rng)
	}
}

// page is the unit in which a power cut mixes old and new content.
const page = 4096

func (n *inode) surviveSome(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		n.dattr = n.attr
	}
	switch rng.IntN(4) {
	case 0: // nothing of the content
	case 1:
		n.ddata = n.data
	default:
		mixed := make([]byte, len(n.data))
		copy(mixed, n.ddata)
		for off := 0; off < len(mixed); off += page {
			if rng.IntN(2) == 0 {
				end := min(off+page, len(mixed))
				copy(mixed[off:end], n.data[off:end])
			}
		}
		n.ddata = mixed
	}
}

// copier copies the graph of inodes.
type copier struct{ seen map[*inode]*inode }

func (c *copier) node(n *inode) *inode {
	if n == nil {
		return nil
	}
	if got := c.seen[n]; got != nil {
		return got
	}
	out := &inode{
		ino: n.ino, kind: n.kind, linked: n.linked, mount: n.mount, target: n.target,
		attr: n.attr, dattr: n.dattr, dirty: n.dirty,
		data: append([]byte(nil), n.data...), ddata: append([]byte(nil), n.ddata...),
	}
	c.seen[n] = out
	out.parent = c.node(n.parent)
	out.ents, out.dents = c.ents(n.ents), c.ents(n.dents)
	return out
}

func (c *copier) ents(m map[string]dirent) map[string]dirent {
	if m == nil {
		return nil
	}
	out := make(map[string]dirent, len(m))
	for k, e := range m {
		out[k] = dirent{e.name, c.node(e.node)}
	}
	return out
}

func (c *copier) op(op *metaOp) *metaOp {
	out := &metaOp{ctimes: op.ctimes, move: op.move}
	for _, s := range op.slots {
		out.slots = append(out.slots, slot{c.node(s.dir), s.key, s.name, c.node(s.node)})
	}
	for _, n := range op.nodes {
		out.nodes = append(out.nodes, c.node(n))
	}
	for _, n := range op.emptied {
		out.emptied = append(out.emptied, c.node(n))
	}
	for _, n := range op.above {
		out.above = append(out.above, c.node(n))
	}
	return out
}
