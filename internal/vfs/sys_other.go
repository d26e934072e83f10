//go:build !linux && !darwin && !freebsd && !windows

package vfs

import (
	"io/fs"
	"os"
	"time"
)

// OpenReal opens the directory dir, following symlinks on the way to it, and
// returns the filesystem below it. See OpenReal on Linux for the lifetime.
func OpenReal(dir string) (FS, error) { return openRoot(dir) }

const openFlags = 0

func statOf(fi fs.FileInfo) Stat { return basicStat(fi) }

func setFileMTime(*os.File, time.Time) error { return ErrNotSupported }

func syncDirFile(f *os.File) error { return f.Sync() }

func syncFilesystem(*os.File) error { return ErrNotSupported }

func freeBytes(*os.File) (uint64, error) { return 0, ErrNotSupported }
