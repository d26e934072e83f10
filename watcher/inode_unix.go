//go:build unix

package watcher

import (
	"os"
	"syscall"
)

// inodeOf returns the inode of a directory, false where it cannot be had.
func inodeOf(dir string) (inode, bool) {
	st, err := os.Lstat(dir)
	if err != nil {
		return inode{}, false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{uint64(sys.Dev), sys.Ino}, true
}
