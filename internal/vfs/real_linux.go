package vfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// OpenReal opens the directory dir, following symlinks on the way to it, and
// returns the filesystem below it. The directory is opened once: when dir is
// renamed meanwhile the FS stays with it. While the FS is open the directory's
// filesystem cannot be unmounted, so it is closed when idle.
//
// On Linux every path is resolved by one openat2 with RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV. A kernel or sandbox that lacks openat2
// gets the portable implementation, which has no exchange and no leases.
func OpenReal(dir string) (FS, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	if !probeOpenat2(fd) {
		unix.Close(fd)
		return openRoot(dir)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return &realFS{fd: fd, dev: uint64(st.Dev)}, nil
}

// realFS is the FS on openat2. No path is ever handed to the system other than
// as one final name under a directory that openat2 resolved, or whole to openat2.
type realFS struct {
	// mu is held shared by every operation, so that Close cannot hand fd's number
	// to another file while an operation still uses it.
	mu  sync.RWMutex
	fd  int // the root; -1 once closed. Guarded by mu.
	dev uint64
}

var _ FS = (*realFS)(nil)

// begin checks p and pins the root for one operation; end undoes it.
func (r *realFS) begin(op string, p id.Path, rootOK bool) error {
	if p != "" || !rootOK {
		if err := checkFor(op, p); err != nil {
			return err
		}
	}
	r.mu.RLock()
	if r.fd < 0 {
		r.mu.RUnlock()
		return &fs.PathError{Op: op, Path: string(p), Err: fs.ErrClosed}
	}
	return nil
}

func (r *realFS) end() { r.mu.RUnlock() }

func (r *realFS) Lstat(p id.Path) (Stat, error) {
	if err := r.begin("lstat", p, true); err != nil {
		return Stat{}, err
	}
	defer r.end()
	s, err := r.lstat(p)
	return lstatResult(p, s, err)
}

// lstatResult puts what the system says into the words of FS.Lstat.
func lstatResult(p id.Path, s Stat, err error) (Stat, error) {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG:
		return Stat{}, nil // a name too long for the filesystem cannot be there
	}
	return s, pathError("lstat", p, err)
}

func (r *realFS) lstat(p id.Path) (Stat, error) {
	if p == "" {
		return fstat(r.fd)
	}
	if p.Dir() == "" {
		return statAt(r.fd, string(p), r.dev)
	}
	fd, err := r.resolve(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(fd)
	s, err := fstat(fd)
	if err == nil && s.Kind == Dir && s.Dev != r.dev {
		err = unix.EXDEV // a subvolume: another filesystem without a mount
	}
	return s, err
}

func (r *realFS) ReadDir(p id.Path) ([]string, error) {
	if err := r.begin("readdir", p, true); err != nil {
		return nil, err
	}
	defer r.end()
	fd, err := r.openNoAtime(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, pathError("readdir", p, err)
	}
	f := os.NewFile(uintptr(fd), string(p))
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, pathError("readdir", p, errnoOf(err))
	}
	slices.Sort(names)
	return names, nil
}

func (r *realFS) Open(p id.Path) (Handle, error) { return r.open(p, unix.O_RDONLY) }

func (r *realFS) Reopen(p id.Path) (Handle, error) { return r.open(p, unix.O_RDWR) }

func (r *realFS) open(p id.Path, access uint64) (Handle, error) {
	if err := r.begin("open", p, false); err != nil {
		return nil, err
	}
	defer r.end()
	fd, err := r.openNoAtime(p, access|fileFlags)
	return opened(p, fd, err)
}

// fileFlags of a file. O_NONBLOCK: neither a FIFO nor another program's write lease may
// hold us.
const fileFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// opened makes a handle of a descriptor that is open on a file.
func opened(p id.Path, fd int, err error) (Handle, error) {
	switch err {
	case nil:
	case unix.EAGAIN: // another program holds a write lease
		return nil, &fs.PathError{Op: "open", Path: string(p), Err: joined(ErrBusy, err)}
	case unix.ENXIO, unix.ENODEV: // a socket, a device without driver
		return nil, &fs.PathError{Op: "open", Path: string(p), Err: joined(ErrNotSupported, err)}
	default:
		return nil, pathError("open", p, err)
	}
	s, err := fstat(fd)
	if err == nil && s.Kind != File {
		err = joined(ErrNotSupported, errors.New("is a "+s.Kind.String()))
	}
	if err != nil {
		unix.Close(fd)
		return nil, pathError("open", p, err)
	}
	return newHandle(fd, p), nil
}

func (r *realFS) Create(p id.Path, mode uint32) (Handle, error) {
	if err := r.begin("create", p, false); err != nil {
		return nil, err
	}
	defer r.end()
	dir, err := r.parent(p)
	if err != nil {
		return nil, pathError("create", p, err)
	}
	defer r.release(dir)
	return createIn(dir, p, mode)
}

// createIn makes p in its directory.
func createIn(dir int, p id.Path, mode uint32) (Handle, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(dir, p.Base(), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o7777)
		return err
	})
	if err != nil {
		return nil, pathError("create", p, err)
	}
	return newHandle(fd, p), nil
}

// inParent runs f on the directory of p and p's last name, retried on EINTR.
func (r *realFS) inParent(op string, p id.Path, f func(dir int, name string) error) error {
	if err := r.begin(op, p, false); err != nil {
		return err
	}
	defer r.end()
	dir, err := r.parent(p)
	if err != nil {
		return pathError(op, p, err)
	}
	defer r.release(dir)
	return pathError(op, p, retry(func() error { return f(dir, p.Base()) }))
}

func (r *realFS) Mkdir(p id.Path, mode uint32) error {
	return r.inParent("mkdir", p, func(dir int, name string) error {
		return unix.Mkdirat(dir, name, mode&0o7777)
	})
}

func (r *realFS) Symlink(target string, p id.Path) error {
	return r.inParent("symlink", p, func(dir int, name string) error {
		return unix.Symlinkat(target, dir, name)
	})
}

func (r *realFS) Unlink(p id.Path) error {
	return r.inParent("unlink", p, func(dir int, name string) error {
		return mountBusy(unix.Unlinkat(dir, name, 0))
	})
}

func (r *realFS) Rmdir(p id.Path) error {
	return r.inParent("rmdir", p, func(dir int, name string) error {
		return mountBusy(unix.Unlinkat(dir, name, unix.AT_REMOVEDIR))
	})
}

func (r *realFS) Readlink(p id.Path) (target string, err error) {
	err = r.inParent("readlink", p, func(dir int, name string) error {
		target, err = readlinkAt(dir, name)
		return err
	})
	return target, err
}

func (r *realFS) Rename(from, to id.Path, m RenameMode) error {
	if err := checkFor("rename", to); err != nil {
		return err
	}
	if err := r.begin("rename", from, false); err != nil {
		return err
	}
	defer r.end()
	src, err := r.parent(from)
	if err != nil {
		return pathError("rename", from, err)
	}
	defer r.release(src)
	dst := src
	if to.Dir() != from.Dir() {
		if dst, err = r.parent(to); err != nil {
			return pathError("rename", to, err)
		}
		defer r.release(dst)
	}
	err = retry(func() error { return unix.Renameat2(src, from.Base(), dst, to.Base(), renameFlags(m)) })
	if err == nil && m != Replace {
		err = r.stayed(from, src, to, dst, m)
	}
	if err == unix.EINVAL && m != Replace && !from.Within(to) && !to.Within(from) {
		err = joined(ErrNotSupported, err) // this filesystem does not know the flag
	}
	return pathError("rename", from, mountBusy(err))
}

// stayed undoes a rename whose directories are not at their paths any more: the
// user moved one, out of the root perhaps, between its resolution and the rename.
// Then the error is ErrEscape.
func (r *realFS) stayed(from id.Path, src int, to id.Path, dst int, m RenameMode) error {
	if err := failpoint.Hit("vfs/renamed"); err != nil {
		return err
	}
	if r.isAt(from.Dir(), src) && (dst == src || r.isAt(to.Dir(), dst)) {
		return nil
	}
	// An exchange is its own inverse.
	err := retry(func() error { return unix.Renameat2(dst, to.Base(), src, from.Base(), renameFlags(m)) })
	return joined(ErrEscape, errors.Join(errors.New("its directory was moved meanwhile"), err))
}

// isAt reports whether the directory that fd is open on is at p.
func (r *realFS) isAt(p id.Path, fd int) bool {
	if fd == r.fd {
		return true
	}
	now, err := r.resolve(p, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(now)
	a, aerr := fstat(fd)
	b, berr := fstat(now)
	return aerr == nil && berr == nil && a.Ino == b.Ino && a.Dev == b.Dev
}

func renameFlags(m RenameMode) uint {
	switch m {
	case NoReplace:
		return unix.RENAME_NOREPLACE
	case Exchange:
		return unix.RENAME_EXCHANGE
	}
	return 0
}

func (r *realFS) Chmod(p id.Path, mode uint32) error {
	return r.onInode("chmod", p, func(fd int) error { return chmodPathFD(fd, mode&0o7777) })
}

func (r *realFS) SetMTime(p id.Path, ns int64) error {
	return r.onInode("setmtime", p, func(fd int) error { return setMTime(fd, ns) })
}

// onInode runs f on an O_PATH descriptor of p, which must be a file or directory
// on the root's filesystem.
func (r *realFS) onInode(op string, p id.Path, f func(fd int) error) error {
	if err := r.begin(op, p, false); err != nil {
		return err
	}
	defer r.end()
	fd, err := r.resolve(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return pathError(op, p, err)
	}
	defer unix.Close(fd)
	s, err := fstat(fd)
	if err == nil && s.Kind != File && s.Kind != Dir {
		err = joined(ErrNotSupported, errors.New("is a "+s.Kind.String()))
	}
	if err == nil {
		err = retry(func() error { return f(fd) })
	}
	return pathError(op, p, err)
}

func (r *realFS) SyncDir(p id.Path) error {
	if err := r.begin("syncdir", p, true); err != nil {
		return err
	}
	defer r.end()
	if p == "" {
		return pathError("syncdir", p, retry(func() error { return unix.Fsync(r.fd) }))
	}
	fd, err := r.resolve(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.EACCES { // a directory that we may fill but not list
		return pathError("syncdir", p, retry(func() error { return unix.Syncfs(r.fd) }))
	}
	if err != nil {
		return pathError("syncdir", p, err)
	}
	defer unix.Close(fd)
	return pathError("syncdir", p, retry(func() error { return unix.Fsync(fd) }))
}

func (r *realFS) SyncAll() error {
	if err := r.begin("syncall", "", true); err != nil {
		return err
	}
	defer r.end()
	return pathError("syncall", "", retry(func() error { return unix.Syncfs(r.fd) }))
}

func (r *realFS) FreeBytes() (uint64, error) {
	if err := r.begin("statfs", "", true); err != nil {
		return 0, err
	}
	defer r.end()
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(r.fd, &st) }); err != nil {
		return 0, pathError("statfs", "", err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func (r *realFS) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}
