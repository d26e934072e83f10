package vfs

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// run is one operation: checks, hook and injected errors first, f under the lock.
func (m *Mem) run(c Call, f func() error) error {
	rootOK := c.Op == OpLstat || c.Op == OpReadDir || c.Op == OpSyncDir || c.Op == OpSyncAll || c.Op == OpFreeBytes
	if c.Path != "" || !rootOK {
		if err := checkFor(string(c.Op), c.Path); err != nil {
			return err
		}
	}
	if c.Op == OpRename {
		if err := checkFor(string(c.Op), c.To); err != nil {
			return err
		}
	}
	return m.guarded(c, f)
}

// guarded is run without the check of the path, for handles too.
func (m *Mem) guarded(c Call, f func() error) error {
	err := m.before(c)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err = m.stopped; err == nil {
			err = f()
		}
	}
	if err != nil {
		return &fs.PathError{Op: string(c.Op), Path: string(c.Path), Err: err}
	}
	return nil
}

// Lstat implements FS.
func (m *Mem) Lstat(p id.Path) (s Stat, err error) {
	err = m.run(Call{Op: OpLstat, Path: p}, func() error {
		pl, err := m.there(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		if err == nil {
			s = pl.node.stat()
		}
		return err
	})
	return s, err
}

// ReadDir implements FS.
func (m *Mem) ReadDir(p id.Path) (names []string, err error) {
	err = m.run(Call{Op: OpReadDir, Path: p}, func() error {
		d, err := m.dir(p)
		if err != nil {
			return err
		}
		if err := m.may(d, 4); err != nil {
			return err
		}
		names = make([]string, 0, len(d.ents))
		for _, e := range d.ents {
			names = append(names, e.name)
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// Open implements FS.
func (m *Mem) Open(p id.Path) (Handle, error) { return m.open(p, false) }

// Reopen implements FS.
func (m *Mem) Reopen(p id.Path) (Handle, error) { return m.open(p, true) }

func (m *Mem) open(p id.Path, write bool) (h Handle, err error) {
	err = m.run(Call{Op: OpOpen, Path: p}, func() error {
		pl, err := m.there(p)
		if err != nil {
			return err
		}
		switch pl.node.kind {
		case File:
		case Symlink:
			return ErrEscape
		default:
			return joined(ErrNotSupported, errors.New("is a "+pl.node.kind.String()))
		}
		access := uint32(4)
		if write {
			access |= 2
		}
		if err := m.may(pl.node, access); err != nil {
			return err
		}
		h = m.newHandle(pl.node, p, write)
		return nil
	})
	return h, err
}

// Create implements FS.
func (m *Mem) Create(p id.Path, mode uint32) (h Handle, err error) {
	err = m.run(Call{Op: OpCreate, Path: p}, func() error {
		n, err := m.make(p, File, mode&^m.opts.Umask)
		if err == nil {
			h = m.newHandle(n, p, true)
		}
		return err
	})
	return h, err
}

// Mkdir implements FS.
func (m *Mem) Mkdir(p id.Path, mode uint32) error {
	return m.run(Call{Op: OpMkdir, Path: p}, func() error {
		_, err := m.make(p, Dir, mode&^m.opts.Umask)
		return err
	})
}

// Symlink implements FS.
func (m *Mem) Symlink(target string, p id.Path) error {
	return m.run(Call{Op: OpSymlink, Path: p}, func() error {
		if target == "" {
			return fs.ErrNotExist
		}
		n, err := m.make(p, Symlink, 0o777)
		if err == nil {
			n.target = target
		}
		return err
	})
}

// make links a new inode at p, where nothing may be.
func (m *Mem) make(p id.Path, k Kind, mode uint32) (*inode, error) {
	pl, err := m.at(p)
	if err != nil {
		return nil, err
	}
	if pl.node != nil {
		return nil, fs.ErrExist
	}
	if err := m.may(pl.dir, 3); err != nil {
		return nil, err
	}
	n := m.newInode(k, mode)
	m.link(pl, n)
	m.journal(&metaOp{slots: []slot{pl.slot(n)}, nodes: []*inode{n}})
	return n, nil
}

// link puts n at pl in the directory as the process sees it.
func (m *Mem) link(pl place, n *inode) {
	n.linked, n.parent = true, pl.dir
	pl.dir.ents[pl.key] = dirent{pl.name, n}
	m.touch(pl.dir)
}

// Readlink implements FS.
func (m *Mem) Readlink(p id.Path) (target string, err error) {
	err = m.run(Call{Op: OpReadlink, Path: p}, func() error {
		pl, err := m.there(p)
		if err != nil {
			return err
		}
		if pl.node.kind != Symlink {
			return fs.ErrInvalid
		}
		target = pl.node.target
		return nil
	})
	return target, err
}

// Unlink implements FS.
func (m *Mem) Unlink(p id.Path) error {
	return m.run(Call{Op: OpUnlink, Path: p}, func() error {
		return m.remove(p, func(n *inode) error {
			if n.kind == Dir {
				return syscall.EISDIR
			}
			return nil
		})
	})
}

// Rmdir implements FS.
func (m *Mem) Rmdir(p id.Path) error {
	return m.run(Call{Op: OpRmdir, Path: p}, func() error {
		return m.remove(p, func(n *inode) error {
			switch {
			case n.kind != Dir:
				return syscall.ENOTDIR
			case len(n.ents) > 0:
				return errNotEmpty
			}
			return nil
		})
	})
}

func (m *Mem) remove(p id.Path, allowed func(*inode) error) error {
	pl, err := m.there(p)
	if err != nil {
		return err
	}
	if err := allowed(pl.node); err != nil {
		return err
	}
	if err := m.may(pl.dir, 3); err != nil {
		return err
	}
	delete(pl.dir.ents, pl.key)
	m.touch(pl.dir)
	pl.node.linked = false
	pl.node.attr.ctime = m.now()
	op := &metaOp{slots: []slot{pl.slot(nil)}, nodes: []*inode{pl.node}}
	if pl.node.kind == Dir {
		op.emptied = []*inode{pl.node}
	}
	m.journal(op)
	m.freed(pl.node)
	return nil
}

// Chmod implements FS.
func (m *Mem) Chmod(p id.Path, mode uint32) error {
	return m.run(Call{Op: OpChmod, Path: p}, func() error {
		return m.onInode(p, func(n *inode) { n.attr.mode = mode & 0o7777 })
	})
}

// SetMTime implements FS.
func (m *Mem) SetMTime(p id.Path, ns int64) error {
	return m.run(Call{Op: OpSetMTime, Path: p}, func() error {
		return m.onInode(p, func(n *inode) { n.attr.mtime = ns })
	})
}

func (m *Mem) onInode(p id.Path, f func(*inode)) error {
	pl, err := m.there(p)
	if err != nil {
		return err
	}
	if pl.node.kind != File && pl.node.kind != Dir {
		return joined(ErrNotSupported, errors.New("is a "+pl.node.kind.String()))
	}
	f(pl.node)
	pl.node.attr.ctime = m.now()
	pl.node.dirty = true
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(p id.Path) error {
	return m.run(Call{Op: OpSyncDir, Path: p}, func() error {
		d, err := m.dir(p)
		if err == nil {
			m.syncDir(d)
		}
		return err
	})
}

// SyncAll implements FS.
func (m *Mem) SyncAll() error {
	return m.run(Call{Op: OpSyncAll}, func() error {
		if m.opts.NoSyncAll {
			return ErrNotSupported
		}
		m.syncAll()
		return nil
	})
}

// FreeBytes implements FS. A filesystem without capacity says 1 TiB.
func (m *Mem) FreeBytes() (n uint64, err error) {
	err = m.run(Call{Op: OpFreeBytes}, func() error {
		if m.opts.Capacity == 0 {
			n = 1 << 40
		} else if used := m.root.used(); used < m.opts.Capacity {
			n = m.opts.Capacity - used
		}
		return nil
	})
	return n, err
}

// Close implements FS by doing nothing: a Mem lasts as long as it is referenced,
// and stands for the disk, not for one opening of it. See Stop.
func (m *Mem) Close() error { return nil }
