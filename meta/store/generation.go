package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Files in the store's directory. CURRENT is one line:
//
//	lockstep-store 1 gen-0000000000000003 9ae0daaf
//
// magic, format version, directory, CRC-32C of what stands before it with its
// trailing space, in hex.
const (
	currentName = "CURRENT"
	currentTemp = "CURRENT.tmp"
	genPrefix   = "gen-"
	magic       = "lockstep-store 1 "
	// maxCurrent bounds what is read of CURRENT, in bytes.
	maxCurrent = 256
	// maxFiles and maxFileName bound a directory that Restore takes. pebble names
	// its files with at most about 40 bytes, and a store of 100 GB has some 10,000.
	maxFiles    = 1 << 20
	maxFileName = 128
)

// ErrDamaged is wrapped by Open when CURRENT cannot be understood or names a
// generation that is not there.
var ErrDamaged = errors.New("metadata store is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// formatCurrent returns the content of CURRENT for a generation.
func formatCurrent(number uint64) []byte {
	head := fmt.Sprintf("%s%s%016d ", magic, genPrefix, number)
	return fmt.Appendf([]byte(head), "%08x\n", crc32.Checksum([]byte(head), castagnoli))
}

// parseCurrent is the inverse of formatCurrent and takes nothing else.
func parseCurrent(b []byte) (uint64, error) {
	rest, ok := strings.CutPrefix(string(b), magic)
	if !ok {
		return 0, fmt.Errorf("%w: CURRENT is not of this format", ErrDamaged)
	}
	name, _, _ := strings.Cut(rest, " ")
	number, ok := parseGeneration(name)
	if !ok || string(formatCurrent(number)) != string(b) {
		return 0, fmt.Errorf("%w: CURRENT does not match its checksum", ErrDamaged)
	}
	return number, nil
}

// parseGeneration reads the name of a generation's directory.
func parseGeneration(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, genPrefix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

func (s *Store) path(name string) string { return s.fs.PathJoin(s.dir, name) }

func (s *Store) genPath(number uint64) string {
	return s.path(fmt.Sprintf("%s%016d", genPrefix, number))
}

// locate returns the current generation's number and makes the first one where
// there is no store yet.
func (s *Store) locate() (uint64, error) {
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return 0, err
	}
	b, err := readSmall(s.fs, s.path(currentName))
	if errors.Is(err, os.ErrNotExist) {
		return s.create()
	}
	if err != nil {
		return 0, err
	}
	number, err := parseCurrent(b)
	if err != nil {
		return 0, err
	}
	if _, err := s.fs.Stat(s.genPath(number)); err != nil {
		return 0, fmt.Errorf("%w: generation %d: %w", ErrDamaged, number, err)
	}
	return number, nil
}

// create makes generation 1. CURRENT comes last, so a crash before it leaves
// nothing that counts. Generations without a CURRENT are no store that this code
// ever made and then lost: it is replaced, never removed. So something else took
// it away, and to begin anew would forget what this node voted and applied.
func (s *Store) create() (uint64, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if number, ok := parseGeneration(name); ok && number != 1 {
			return 0, fmt.Errorf("%w: %s is there but CURRENT is not", ErrDamaged, name)
		}
	}
	if err := s.fs.RemoveAll(s.genPath(1)); err != nil {
		return 0, err
	}
	if err := s.fs.MkdirAll(s.genPath(1), 0o700); err != nil {
		return 0, err
	}
	if err := s.o.step("created"); err != nil {
		return 0, err
	}
	if err := syncDir(s.fs, s.dir); err != nil {
		return 0, err
	}
	if err := syncDir(s.fs, s.fs.PathDir(s.dir)); err != nil {
		return 0, err
	}
	return 1, s.flip(1)
}

// flip makes number the current generation, durably.
func (s *Store) flip(number uint64) error {
	f, err := s.fs.Create(s.path(currentTemp), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(formatCurrent(number))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.o.step("written"); err != nil {
		return err
	}
	if err := s.fs.Rename(s.path(currentTemp), s.path(currentName)); err != nil {
		return err
	}
	if err := s.o.step("flipped"); err != nil {
		return err
	}
	return syncDir(s.fs, s.dir)
}

// sweep removes every generation but the current one, and a half-written pointer.
func (s *Store) sweep(current uint64) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if number, ok := parseGeneration(name); ok && number != current {
			if err := s.fs.RemoveAll(s.path(name)); err != nil {
				return err
			}
		}
		if name == currentTemp {
			if err := s.fs.Remove(s.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) removeGeneration(number uint64) error {
	return s.fs.RemoveAll(s.genPath(number))
}

// readSmall reads a file of at most maxCurrent bytes.
func readSmall(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCurrent+1))
	if err == nil && len(b) > maxCurrent {
		err = fmt.Errorf("%w: %s is too long", ErrDamaged, filepath.Base(path))
	}
	return b, err
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
