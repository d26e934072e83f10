package vfs

import "github.com/lockstep-sync/lockstep/internal/id"

// Near does a few things to many paths, best in their order: where the system allows
// it, it keeps the directory of the last one open, so that the way to it is walked once
// for all that is in it. While nothing else was asked it goes on in that directory, though
// the user may have moved it: what it tells may be as old as the first look into the
// directory, never a mixture. It is not safe for concurrent use, and is closed before its FS.
type Near interface {
	Lstat(p id.Path) (Stat, error)
	Open(p id.Path) (Handle, error)
	Create(p id.Path, mode uint32) (Handle, error)
	// Close releases the directory.
	Close() error
}

// NearOf returns a Near of f.
func NearOf(f FS) Near {
	if r, ok := f.(interface{ near() Near }); ok {
		return r.near()
	}
	return eachAnew{f}
}

// eachAnew is the Near of a filesystem that has nothing better.
type eachAnew struct{ FS }

// Close leaves the filesystem to its owner.
func (eachAnew) Close() error { return nil }
