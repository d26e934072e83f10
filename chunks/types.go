package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// Kind is what an object is. The numbers are part of the format.
type Kind uint8

const (
	// Chunk is a piece of a file's bytes. Its ID is their plain BLAKE3-256.
	Chunk Kind = 1
	// Node is a node of a manifest, the tree of a file's chunks. Its ID is the
	// BLAKE3-256 of its encoding under a derive-key context of its own, so that no
	// file's content can pose as one.
	Node Kind = 2
)

// String returns "chunk" or "manifest node".
func (k Kind) String() string {
	switch k {
	case Chunk:
		return "chunk"
	case Node:
		return "manifest node"
	}
	return fmt.Sprintf("object of unknown kind %d", uint8(k))
}

// MaxLen is the longest object of the kind in bytes, 0 for an unknown kind.
// Whoever reads a length from the wire or the disk checks it against this.
func (k Kind) MaxLen() int {
	switch k {
	case Chunk:
		return MaxChunk
	case Node:
		return MaxNode
	}
	return 0
}

var (
	// ErrMissing is matched by the error of Get, Raw and Rows when no verified copy
	// of an object is here; it then is a *MissingError, which names the object.
	ErrMissing = errors.New("not stored here")
	// ErrChanged is returned by Ingest and PackFile when the file does not hold
	// what it should: it is shorter than said, or was changed since it was hashed.
	ErrChanged = errors.New("file changed while it was read")
	// ErrCorrupt is matched when bytes are not what their ID or checksum says.
	ErrCorrupt = errors.New("corrupt")
	// ErrBroken is matched by every write after a failed fsync: what the disk then
	// holds is unknown, so the store only reads until it is opened again.
	ErrBroken = errors.New("chunk store is broken for writing since a sync failed")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("chunk store is closed")
)

// MissingError names the object that is not here. It matches ErrMissing.
type MissingError struct {
	Kind Kind
	ID   id.Digest
	Err  error // why a copy that was known could not be used; may be nil
}

// Error implements error.
func (e *MissingError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s %s: %v: %v", e.Kind, e.ID.Short(), ErrMissing, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Kind, e.ID.Short(), ErrMissing)
}

// Is makes errors.Is(err, ErrMissing) true.
func (e *MissingError) Is(target error) bool { return target == ErrMissing }

// Unwrap returns the reason.
func (e *MissingError) Unwrap() error { return e.Err }

// LocationFile is an open file that holds chunks. A vfs.Handle is one.
type LocationFile interface {
	io.ReaderAt
	io.Closer
}

// FileOpener resolves the numbers that the daemon gave to files in work trees.
type FileOpener interface {
	// OpenLocation opens file number n for reading. An error that matches
	// fs.ErrNotExist says that the file is gone for good: its location is dropped.
	// It is called from many goroutines.
	OpenLocation(n uint64) (LocationFile, error)
}

// File names a file's content: what metadata holds of it.
type File struct {
	// Size in bytes.
	Size int64
	// Content is the plain BLAKE3-256 of the bytes.
	Content id.Digest
	// Manifest is the root of the tree of chunks; zero for a file of one chunk,
	// whose ID is Content, and for an empty one.
	Manifest id.Digest
}

// Row is one chunk of a file.
type Row struct {
	ID     id.Digest
	Offset int64 // in the file
	Len    int   // 1 to MaxChunk
}

// Piece is a Row with what is known of it here.
type Piece struct {
	Row
	// Local: the store knows a place of it here. Get may still find the bytes bad
	// and answer ErrMissing: then it must be pulled after all.
	Local bool
	// Zero: the bytes are all zero, a hole may be left. Zero implies Local.
	Zero bool
}

// Mode says where Ingest keeps the chunks. The zero Mode is Pack.
type Mode struct {
	// Locate: chunks stay in the file that is read, known by File's number; only
	// the manifest goes to the packs.
	Locate bool
	File   uint64
}

// Pack is the mode that copies every chunk that no pack holds into one.
var Pack = Mode{}

// Locate is the mode that leaves the chunks in file number n.
func Locate(n uint64) Mode { return Mode{Locate: true, File: n} }

// LocateBytes is the size from which a file is committed by location after an
// fsync and packed afterwards (PackFile): 64 MiB, so that the commit does not
// wait until that much was written a second time.
const LocateBytes = 64 << 20

// ModeFor is the protection rule: Pack below LocateBytes, Locate(n) from there.
func ModeFor(size int64, n uint64) Mode {
	if size >= LocateBytes {
		return Locate(n)
	}
	return Pack
}

// Fetch is called with manifest nodes that are missing. It stores them (Put,
// PutNodes), or returns an error. It may leave some out: ErrMissing follows only
// for those that are needed.
type Fetch func(ctx context.Context, ids []id.Digest) error

// Options of Open.
type Options struct {
	// Dir holds the packs and nothing else. It is made if missing.
	Dir string
	// KV is the node's local store, with a WAL. Keys begin with the byte 'C'.
	KV *kv.DB
	// Files resolves file numbers; nil: none can be opened.
	Files FileOpener
	// Log; nil discards.
	Log *slog.Logger
	// PackBytes is the size at which a new pack is begun; 0 means 256 MiB.
	PackBytes int64
	// Workers bounds the goroutines of one Ingest; 0 means one a core.
	Workers int

	fs packFS // tests replace it; nil means the operating system's
}
