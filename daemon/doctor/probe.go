package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// probing keeps two probes of one folder apart: they use the same names, so that
// nothing is left over for long when a daemon is killed in the middle of one.
var probing sync.Mutex

const probeDir = id.ReservedName + "/probe"

// Probe tries what the filesystem of a folder's root can do, with files of its own in
// the reserved directory, which must be there.
func Probe(root string) (*Features, error) {
	probing.Lock()
	defer probing.Unlock()
	fsys, err := vfs.OpenReal(root)
	if err != nil {
		return nil, err
	}
	defer fsys.Close()
	if err := clearProbe(fsys); err != nil {
		return nil, err
	}
	if err := fsys.Mkdir(probeDir, 0o700); err != nil {
		return nil, fmt.Errorf("try the filesystem: %w", err)
	}
	f, err := probe(fsys, root)
	return f, errors.Join(err, clearProbe(fsys))
}

func clearProbe(fsys vfs.FS) error {
	names, err := fsys.ReadDir(probeDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up after trying the filesystem: %w", err)
	}
	for _, n := range names {
		if err := fsys.Unlink(id.Path(probeDir + "/" + n)); err != nil {
			return fmt.Errorf("clean up after trying the filesystem: %w", err)
		}
	}
	return fsys.Rmdir(probeDir)
}

func probe(fsys vfs.FS, root string) (*Features, error) {
	const (
		a      = probeDir + "/a"
		b      = probeDir + "/b"
		c      = probeDir + "/c"
		accent = probeDir + "/\u00e9"
	)
	for _, p := range []id.Path{a, b, accent} {
		h, err := fsys.Create(p, 0o600)
		if err != nil {
			return nil, fmt.Errorf("try the filesystem: %w", err)
		}
		_, err = h.Write([]byte("lockstep"))
		if err := errors.Join(err, h.Close()); err != nil {
			return nil, fmt.Errorf("try the filesystem: %w", err)
		}
	}
	var f Features
	f.Exchange = fsys.Rename(a, b, vfs.Exchange) == nil
	f.NoReplace = fsys.Rename(b, c, vfs.NoReplace) == nil
	upper, err := fsys.Lstat(probeDir + "/A")
	if err != nil {
		return nil, fmt.Errorf("try the filesystem: %w", err)
	}
	f.IgnoresCase = upper != vfs.Stat{}
	if two, err := fsys.Lstat(probeDir + "/e\u0301"); err == nil {
		f.Composes = two != vfs.Stat{}
	}
	if h, err := fsys.Open(a); err == nil {
		if l, err := h.Lease(); err == nil {
			f.Lease = true
			l.Release()
		}
		h.Close()
	}
	f.Reflink = reflinks(root)
	return &f, nil
}

// reflinks tries a clone of one of the probe's files. Nothing is followed out of the
// root on the way to it.
func reflinks(root string) bool {
	r, err := os.OpenRoot(root)
	if err != nil {
		return false
	}
	defer r.Close()
	from, err := r.Open(filepath.FromSlash(probeDir + "/a"))
	if err != nil {
		return false
	}
	defer from.Close()
	to, err := r.OpenFile(filepath.FromSlash(probeDir+"/clone"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	defer to.Close()
	return clone(to, from) == nil
}

// LookAtHome gathers what is to be known of a home without its daemon.
func LookAtHome(path string, missing bool, settings error) Home {
	h := Home{Path: path, Missing: missing, Settings: settings}
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return h
	}
	if err != nil {
		h.Err = err
		return h
	}
	h.Open = privateMatters && st.Mode().Perm()&0o077 != 0
	if _, err := os.ReadDir(path); err != nil {
		h.Err = err
		return h
	}
	h.Disk = LookAtDisk(path)
	return h
}

// LookAtDisk says what a directory is on.
func LookAtDisk(dir string) (d Disk) {
	fsys, err := vfs.OpenReal(dir)
	if err != nil {
		return d
	}
	defer fsys.Close()
	if free, err := fsys.FreeBytes(); err == nil {
		d.Known, d.Free = true, free
	}
	d.Type, d.Network = filesystemType(dir)
	return d
}
