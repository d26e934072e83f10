package vfs

import (
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// MemOptions says how a Mem behaves. The zero value is a case-sensitive
// filesystem with exchange and leases, like Linux on ext4, used by root.
type MemOptions struct {
	// Now is the clock for mtime and ctime in nanoseconds since 1970. Without it
	// a logical clock starts at 2026-01-01 and goes on by 1 µs at each look. A
	// clock that stands still simulates a coarse one.
	Now func() int64
	// FoldCase makes names that differ in case alone the same name.
	FoldCase bool
	// NoExchange, NoLeases, NoSyncAll make the operation ErrNotSupported.
	NoExchange, NoLeases, NoSyncAll bool
	// ReuseInodes gives a new entry the number of the inode that was freed last, as
	// ext4 does. Otherwise numbers are never used twice.
	ReuseInodes bool
	// EnforceModes checks the owner's permission bits as for an unprivileged owner.
	EnforceModes bool
	// Capacity is the size of the filesystem in bytes of content; 0 is no limit.
	Capacity uint64
	// Umask is taken off the modes of Create and Mkdir.
	Umask uint32
}

// Mem is a filesystem in memory for tests. It remembers apart what is durable,
// and Crash gives what is left after a kill or a power cut. Errors and actions
// can be injected before each operation: see Hook and Fail.
type Mem struct {
	*disk
	stopped error   // set by Stop. Guarded by disk.mu.
	faults  *faults // nil in a plain view
}

// disk is what all views of one Mem share.
type disk struct {
	opts MemOptions

	mu      sync.Mutex // guards all below, and every inode
	root    *inode
	nextIno uint64
	free    []uint64  // inode numbers to use again
	clock   int64     // the logical clock
	pending []*metaOp // what happened to names since it was made durable, oldest first
}

var _ FS = (*Mem)(nil)

// Plain returns a view of the same filesystem that passes no hooks and no
// injected errors, is not counted and not stopped: the user's own programs.
func (m *Mem) Plain() *Mem { return &Mem{disk: m.disk} }

// memDev is the device number of every Mem.
const memDev = 0x4d

// memEpoch is 2026-01-01 in nanoseconds since 1970.
const memEpoch = 1767225600 * 1e9

// NewMem returns an empty filesystem whose root directory is durable.
func NewMem(opts MemOptions) *Mem {
	m := &Mem{disk: &disk{opts: opts, nextIno: 2, clock: memEpoch}, faults: &faults{}}
	m.root = m.newInode(Dir, 0o755)
	m.root.linked = true
	m.root.parent = m.root
	return m
}

// attr is what a stat says beside content.
type attr struct {
	mode         uint32
	mtime, ctime int64
}

// dirent is a name as it was given, whatever the case it is found by.
type dirent struct {
	name string
	node *inode
}

// inode is one file, directory, symlink or special file. The fields d… are what
// a power cut leaves.
type inode struct {
	ino    uint64
	kind   Kind
	linked bool   // has a name (or is the root)
	parent *inode // of a linked directory
	mount  bool   // another filesystem is mounted here
	target string // of a symlink

	attr, dattr attr
	data, ddata []byte
	// dirty: data or attr changed since the last successful or failed sync. A sync
	// that fails leaves the inode clean and not durable, as Linux does: a second
	// sync succeeds and means nothing.
	dirty       bool
	ents, dents map[string]dirent // of a directory, by folded name

	handles int // open handles of any kind
	writers int // those open for writing
	leases  map[*memLease]struct{}
	waiting []*Writer // opens for writing that wait for the leases
}

func (m *Mem) newInode(k Kind, mode uint32) *inode {
	n := &inode{kind: k}
	if len(m.free) > 0 {
		n.ino, m.free = m.free[len(m.free)-1], m.free[:len(m.free)-1]
	} else {
		n.ino = m.nextIno
		m.nextIno++
	}
	now := m.now()
	n.attr = attr{mode: mode & 0o7777, mtime: now, ctime: now}
	n.dattr = n.attr
	if k == Dir {
		n.ents, n.dents = map[string]dirent{}, map[string]dirent{}
	}
	return n
}

func (m *Mem) now() int64 {
	if m.opts.Now != nil {
		return m.opts.Now()
	}
	m.clock += 1000
	return m.clock
}

// touch marks the content of n as changed.
func (m *Mem) touch(n *inode) {
	now := m.now()
	n.attr.mtime, n.attr.ctime = now, now
	if n.kind != Dir {
		n.dirty = true
	}
}

// freed gives back the number of an inode that has neither name nor handle.
func (m *Mem) freed(n *inode) {
	if m.opts.ReuseInodes && !n.linked && n.handles == 0 {
		m.free = append(m.free, n.ino)
	}
}

func (n *inode) stat() Stat {
	s := Stat{Kind: n.kind, Mode: n.attr.mode, MTime: n.attr.mtime, CTime: n.attr.ctime, Ino: n.ino, Dev: memDev}
	switch n.kind {
	case File:
		s.Size, s.Allocated = int64(len(n.data)), uint64(len(n.data))
	case Symlink:
		s.Size = int64(len(n.target))
	}
	if n.linked {
		s.Nlink = 1
	}
	return s
}

func (m *Mem) key(name string) string {
	if m.opts.FoldCase {
		return strings.ToLower(name)
	}
	return name
}

var errNotEmpty = fmt.Errorf("directory not empty: %w", fs.ErrExist)

// may checks the owner's bits: 4 read, 2 write, 1 search.
func (m *Mem) may(n *inode, bits uint32) error {
	if m.opts.EnforceModes && n.attr.mode>>6&bits != bits {
		return fs.ErrPermission
	}
	return nil
}

// dir finds the directory p.
func (m *Mem) dir(p id.Path) (*inode, error) {
	cur := m.root
	for rest := p; rest != ""; {
		name := rest.First()
		rest = rest[min(len(name)+1, len(rest)):]
		if err := m.may(cur, 1); err != nil {
			return nil, err
		}
		e, ok := cur.ents[m.key(name)]
		switch {
		case !ok:
			return nil, fs.ErrNotExist
		case e.node.mount:
			return nil, ErrMount
		case e.node.kind == Symlink:
			return nil, ErrEscape
		case e.node.kind != Dir:
			return nil, syscall.ENOTDIR
		}
		cur = e.node
	}
	return cur, nil
}

// place is one name in a directory, and what is there, nil for nothing.
type place struct {
	dir  *inode
	name string
	key  string
	node *inode
}

// at finds the place p; its parent must be there.
func (m *Mem) at(p id.Path) (place, error) {
	if p == "" {
		return place{dir: m.root, node: m.root}, nil
	}
	d, err := m.dir(p.Dir())
	if err != nil {
		return place{}, err
	}
	if err := m.may(d, 1); err != nil {
		return place{}, err
	}
	pl := place{dir: d, name: p.Base(), key: m.key(p.Base())}
	pl.node = d.ents[pl.key].node
	if pl.node != nil && pl.node.mount {
		return place{}, ErrMount
	}
	return pl, nil
}

// there is at for an entry that must exist.
func (m *Mem) there(p id.Path) (place, error) {
	pl, err := m.at(p)
	if err == nil && pl.node == nil {
		err = fs.ErrNotExist
	}
	return pl, err
}

// used is the content of all linked files in bytes.
func (n *inode) used() (sum uint64) {
	sum = uint64(len(n.data))
	for _, e := range n.ents {
		sum += e.node.used()
	}
	return sum
}

// room is ENOSPC if the filesystem cannot take more bytes.
func (m *Mem) room(more int64) error {
	if m.opts.Capacity > 0 && more > 0 && m.root.used()+uint64(more) > m.opts.Capacity {
		return syscall.ENOSPC
	}
	return nil
}
