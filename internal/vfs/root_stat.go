package vfs

import (
	"fmt"
	"io/fs"
	"os"
)

// basicStat is what every system's FileInfo says.
func basicStat(fi fs.FileInfo) Stat {
	s := Stat{Mode: uint32(fi.Mode().Perm()), MTime: fi.ModTime().UnixNano(), Size: fi.Size(), Nlink: 1}
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if fi.Mode()&m != 0 {
			s.Mode |= bit
		}
	}
	switch fi.Mode().Type() {
	case 0:
		s.Kind = File
	case fs.ModeDir:
		s.Kind = Dir
	case fs.ModeSymlink:
		s.Kind = Symlink
	default:
		s.Kind = Other
	}
	return s
}

// joined is an error that is both.
func joined(word, err error) error { return fmt.Errorf("%w: %w", word, err) }

// onFile runs fn on f's descriptor.
func onFile(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = fn(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
