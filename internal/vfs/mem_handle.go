package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// memHandle is one open file of a Mem. Its fields are guarded by m.mu.
type memHandle struct {
	m      *Mem
	node   *inode
	path   id.Path // when it was opened
	writes bool
	pos    int64
	closed bool
	lease  *memLease
}

var _ Handle = (*memHandle)(nil)

func (m *Mem) newHandle(n *inode, p id.Path, writes bool) *memHandle {
	n.handles++
	if writes {
		n.writers++
	}
	return &memHandle{m: m, node: n, path: p, writes: writes}
}

func (h *memHandle) on(op Op, f func() error) error {
	var eof bool
	err := h.m.guarded(Call{Op: op, Path: h.path}, func() error {
		if h.closed {
			return fs.ErrClosed
		}
		err := f()
		if err == io.EOF {
			eof, err = true, nil
		}
		return err
	})
	if err == nil && eof {
		return io.EOF
	}
	return err
}

func (h *memHandle) Read(b []byte) (n int, err error) {
	err = h.on(OpRead, func() error {
		n, err = h.node.readAt(b, h.pos)
		h.pos += int64(n)
		if n > 0 {
			return nil
		}
		return err
	})
	return n, err
}

func (h *memHandle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.on(OpRead, func() error {
		n, err = h.node.readAt(b, off)
		return err
	})
	return n, err
}

func (n *inode) readAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= int64(len(n.data)) {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	k := copy(b, n.data[off:])
	if k < len(b) {
		return k, io.EOF
	}
	return k, nil
}

func (h *memHandle) Write(b []byte) (n int, err error) {
	err = h.on(OpWrite, func() error {
		if err := h.writeAt(b, h.pos); err != nil {
			return err
		}
		h.pos += int64(len(b))
		n = len(b)
		return nil
	})
	return n, err
}

func (h *memHandle) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.on(OpWrite, func() error {
		if err := h.writeAt(b, off); err != nil {
			return err
		}
		n = len(b)
		return nil
	})
	return n, err
}

func (h *memHandle) writeAt(b []byte, off int64) error {
	if !h.writes {
		return syscall.EBADF
	}
	return h.m.writeAt(h.node, b, off)
}

func (m *Mem) writeAt(n *inode, b []byte, off int64) error {
	if off < 0 {
		return fs.ErrInvalid
	}
	end := off + int64(len(b))
	if grow := end - int64(len(n.data)); grow > 0 && len(b) > 0 {
		if err := m.room(grow); err != nil {
			return err
		}
		n.data = append(n.data, make([]byte, grow)...)
	}
	copy(n.data[min(off, int64(len(n.data))):], b)
	m.touch(n)
	return nil
}

func (h *memHandle) Truncate(size int64) error {
	return h.on(OpTruncate, func() error {
		if !h.writes {
			return fs.ErrInvalid
		}
		return h.m.truncate(h.node, size)
	})
}

func (m *Mem) truncate(n *inode, size int64) error {
	if size < 0 {
		return fs.ErrInvalid
	}
	grow := size - int64(len(n.data))
	if err := m.room(grow); err != nil {
		return err
	}
	if grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	} else {
		n.data = n.data[:size:size]
	}
	m.touch(n)
	return nil
}

func (h *memHandle) Stat() (s Stat, err error) {
	err = h.on(OpStat, func() error {
		s = h.node.stat()
		return nil
	})
	return s, err
}

func (h *memHandle) Chmod(mode uint32) error {
	return h.on(OpChmod, func() error {
		h.node.attr.mode = mode & 0o7777
		h.node.attr.ctime = h.m.now()
		h.node.dirty = true
		return nil
	})
}

func (h *memHandle) SetMTime(ns int64) error {
	return h.on(OpSetMTime, func() error {
		h.node.attr.mtime = ns
		h.node.attr.ctime = h.m.now()
		h.node.dirty = true
		return nil
	})
}

// Sync makes content and attributes durable, but not the name. If an error is
// injected the content counts as clean afterwards without being durable.
func (h *memHandle) Sync() error {
	err := h.on(OpSync, func() error {
		h.node.sync()
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrClosed) {
		h.m.mu.Lock()
		h.node.dirty = false
		h.m.mu.Unlock()
	}
	return err
}

func (n *inode) sync() {
	if n.dirty {
		n.ddata = append([]byte(nil), n.data...)
		n.dirty = false
		n.dattr = n.attr
	}
}

func (h *memHandle) Close() error {
	return h.on(OpClose, func() error {
		h.closed = true
		h.node.handles--
		if h.writes {
			h.node.writers--
		}
		if h.lease != nil {
			h.lease.drop()
		}
		h.m.freed(h.node)
		return nil
	})
}
