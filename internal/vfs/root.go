package vfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// rootFS is the FS on os.Root, for systems without openat2. os.Root keeps every
// path below the root whatever a race does; on top of it each component is
// looked at with lstat before it is entered and its identity is compared after,
// so that a symlink is not followed. Of a race with somebody who swaps a
// component for a symlink in between it can be said that nothing outside the
// root is touched, and no more.
type rootFS struct {
	root *os.Root
	dev  uint64
	// renames makes a rename of several steps one to the others of this FS.
	renames sync.Mutex
}

var _ FS = (*rootFS)(nil)

// openRoot opens the portable implementation on dir.
func openRoot(dir string) (FS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	fi, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &rootFS{root: root, dev: statOf(fi).Dev}, nil
}

// enter opens the directory p; the caller closes what is not r.root.
func (r *rootFS) enter(p id.Path) (*os.Root, error) {
	cur := r.root
	for rest := p; rest != ""; {
		name := rest.First()
		rest = rest[min(len(name)+1, len(rest)):]
		next, err := r.step(cur, name)
		r.release(cur)
		if err != nil {
			return nil, err
		}
		cur = next
	}
	return cur, nil
}

func (r *rootFS) step(cur *os.Root, name string) (*os.Root, error) {
	fi, err := cur.Lstat(name)
	if err != nil {
		return nil, err
	}
	switch s := statOf(fi); {
	case s.Kind == Symlink:
		return nil, ErrEscape
	case s.Kind != Dir:
		return nil, syscall.ENOTDIR
	case s.Dev != r.dev:
		return nil, ErrMount
	}
	next, err := cur.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	now, err := next.Stat(".")
	if err == nil && !os.SameFile(fi, now) {
		err = ErrEscape
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

func (r *rootFS) release(d *os.Root) {
	if d != r.root {
		d.Close()
	}
}

// in runs f on the directory of p and p's last name.
func (r *rootFS) in(op string, p id.Path, f func(dir *os.Root, name string) error) error {
	if err := checkFor(op, p); err != nil {
		return err
	}
	dir, err := r.enter(p.Dir())
	if err == nil {
		defer r.release(dir)
		err = f(dir, p.Base())
	}
	return rootError(op, p, err)
}

// on is in for an entry that must be a file or directory of this filesystem.
func (r *rootFS) on(op string, p id.Path, f func(dir *os.Root, name string, fi fs.FileInfo) error) error {
	return r.in(op, p, func(dir *os.Root, name string) error {
		fi, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		switch s := statOf(fi); {
		case s.Kind != File && s.Kind != Dir:
			return errors.Join(ErrNotSupported, errors.New("is a "+s.Kind.String()))
		case s.Kind == Dir && s.Dev != r.dev:
			return ErrMount
		}
		return f(dir, name, fi)
	})
}

func (r *rootFS) Lstat(p id.Path) (s Stat, err error) {
	if p == "" {
		fi, err := r.root.Stat(".")
		if err != nil {
			return Stat{}, rootError("lstat", p, err)
		}
		return statOf(fi), nil
	}
	err = r.in("lstat", p, func(dir *os.Root, name string) error {
		fi, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		if s = statOf(fi); s.Kind == Dir && s.Dev != r.dev {
			return ErrMount
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		return Stat{}, nil
	}
	if err != nil {
		return Stat{}, err
	}
	return s, nil
}

func (r *rootFS) ReadDir(p id.Path) (names []string, err error) {
	if p != "" {
		if err := checkFor("readdir", p); err != nil {
			return nil, err
		}
	}
	f, err := r.openDir(p)
	if err != nil {
		return nil, rootError("readdir", p, err)
	}
	defer f.Close()
	if names, err = f.Readdirnames(-1); err != nil {
		return nil, rootError("readdir", p, err)
	}
	slices.Sort(names)
	return names, nil
}

func (r *rootFS) openDir(p id.Path) (*os.File, error) {
	dir, err := r.enter(p)
	if err != nil {
		return nil, err
	}
	defer r.release(dir)
	return dir.Open(".")
}

func (r *rootFS) Open(p id.Path) (Handle, error) { return r.open(p, os.O_RDONLY) }

func (r *rootFS) Reopen(p id.Path) (Handle, error) { return r.open(p, os.O_RDWR) }

func (r *rootFS) open(p id.Path, access int) (Handle, error) {
	var h Handle
	err := r.in("open", p, func(dir *os.Root, name string) error {
		fi, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		switch k := statOf(fi).Kind; {
		case k == Symlink:
			return ErrEscape
		case k != File:
			return errors.Join(ErrNotSupported, errors.New("is a "+k.String()))
		}
		f, err := dir.OpenFile(name, access|openFlags, 0)
		if err != nil {
			return err
		}
		now, err := f.Stat()
		if err == nil && !os.SameFile(fi, now) {
			err = ErrEscape
		}
		if err != nil {
			f.Close()
			return err
		}
		h = &rootHandle{f}
		return nil
	})
	return h, err
}

func (r *rootFS) Create(p id.Path, mode uint32) (Handle, error) {
	var h Handle
	err := r.in("create", p, func(dir *os.Root, name string) error {
		f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, os.FileMode(mode&0o777))
		if err == nil {
			h = &rootHandle{f}
		}
		return err
	})
	return h, err
}

func (r *rootFS) Mkdir(p id.Path, mode uint32) error {
	return r.in("mkdir", p, func(dir *os.Root, name string) error { return dir.Mkdir(name, os.FileMode(mode&0o777)) })
}

func (r *rootFS) Symlink(target string, p id.Path) error {
	return r.in("symlink", p, func(dir *os.Root, name string) error { return dir.Symlink(target, name) })
}

func (r *rootFS) Readlink(p id.Path) (target string, err error) {
	err = r.in("readlink", p, func(dir *os.Root, name string) error {
		target, err = dir.Readlink(name)
		return err
	})
	return target, err
}

func (r *rootFS) Unlink(p id.Path) error {
	return r.in("unlink", p, func(dir *os.Root, name string) error {
		fi, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		if fi.IsDir() {
			return syscall.EISDIR
		}
		return dir.Remove(name)
	})
}

func (r *rootFS) Rmdir(p id.Path) error {
	return r.in("rmdir", p, func(dir *os.Root, name string) error {
		fi, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return syscall.ENOTDIR
		}
		return dir.Remove(name)
	})
}

func (r *rootFS) Chmod(p id.Path, mode uint32) error {
	return r.on("chmod", p, func(dir *os.Root, name string, _ fs.FileInfo) error {
		return dir.Chmod(name, fileMode(mode))
	})
}

func (r *rootFS) SetMTime(p id.Path, ns int64) error {
	return r.on("setmtime", p, func(dir *os.Root, name string, _ fs.FileInfo) error {
		return dir.Chtimes(name, time.Time{}, time.Unix(0, ns))
	})
}

func (r *rootFS) SyncDir(p id.Path) error {
	if p != "" {
		if err := checkFor("syncdir", p); err != nil {
			return err
		}
	}
	f, err := r.openDir(p)
	if err != nil {
		return rootError("syncdir", p, err)
	}
	defer f.Close()
	return rootError("syncdir", p, syncDirFile(f))
}

func (r *rootFS) SyncAll() error {
	f, err := r.root.Open(".")
	if err != nil {
		return rootError("syncall", "", err)
	}
	defer f.Close()
	return rootError("syncall", "", syncFilesystem(f))
}

func (r *rootFS) FreeBytes() (uint64, error) {
	f, err := r.root.Open(".")
	if err != nil {
		return 0, rootError("statfs", "", err)
	}
	defer f.Close()
	n, err := freeBytes(f)
	return n, rootError("statfs", "", err)
}

func (r *rootFS) Close() error { return r.root.Close() }

// fileMode turns the bits of mode(7) into Go's.
func fileMode(mode uint32) os.FileMode {
	m := os.FileMode(mode & 0o777)
	if mode&0o4000 != 0 {
		m |= os.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= os.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= os.ModeSticky
	}
	return m
}

// rootError gives err its path; what os.Root calls an escape is ErrEscape.
func rootError(op string, p id.Path, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	switch {
	case errors.Is(err, syscall.ELOOP):
		err = joined(ErrEscape, err)
	case errors.Is(err, syscall.EXDEV):
		err = joined(ErrMount, err)
	}
	return &fs.PathError{Op: op, Path: string(p), Err: err}
}
