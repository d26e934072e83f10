package vfs

import (
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// confined is how every path is resolved: no way up, no symlink (magic ones
// included), no other mount. Callers leave O_NOFOLLOW out where they pass
// O_DIRECTORY: it would answer ENOTDIR for a symlink before this says ELOOP.
const confined = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV

// maxSyscallPath is the longest path the kernel takes: PATH_MAX less the NUL.
const maxSyscallPath = 4095

// probeOpenat2 reports whether this kernel and sandbox have openat2 (Linux 5.6).
func probeOpenat2(root int) bool {
	fd, err := openat2(root, ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func openat2(dir int, path string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: confined}
	err = retry(func() error {
		fd, err = unix.Openat2(dir, path, &how)
		return err
	})
	return fd, err
}

// resolve opens p, "" being the root.
func (r *realFS) resolve(p id.Path, flags uint64) (int, error) {
	if p == "" {
		return openat2(r.fd, ".", flags)
	}
	if len(p) <= maxSyscallPath {
		return openat2(r.fd, string(p), flags)
	}
	dir, err := r.parent(p) // at least two bytes shorter
	if err != nil {
		return -1, err
	}
	defer r.release(dir)
	return openat2(dir, p.Base(), flags)
}

// parent returns a descriptor of p's directory; release it.
func (r *realFS) parent(p id.Path) (int, error) {
	d := p.Dir()
	if d == "" {
		return r.fd, nil
	}
	return openat2(r.fd, string(d), unix.O_PATH|unix.O_DIRECTORY)
}

func (r *realFS) release(dir int) {
	if dir != r.fd {
		unix.Close(dir)
	}
}

// openNoAtime opens p for reading without leaving a trace in its access time
// where that is allowed: to the owner and CAP_FOWNER.
func (r *realFS) openNoAtime(p id.Path, flags uint64) (int, error) {
	fd, err := r.resolve(p, flags|unix.O_NOATIME)
	if err == unix.EPERM {
		fd, err = r.resolve(p, flags)
	}
	return fd, err
}

// statAt is lstat of one name. A mount point is EXDEV, bind mounts included
// (their device number tells nothing), and so is a subvolume.
func statAt(dir int, name string, dev uint64) (Stat, error) {
	var x unix.Statx_t
	err := retry(func() error {
		return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &x)
	})
	if err != nil {
		return Stat{}, err
	}
	if x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return Stat{}, unix.EXDEV
	}
	s := Stat{
		Kind:  kindOf(uint32(x.Mode)),
		Mode:  uint32(x.Mode) & 0o7777,
		Size:  int64(x.Size),
		MTime: x.Mtime.Sec*1e9 + int64(x.Mtime.Nsec),
		CTime: x.Ctime.Sec*1e9 + int64(x.Ctime.Nsec),
		Ino:   x.Ino,
		Dev:   unix.Mkdev(x.Dev_major, x.Dev_minor),
		Nlink: x.Nlink,
		UID:   x.Uid,

		Allocated: x.Blocks * 512,
	}
	if s.Kind == Dir && s.Dev != dev {
		return Stat{}, unix.EXDEV
	}
	return s, nil
}

func fstat(fd int) (Stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return Stat{}, err
	}
	return Stat{
		Kind:  kindOf(st.Mode),
		Mode:  st.Mode & 0o7777,
		Size:  st.Size,
		MTime: st.Mtim.Nano(),
		CTime: st.Ctim.Nano(),
		Ino:   st.Ino,
		Dev:   uint64(st.Dev),
		Nlink: uint32(st.Nlink),
		UID:   st.Uid,

		Allocated: uint64(max(0, st.Blocks)) * 512,
	}, nil
}

func kindOf(mode uint32) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFLNK:
		return Symlink
	}
	return Other
}

func readlinkAt(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 { // a target is at most PATH_MAX bytes
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// chmodPathFD is chmod of an O_PATH descriptor that is no symlink. fchmodat2 is
// Linux 6.6; without it, or in a sandbox that refuses it, the way is through /proc.
func chmodPathFD(fd int, mode uint32) error {
	err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH)
	if err != unix.EOPNOTSUPP && err != unix.EPERM && err != unix.EINVAL {
		return err
	}
	return unix.Fchmodat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), mode, 0)
}

// setMTime sets the time of an O_PATH or ordinary descriptor; a symlink's own.
func setMTime(fd int, ns int64) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH) // Linux 5.8
}

// retry calls f again while it is interrupted by a signal.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// mountBusy turns the EBUSY that a mount point gives to unlink, rmdir and rename
// into the word for it.
func mountBusy(err error) error {
	if err == unix.EBUSY {
		return joined(ErrMount, err)
	}
	return err
}

// pathError gives err its path, and our words for what they name. The system
// says EXDEV for a mount and for "..", which checked paths do not have.
func pathError(op string, p id.Path, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ELOOP:
		err = joined(ErrEscape, err)
	case unix.EXDEV:
		err = joined(ErrMount, err)
	}
	return &fs.PathError{Op: op, Path: string(p), Err: err}
}

func errnoOf(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
