package store

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Restore replaces the store's content by the checkpoint in the directory src,
// which is left as it is. The order is what makes it safe against a crash:
//
//  1. a new generation is built beside the current one,
//  2. its files and names are made durable, and it is opened,
//  3. CURRENT is flipped to it, durably,
//  4. the old one is closed and removed once its last holder has released it.
//
// A crash before 3 leaves the old content, one after it the new; Open removes what
// is left over. After an error before the flip the old content stays current.
// Readers that acquired the old generation keep it.
func (s *Store) Restore(src string) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	old, closed := s.cur, s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	s.last++
	number := s.last
	g, err := s.build(src, number)
	if err != nil {
		return fmt.Errorf("restore metadata store from %q: %w", src, err)
	}
	if err := s.flip(number); err != nil {
		// Whether CURRENT was replaced is unknown. Both generations are whole, so
		// either is a right state to start from; this process goes on with the old
		// one and leaves the new one for the next Open.
		return errors.Join(fmt.Errorf("restore metadata store: %w", err), s.end(g))
	}
	s.mu.Lock()
	s.cur = g
	s.mu.Unlock()
	if err := s.o.step("swapped"); err != nil {
		return errors.Join(err, s.retire(old, false))
	}
	return s.retire(old, true)
}

// build makes generation number from the checkpoint src and opens it.
func (s *Store) build(src string, number uint64) (*generation, error) {
	dst := s.genPath(number)
	if err := s.fs.RemoveAll(dst); err != nil {
		return nil, err
	}
	if err := s.fs.MkdirAll(dst, 0o700); err != nil {
		return nil, err
	}
	if err := CopyDir(s.fs, src, dst); err != nil {
		return nil, errors.Join(err, s.fs.RemoveAll(dst))
	}
	if err := s.o.step("copied"); err != nil {
		return nil, err
	}
	if err := syncDir(s.fs, s.dir); err != nil {
		return nil, err
	}
	g, err := s.openGeneration(number)
	if err != nil {
		return nil, errors.Join(err, s.fs.RemoveAll(dst))
	}
	if err := s.o.step("opened"); err != nil {
		return nil, errors.Join(err, s.end(g))
	}
	return g, nil
}

// CopyDir copies the files of a checkpoint from src to dst, which exist, and makes
// them durable. Tables never change and are shared by hard links where the
// filesystem can; the rest (the manifest grows) is copied.
func CopyDir(fs vfs.FS, src, dst string) error {
	names, err := fs.List(src)
	if err != nil {
		return err
	}
	if len(names) == 0 || len(names) > maxFiles {
		return fmt.Errorf("%d files: not a checkpoint", len(names))
	}
	for _, name := range names {
		if len(name) > maxFileName {
			return fmt.Errorf("file name of %d bytes: not a checkpoint", len(name))
		}
		from, to := fs.PathJoin(src, name), fs.PathJoin(dst, name)
		info, err := fs.Stat(from)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file: not a checkpoint", name)
		}
		if immutable(name) && fs.Link(from, to) == nil {
			continue
		}
		if err := copyFile(fs, from, to); err != nil {
			return err
		}
	}
	return syncDir(fs, dst)
}

// immutable reports whether the key-value store never writes to the file again.
func immutable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// copyFile copies one file and syncs it.
func copyFile(fs vfs.FS, from, to string) error {
	in, err := fs.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
