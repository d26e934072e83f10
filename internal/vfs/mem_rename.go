package vfs

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Rename implements FS. It is atomic in a crash: all of it is durable or nothing.
func (m *Mem) Rename(from, to id.Path, mode RenameMode) error {
	return m.run(Call{Op: OpRename, Path: from, To: to}, func() error { return m.rename(from, to, mode) })
}

func (m *Mem) rename(from, to id.Path, mode RenameMode) error {
	if mode == Exchange && m.opts.NoExchange {
		return ErrNotSupported
	}
	src, err := m.at(from)
	if err != nil {
		return err
	}
	dst, err := m.at(to)
	if err != nil {
		return err
	}
	if src.node == nil || mode == Exchange && dst.node == nil {
		return fs.ErrNotExist
	}
	if mode == NoReplace && dst.node != nil {
		return fs.ErrExist
	}
	if err := errors.Join(m.may(src.dir, 3), m.may(dst.dir, 3)); err != nil {
		return err
	}
	if dst.dir.within(src.node) || mode == Exchange && src.dir.within(dst.node) {
		return syscall.EINVAL // a directory into itself
	}
	if src.node == dst.node && src.name == dst.name {
		return nil
	}
	if src.dir.within(dst.node) {
		return errNotEmpty // of the source, whatever kind that is
	}
	if mode == Exchange {
		m.exchange(src, dst)
		return nil
	}
	return m.move(src, dst)
}

func (m *Mem) exchange(src, dst place) {
	m.link(place{dir: dst.dir, name: dst.name, key: dst.key}, src.node)
	m.link(place{dir: src.dir, name: src.name, key: src.key}, dst.node)
	now := m.now()
	src.node.attr.ctime, dst.node.attr.ctime = now, now
	m.journal(&metaOp{
		slots: []slot{dst.slot(src.node), src.slot(dst.node)},
		nodes: []*inode{src.node, dst.node}, move: true,
	})
}

func (m *Mem) move(src, dst place) error {
	op := &metaOp{nodes: []*inode{src.node}, move: true}
	if old := dst.node; old != nil && old != src.node {
		switch {
		case old.kind == Dir && src.node.kind != Dir:
			return syscall.EISDIR
		case old.kind != Dir && src.node.kind == Dir:
			return syscall.ENOTDIR
		case len(old.ents) > 0:
			return errNotEmpty
		case old.kind == Dir:
			op.emptied = []*inode{old}
		}
		op.nodes = append(op.nodes, old)
		old.linked = false
		old.attr.ctime = m.now()
		defer m.freed(old)
	}
	delete(src.dir.ents, src.key)
	m.touch(src.dir)
	m.link(place{dir: dst.dir, name: dst.name, key: dst.key}, src.node)
	src.node.attr.ctime = m.now()
	if src.dir != dst.dir || src.key != dst.key {
		op.slots = append(op.slots, src.slot(nil))
	}
	op.slots = append(op.slots, dst.slot(src.node))
	m.journal(op)
	return nil
}

// within reports whether directory n is top or below it.
func (n *inode) within(top *inode) bool {
	for top != nil && top.kind == Dir {
		if n == top {
			return true
		}
		if n.parent == n || n.parent == nil {
			return false
		}
		n = n.parent
	}
	return false
}
