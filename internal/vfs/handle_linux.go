package vfs

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// realHandle is an open file: the bare descriptor, since os.NewFile asks the system
// twice whether it can be polled, which no file of ours can. It must be closed.
type realHandle struct {
	path id.Path
	// mu is held shared by every operation, so that Close cannot hand the number to
	// another file while one still uses it.
	mu sync.RWMutex
	fd int // -1 once closed. Guarded by mu.

	written atomic.Int64 // bytes, by WriteAt
}

func newHandle(fd int, p id.Path) *realHandle { return &realHandle{path: p, fd: fd} }

var _ Handle = (*realHandle)(nil)

// on runs f on the descriptor, retried on EINTR.
func (h *realHandle) on(op string, f func(fd int) error) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return &fs.PathError{Op: op, Path: string(h.path), Err: fs.ErrClosed}
	}
	return pathError(op, h.path, retry(func() error { return f(h.fd) }))
}

// Close implements io.Closer. It waits for operations that run. A second call is
// fs.ErrClosed.
func (h *realHandle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return &fs.PathError{Op: "close", Path: string(h.path), Err: fs.ErrClosed}
	}
	err := unix.Close(h.fd) // not again after EINTR: the number is free
	h.fd = -1
	if err == unix.EINTR {
		err = nil
	}
	return pathError("close", h.path, err)
}

// maxIO bounds one read or write, as package os does: some systems take no more.
const maxIO = 1 << 30

// Read implements io.Reader, from the descriptor's own position.
func (h *realHandle) Read(b []byte) (n int, err error) {
	err = h.on("read", func(fd int) error {
		n, err = unix.Read(fd, b[:min(len(b), maxIO)])
		return err
	})
	if n = max(n, 0); n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (h *realHandle) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "readat", Path: string(h.path), Err: errNegative}
	}
	err = h.on("read", func(fd int) error {
		for n < len(b) {
			m, err := unix.Pread(fd, b[n:min(len(b), n+maxIO)], off+int64(n))
			if err != nil {
				return err
			}
			if m == 0 {
				return nil
			}
			n += m
		}
		return nil
	})
	if n < len(b) && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements io.Writer, at the descriptor's own position.
func (h *realHandle) Write(b []byte) (n int, err error) {
	return h.write(b, func(fd int, b []byte, _ int) (int, error) { return unix.Write(fd, b) })
}

// WriteAt implements io.WriterAt.
func (h *realHandle) WriteAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "writeat", Path: string(h.path), Err: errNegative}
	}
	n, err = h.write(b, func(fd int, b []byte, n int) (int, error) { return unix.Pwrite(fd, b, off+int64(n)) })
	if total := h.written.Add(int64(n)); total/behind != (total-int64(n))/behind {
		// A hint: nothing depends on it, and Sync is what reports errors.
		_ = h.on("write behind", func(fd int) error { return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) })
	}
	return n, err
}

// behind is how much is written before the system is asked to begin putting it on the
// disk. By itself it waits for seconds, or for a tenth of the memory, so that the disk
// idles while a large file is received and all of it is left for Sync.
const behind = 16 << 20

var errNegative = errors.New("negative offset")

// write calls f with what is left until all is written; n is what was.
func (h *realHandle) write(b []byte, f func(fd int, b []byte, n int) (int, error)) (n int, err error) {
	err = h.on("write", func(fd int) error {
		for n < len(b) {
			m, err := f(fd, b[n:min(len(b), n+maxIO)], n)
			if err != nil {
				return err
			}
			if m == 0 {
				return io.ErrUnexpectedEOF
			}
			n += m
		}
		return nil
	})
	return n, err
}

// Truncate implements Handle.
func (h *realHandle) Truncate(size int64) error {
	return h.on("truncate", func(fd int) error { return unix.Ftruncate(fd, size) })
}

// Sync implements Handle.
func (h *realHandle) Sync() error { return h.on("sync", unix.Fsync) }

func (h *realHandle) Stat() (s Stat, err error) {
	err = h.on("stat", func(fd int) error {
		s, err = fstat(fd)
		return err
	})
	return s, err
}

func (h *realHandle) Chmod(mode uint32) error {
	return h.on("chmod", func(fd int) error { return unix.Fchmod(fd, mode&0o7777) })
}

func (h *realHandle) SetMTime(ns int64) error {
	return h.on("setmtime", func(fd int) error { return setMTime(fd, ns) })
}

// Lease takes a read lease, which the kernel grants only on a descriptor opened
// for reading: a handle from Create is its own writer and gets ErrBusy.
// A break sends SIGIO to the process; the Go runtime handles and drops it unless
// somebody asked for it with signal.Notify.
func (h *realHandle) Lease() (Lease, error) {
	err := h.on("lease", func(fd int) error {
		err := fcntl(fd, unix.F_SETLEASE, unix.F_RDLCK)
		switch err {
		case unix.EAGAIN:
			return joined(ErrBusy, err)
		case unix.EACCES, unix.EINVAL, unix.EPERM:
			return joined(ErrNotSupported, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &realLease{h}, nil
}

type realLease struct{ h *realHandle }

// Held asks the kernel: while a lease is being broken, F_GETLEASE names what it
// is being broken to.
func (l *realLease) Held() bool {
	held := false
	err := l.h.on("lease", func(fd int) error {
		got, err := unix.FcntlInt(uintptr(fd), unix.F_GETLEASE, 0)
		held = got == unix.F_RDLCK
		return err
	})
	return err == nil && held
}

// Release may be called more than once and after the handle was closed, which
// releases the lease too.
func (l *realLease) Release() {
	_ = l.h.on("lease", func(fd int) error { return fcntl(fd, unix.F_SETLEASE, unix.F_UNLCK) })
}

func fcntl(fd, cmd, arg int) error {
	_, err := unix.FcntlInt(uintptr(fd), cmd, arg)
	return err
}
