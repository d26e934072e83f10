//go:build darwin || freebsd

package vfs

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OpenReal opens the directory dir, following symlinks on the way to it, and
// returns the filesystem below it. See OpenReal on Linux for the lifetime.
func OpenReal(dir string) (FS, error) { return openRoot(dir) }

// openFlags keeps a FIFO from holding an open.
const openFlags = syscall.O_NONBLOCK

func statOf(fi fs.FileInfo) Stat {
	s := basicStat(fi)
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.CTime, s.Ino, s.Dev = ctimeOf(st), uint64(st.Ino), uint64(st.Dev)
		s.Nlink, s.UID, s.Allocated = uint32(st.Nlink), st.Uid, uint64(max(0, st.Blocks))*512
	}
	return s
}

func setFileMTime(f *os.File, t time.Time) error {
	return onFile(f, func(fd int) error {
		var st unix.Stat_t // these systems have no UTIME_OMIT everywhere: keep the access time by hand
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		return unix.Futimes(fd, []unix.Timeval{
			unix.NsecToTimeval(atimeOf(&st)), unix.NsecToTimeval(t.UnixNano())})
	})
}

func syncDirFile(f *os.File) error { return f.Sync() }

// syncFilesystem syncs all filesystems: these systems cannot sync one.
func syncFilesystem(*os.File) error { return unix.Sync() }

func freeBytes(f *os.File) (n uint64, err error) {
	err = onFile(f, func(fd int) error {
		var st unix.Statfs_t
		err := unix.Fstatfs(fd, &st)
		n = uint64(max(int64(st.Bavail), 0)) * uint64(st.Bsize)
		return err
	})
	return n, err
}
