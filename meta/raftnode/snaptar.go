package raftnode

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// A snapshot travels as a tar (ustar): first "snapshot", the manifest, then each
// file as "state/NAME" in the manifest's order. The manifest comes first so that the
// receiver knows every size before it writes a byte.
const (
	manifestName = "snapshot"
	copyName     = "snapshot.copy" // on disk only
	stateName    = "state"
	statePrefix  = stateName + "/"
	tarBlock     = 512
)

// tarSize returns the length of the stream for a manifest of n bytes.
func tarSize(n int, m *manifest) int64 {
	size := tarBlock + padded(int64(n))
	for _, f := range m.Files {
		size += tarBlock + padded(f.Size)
	}
	return size + 2*tarBlock
}

func padded(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// tarReader streams a snapshot's directory. It opens one file at a time.
type tarReader struct {
	fs   vfs.FS
	dir  string
	m    *manifest
	head []byte
	// next is the file to send after what is pending: -1 for the manifest,
	// len(m.Files) for the end mark, beyond it nothing.
	next    int
	pending io.Reader
	file    vfs.File
	err     error
}

func newTarReader(fs vfs.FS, dir string, head []byte, m *manifest) *tarReader {
	return &tarReader{fs: fs, dir: dir, m: m, head: head, next: -1, pending: bytes.NewReader(nil)}
}

// Read implements io.Reader.
func (t *tarReader) Read(p []byte) (int, error) {
	for t.err == nil {
		n, err := t.pending.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			t.err = err
			break
		}
		t.err = t.advance()
	}
	return 0, t.err
}

// advance sets pending to the next member of the archive.
func (t *tarReader) advance() error {
	t.closeFile()
	i := t.next
	t.next++
	switch {
	case i < 0:
		return t.member(manifestName, int64(len(t.head)), bytes.NewReader(t.head))
	case i < len(t.m.Files):
		f := t.m.Files[i]
		file, err := t.fs.Open(t.fs.PathJoin(t.dir, stateName, f.Name))
		if err != nil {
			return err
		}
		t.file = file
		// A file that is shorter than it was is filled up by no one: the receiver
		// sees a short stream, or a wrong hash, and refuses.
		return t.member(statePrefix+f.Name, f.Size, io.LimitReader(file, f.Size))
	case i == len(t.m.Files):
		t.pending = bytes.NewReader(make([]byte, 2*tarBlock))
		return nil
	}
	return io.EOF
}

func (t *tarReader) member(name string, size int64, content io.Reader) error {
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatUSTAR,
	})
	if err != nil {
		return err
	}
	pad := make([]byte, padded(size)-size)
	t.pending = io.MultiReader(&header, content, bytes.NewReader(pad))
	return nil
}

func (t *tarReader) closeFile() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// Close implements io.Closer.
func (t *tarReader) Close() error {
	t.closeFile()
	return nil
}

// unpack reads a stream into dir, which exists and is empty, checks every file
// against the manifest and makes all of it durable. It takes nothing that the
// manifest does not announce.
func unpack(fs vfs.FS, dir string, r io.Reader) (*manifest, error) {
	in := tar.NewReader(r)
	h, err := in.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if h.Name != manifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return nil, fmt.Errorf("%w: starts with %.40q of %d bytes", ErrDamaged, h.Name, h.Size)
	}
	head, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m, err := parseManifest(head)
	if err != nil {
		return nil, err
	}
	state := fs.PathJoin(dir, stateName)
	if err := fs.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		h, err := in.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: file %q: %w", ErrDamaged, f.Name, err)
		}
		if h.Name != statePrefix+f.Name || h.Typeflag != tar.TypeReg || h.Size != f.Size {
			return nil, fmt.Errorf("%w: %.120q of %d bytes where %q of %d is due", ErrDamaged, h.Name, h.Size, f.Name, f.Size)
		}
		if err := unpackFile(fs, fs.PathJoin(state, f.Name), f, in); err != nil {
			return nil, err
		}
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: goes on after its last file", ErrDamaged)
	}
	return m, syncDir(fs, state)
}

func unpackFile(fs vfs.FS, path string, f manifestFile, r io.Reader) error {
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	hash := blake3.New()
	// The hash first: a vfs.File may scribble over what it was given.
	n, err := io.Copy(io.MultiWriter(hash, out), io.LimitReader(r, f.Size))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if n != f.Size || id.Digest(hash.Sum(nil)) != f.Digest {
		return fmt.Errorf("%w: file %q", ErrDamaged, f.Name)
	}
	return nil
}

// hashFile returns a file's size and hash.
func hashFile(fs vfs.FS, path string) (int64, id.Digest, error) {
	in, err := fs.Open(path)
	if err != nil {
		return 0, id.Digest{}, err
	}
	defer in.Close()
	hash := blake3.New()
	n, err := io.Copy(hash, in)
	return n, id.Digest(hash.Sum(nil)), err
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
