package vfs

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What the portable implementation needs of the system.

// openFlags keeps a FIFO from holding an open.
const openFlags = syscall.O_NONBLOCK

func statOf(fi fs.FileInfo) Stat {
	s := basicStat(fi)
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.CTime, s.Ino, s.Dev = unix.TimespecToNsec(unix.Timespec(st.Ctim)), st.Ino, uint64(st.Dev)
		s.Nlink, s.UID, s.Allocated = uint32(st.Nlink), st.Uid, uint64(max(0, st.Blocks))*512
	}
	return s
}

func setFileMTime(f *os.File, t time.Time) error {
	return onFile(f, func(fd int) error { return setMTime(fd, t.UnixNano()) })
}

func syncDirFile(f *os.File) error { return f.Sync() }

func syncFilesystem(f *os.File) error { return onFile(f, unix.Syncfs) }

func freeBytes(f *os.File) (n uint64, err error) {
	err = onFile(f, func(fd int) error {
		var st unix.Statfs_t
		err := unix.Fstatfs(fd, &st)
		n = st.Bavail * uint64(st.Bsize)
		return err
	})
	return n, err
}
