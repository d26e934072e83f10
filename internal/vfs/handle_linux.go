package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// realHandle is an open file. os.File keeps its descriptor from being reused
// while an operation runs.
type realHandle struct {
	*os.File
	path id.Path
}

func newHandle(fd int, p id.Path) *realHandle {
	return &realHandle{File: os.NewFile(uintptr(fd), string(p)), path: p}
}

var _ Handle = (*realHandle)(nil)

// on runs f on the descriptor, retried on EINTR.
func (h *realHandle) on(op string, f func(fd int) error) error {
	c, err := h.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = retry(func() error { return f(int(fd)) }) }); err != nil {
		return &fs.PathError{Op: op, Path: string(h.path), Err: joined(fs.ErrClosed, err)} // its only reason
	}
	return pathError(op, h.path, ferr)
}

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
