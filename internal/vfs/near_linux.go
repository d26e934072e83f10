package vfs

import (
	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func (r *realFS) near() Near { return &realNear{r: r, fd: -1} }

// realNear is the Near of realFS.
type realNear struct {
	r   *realFS
	dir id.Path
	fd  int // of dir; -1: none
}

func (n *realNear) Close() error {
	if n.fd >= 0 {
		unix.Close(n.fd)
		n.fd = -1
	}
	return nil
}

// in returns the descriptor of p's directory; between begin and end. The root and paths
// that are longer than the system takes are left to r.
func (n *realNear) in(p id.Path) (fd int, ok bool, err error) {
	d := p.Dir()
	if d == "" || len(p) > maxSyscallPath {
		return -1, false, nil
	}
	if n.fd >= 0 && n.dir == d {
		return n.fd, true, nil
	}
	_ = n.Close()
	if fd, err = openat2(n.r.fd, string(d), unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return -1, false, err
	}
	n.dir, n.fd = d, fd
	return fd, true, nil
}

func (n *realNear) Lstat(p id.Path) (Stat, error) {
	if err := n.r.begin("lstat", p, true); err != nil {
		return Stat{}, err
	}
	defer n.r.end()
	fd, ok, err := n.in(p)
	var s Stat
	switch {
	case err != nil:
	case ok:
		s, err = statAt(fd, p.Base(), n.r.dev)
	default:
		s, err = n.r.lstat(p)
	}
	return lstatResult(p, s, err)
}

func (n *realNear) Open(p id.Path) (Handle, error) {
	if err := n.r.begin("open", p, false); err != nil {
		return nil, err
	}
	defer n.r.end()
	fd, ok, err := n.in(p)
	if err != nil {
		return nil, pathError("open", p, err)
	}
	if !ok {
		fd, err = n.r.openNoAtime(p, fileFlags)
		return opened(p, fd, err)
	}
	dir, name := fd, p.Base()
	fd, err = openat2(dir, name, fileFlags|unix.O_NOATIME)
	if err == unix.EPERM {
		fd, err = openat2(dir, name, fileFlags)
	}
	return opened(p, fd, err)
}

func (n *realNear) Create(p id.Path, mode uint32) (Handle, error) {
	if err := n.r.begin("create", p, false); err != nil {
		return nil, err
	}
	defer n.r.end()
	fd, ok, err := n.in(p)
	if err != nil {
		return nil, pathError("create", p, err)
	}
	if !ok {
		dir, err := n.r.parent(p)
		if err != nil {
			return nil, pathError("create", p, err)
		}
		defer n.r.release(dir)
		return createIn(dir, p, mode)
	}
	return createIn(fd, p, mode)
}
