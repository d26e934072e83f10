package vfs

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// OpenReal opens the directory dir, following symlinks on the way to it, and
// returns the filesystem below it. See OpenReal on Linux for the lifetime.
func OpenReal(dir string) (FS, error) { return openRoot(dir) }

// openFlags: there are no FIFOs in directories here.
const openFlags = 0

// statOf has neither inode nor device: FileInfo does not carry them here, and
// os.SameFile is what compares identities.
func statOf(fi fs.FileInfo) Stat { return basicStat(fi) }

func setFileMTime(f *os.File, t time.Time) error {
	ft := windows.NsecToFiletime(t.UnixNano())
	return onFile(f, func(fd int) error { return windows.SetFileTime(windows.Handle(fd), nil, nil, &ft) })
}

// syncDirFile does nothing: NTFS journals names by itself and refuses to flush a
// directory.
func syncDirFile(*os.File) error { return nil }

func syncFilesystem(*os.File) error { return ErrNotSupported }

func freeBytes(f *os.File) (uint64, error) {
	name, err := windows.UTF16PtrFromString(f.Name())
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}
