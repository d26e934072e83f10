// Package vfs is the filesystem as Lockstep uses it: one root directory, every
// path relative to it, no way out of it and no symlink ever followed. Real is
// the operating system's; Mem, for tests, loses what was not synced when it is
// crashed and injects errors.
package vfs

import (
	"errors"
	"io"
	"io/fs"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Kind is what a directory entry is.
type Kind uint8

// The kinds. Other is what is never synced: FIFO, socket, device.
const (
	Absent Kind = iota
	File
	Dir
	Symlink
	Other
)

// String returns "absent", "file", "directory", "symlink" or "special file".
func (k Kind) String() string {
	switch k {
	case Absent:
		return "absent"
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return "special file"
}

// Stat is what lstat says of one path. The zero Stat is an absent one.
type Stat struct {
	Kind  Kind
	Mode  uint32 // permission bits with setuid, setgid and sticky: 0o7777
	Size  int64  // bytes; of files and symlinks
	MTime int64  // nanoseconds since 1970
	CTime int64  // nanoseconds since 1970; 0 where the system has none
	Ino   uint64 // inode number; 0 where the system has none
	Dev   uint64 // device number
	Nlink uint32
	UID   uint32
	// Allocated is what a file takes of the disk in bytes, less than Size where it has
	// holes; 0 where the system does not tell.
	Allocated uint64
}

// Same reports whether s and t are the same version of the same inode as far as
// a stat can tell: kind, mode, size, mtime, ctime and inode. The device number
// is left out, for it changes when a disk is mounted again. Of directories only
// kind, mode and inode count, since their times and sizes change with children.
func (s Stat) Same(t Stat) bool {
	if s.Kind != t.Kind || s.Mode != t.Mode || s.Ino != t.Ino {
		return false
	}
	if s.Kind == Dir || s.Kind == Absent {
		return true
	}
	return s.Size == t.Size && s.MTime == t.MTime && s.CTime == t.CTime
}

// SameIgnoringCTime is Same without the ctime: for an inode that was renamed
// meanwhile, since a rename changes ctime.
func (s Stat) SameIgnoringCTime(t Stat) bool {
	t.CTime = s.CTime
	return s.Same(t)
}

// RenameMode says what Rename does with an existing target.
type RenameMode uint8

const (
	// Replace replaces it, as rename(2).
	Replace RenameMode = iota
	// NoReplace fails with fs.ErrExist.
	NoReplace
	// Exchange swaps the two, which must both exist.
	Exchange
)

var (
	// ErrNotSupported is returned where the system lacks an operation: Exchange,
	// leases, cloning.
	ErrNotSupported = errors.ErrUnsupported
	// ErrBusy is returned by Lease when somebody has the file open for writing, or
	// mapped shared and writable.
	ErrBusy = errors.New("file is open for writing")
	// ErrMount is returned when a path would cross into another mounted filesystem.
	ErrMount = errors.New("is on another filesystem mounted inside the folder")
	// ErrEscape is returned when a path component is a symlink or leads outside.
	ErrEscape = errors.New("leads through a symlink or outside the folder")
)

// FS is a root-confined filesystem. Paths are relative to the root; "" is the
// root itself and is allowed for Lstat, ReadDir and SyncDir only. No method
// follows a symlink, in any component: a symlink in a parent is ErrEscape, as
// last component of an open too. Errors wrap the usual fs.ErrNotExist,
// fs.ErrExist, fs.ErrPermission and are *fs.PathError.
// All methods are safe for concurrent use.
type FS interface {
	// Lstat returns the zero Stat and no error where nothing is at p, or where a
	// parent of p is missing or not a directory.
	Lstat(p id.Path) (Stat, error)
	// ReadDir lists the names in p in byte order, without "." and "..".
	ReadDir(p id.Path) ([]string, error)
	// Open opens a file for reading; it does not block on a FIFO (ErrNotSupported for anything but files).
	Open(p id.Path) (Handle, error)
	// Create makes a file that must not exist (O_EXCL), opened for reading and writing.
	Create(p id.Path, mode uint32) (Handle, error)
	// Reopen opens a file that is there for reading and writing: one that this program
	// made. Otherwise it is Open.
	Reopen(p id.Path) (Handle, error)
	Mkdir(p id.Path, mode uint32) error
	Symlink(target string, p id.Path) error
	Readlink(p id.Path) (string, error)
	// Unlink removes a file or symlink, never a directory.
	Unlink(p id.Path) error
	// Rmdir removes an empty directory, nothing else.
	Rmdir(p id.Path) error
	// Rename renames. With NoReplace and Exchange it is undone, and ErrEscape, where a
	// parent was moved away, out of the root perhaps, while it was done, if the system
	// can tell.
	Rename(from, to id.Path, m RenameMode) error
	// Chmod sets the permission bits of a file or directory, never of a symlink's target.
	Chmod(p id.Path, mode uint32) error
	// SetMTime sets the modification time of a file or directory.
	SetMTime(p id.Path, ns int64) error
	// SyncDir makes the names in p durable.
	SyncDir(p id.Path) error
	// SyncAll makes everything on the root's filesystem durable (syncfs).
	SyncAll() error
	// FreeBytes is the space an unprivileged user can still fill.
	FreeBytes() (uint64, error)
	// Close releases what the FS holds open. Methods fail afterwards.
	Close() error
}

// Handle is one open file.
type Handle interface {
	io.Reader
	io.ReaderAt
	io.WriterAt
	io.Writer
	io.Closer
	// Stat is fstat.
	Stat() (Stat, error)
	Truncate(size int64) error
	Chmod(mode uint32) error
	SetMTime(ns int64) error
	// Sync makes content and attributes durable.
	Sync() error
	// Lease takes a read lease: it fails with ErrBusy while anybody has the file
	// open for writing, with ErrNotSupported where the system has no leases or
	// this process may not take one (not the owner and no CAP_LEASE). While it is
	// held, others' opens for writing wait until Release or, at most, until the
	// system's lease-break time; so it is held for microseconds.
	Lease() (Lease, error)
}

// Lease is a held read lease.
type Lease interface {
	// Held reports whether nobody has asked to break it.
	Held() bool
	Release()
}

// Check is fs.ErrInvalid for a path that names no entry below the root; the
// reserved directory is allowed, for Lockstep's own files are in it.
func Check(p id.Path) error {
	err := p.Check()
	if err != nil && id.IsReserved(p.First()) {
		if p == id.Path(p.First()) {
			return nil
		}
		err = p[len(p.First())+1:].Check()
	}
	if err != nil {
		return &fs.PathError{Op: "check", Path: string(p), Err: errors.Join(fs.ErrInvalid, err)}
	}
	return nil
}
