//go:build !unix

package watcher

// inodeOf finds none: here a watch is not shared by paths.
func inodeOf(string) (inode, bool) { return inode{}, false }
