package vfs

import (
	"io/fs"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// memLease is a read lease on an inode. Guarded by m.mu.
type memLease struct {
	h      *memHandle
	broken bool
	done   bool
}

// Lease implements Handle.
func (h *memHandle) Lease() (l Lease, err error) {
	err = h.on(OpLease, func() error {
		if h.m.opts.NoLeases {
			return ErrNotSupported
		}
		if h.node.writers > 0 || len(h.node.waiting) > 0 {
			return ErrBusy
		}
		if h.lease != nil {
			h.lease.drop()
		}
		ml := &memLease{h: h}
		if h.node.leases == nil {
			h.node.leases = map[*memLease]struct{}{}
		}
		h.node.leases[ml] = struct{}{}
		h.lease, l = ml, ml
		return nil
	})
	return l, err
}

// Held implements Lease.
func (l *memLease) Held() bool {
	l.h.m.mu.Lock()
	defer l.h.m.mu.Unlock()
	return !l.broken && !l.done
}

// Release implements Lease.
func (l *memLease) Release() {
	l.h.m.mu.Lock()
	defer l.h.m.mu.Unlock()
	l.drop()
}

// drop ends the lease and lets in those who waited for it.
func (l *memLease) drop() {
	if l.done {
		return
	}
	l.done = true
	l.h.lease = nil
	n := l.h.node
	delete(n.leases, l)
	if len(n.leases) > 0 {
		return
	}
	waiting := n.waiting
	n.waiting = nil
	for _, w := range waiting {
		w.grant()
	}
}

// Writer is somebody else's program that has a file open for writing: the user
// in a race. It passes no hooks and no injected errors, so a hook may use it.
//
// While the file is leased the open waits, as in the real system; but no method
// of Writer blocks: what it is told to do is done once the leases are released,
// to the file that was at the path when it was opened, wherever that is by then.
type Writer struct {
	m       *Mem
	node    *inode
	granted bool
	closed  bool
	todo    []func()
}

// OpenWriter opens the file p for writing as another program does, without
// truncating it; see Writer. It asks for held leases to be broken.
func (m *Mem) OpenWriter(p id.Path) (*Writer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pl, err := m.there(p)
	if err == nil && pl.node.kind == Dir {
		err = syscall.EISDIR
	}
	if err == nil && pl.node.kind != File {
		err = ErrEscape
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open for writing", Path: string(p), Err: err}
	}
	w := &Writer{m: m, node: pl.node}
	pl.node.handles++
	if len(pl.node.leases) == 0 {
		w.grant()
		return w, nil
	}
	for l := range pl.node.leases {
		l.broken = true
	}
	pl.node.waiting = append(pl.node.waiting, w)
	return w, nil
}

// Granted reports whether the open has come back to the program.
func (w *Writer) Granted() bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.granted
}

func (w *Writer) grant() {
	w.granted = true
	w.node.writers++
	for _, f := range w.todo {
		f()
	}
	w.todo = nil
}

func (w *Writer) do(f func()) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.granted {
		f()
	} else {
		w.todo = append(w.todo, f)
	}
}

// WriteAt writes b at off; there is always room for it.
func (w *Writer) WriteAt(b []byte, off int64) {
	b = append([]byte(nil), b...)
	w.do(func() {
		if grow := off + int64(len(b)) - int64(len(w.node.data)); grow > 0 {
			w.node.data = append(w.node.data, make([]byte, grow)...)
		}
		copy(w.node.data[off:], b)
		w.m.touch(w.node)
	})
}

// Truncate cuts or grows the file.
func (w *Writer) Truncate(size int64) { w.do(func() { _ = w.m.truncate(w.node, size) }) }

// Close closes the file; a second Close does nothing.
func (w *Writer) Close() {
	w.do(func() {
		if !w.closed {
			w.closed = true
			w.node.writers--
			w.node.handles--
			w.m.freed(w.node)
		}
	})
}
