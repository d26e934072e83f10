package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Rename checks both parents one component at a time and then renames by the
// whole paths, since os.Root renames within one root only; what a race can do in
// between stays below the root.
//
// NoReplace of a file is link and unlink, which never replaces anything; where
// the filesystem has no hard links it is ErrNotSupported rather than a check
// that loses a race. NoReplace of a directory can at most replace an empty one.
func (r *rootFS) Rename(from, to id.Path, m RenameMode) error {
	if err := checkFor("rename", to); err != nil {
		return err
	}
	// Two links that are made and removed crosswise could leave a file at two paths.
	r.renames.Lock()
	defer r.renames.Unlock()
	return r.in("rename", from, func(src *os.Root, name string) error {
		fi, err := src.Lstat(name)
		if err != nil {
			return err
		}
		dst, err := r.enter(to.Dir())
		if err != nil {
			return err
		}
		defer r.release(dst)
		switch m {
		case Exchange:
			if _, err := dst.Lstat(to.Base()); err != nil {
				return err
			}
			return ErrNotSupported
		case NoReplace:
			return r.renameNew(from, to, fi, dst)
		}
		if old, err := dst.Lstat(to.Base()); err == nil && old.IsDir() && fi.IsDir() && !os.SameFile(old, fi) {
			if to.Below(from) {
				return syscall.EINVAL
			}
			if err := dst.Remove(to.Base()); err != nil { // os.Root replaces no directory, empty or not
				return err
			}
		}
		return r.root.Rename(string(from), string(to))
	})
}

func (r *rootFS) renameNew(from, to id.Path, fi fs.FileInfo, dst *os.Root) error {
	if _, err := dst.Lstat(to.Base()); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if fi.IsDir() {
		return r.root.Rename(string(from), string(to))
	}
	if err := r.root.Link(string(from), string(to)); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("%w: rename without replacing needs a hard link: %w", ErrNotSupported, err)
	}
	return r.root.Remove(string(from))
}

// rootHandle is an open file of rootFS.
type rootHandle struct{ *os.File }

var _ Handle = (*rootHandle)(nil)

func (h *rootHandle) Stat() (Stat, error) {
	fi, err := h.File.Stat()
	if err != nil {
		return Stat{}, err
	}
	return statOf(fi), nil
}

func (h *rootHandle) Chmod(mode uint32) error { return h.File.Chmod(fileMode(mode)) }

func (h *rootHandle) SetMTime(ns int64) error { return setFileMTime(h.File, time.Unix(0, ns)) }

// Lease is not offered: the quiet time alone has to decide.
func (h *rootHandle) Lease() (Lease, error) {
	return nil, &fs.PathError{Op: "lease", Path: h.Name(), Err: ErrNotSupported}
}
