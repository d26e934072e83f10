// Package chunks is content-addressed storage.
package chunks

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	MaxChunk = 4 << 20
	MaxNode  = 64 << 10
)

type packFS interface{}

var errTODO = errors.New("not built yet")

type Store struct{}

func Open(o Options) (*Store, error) { return nil, errTODO }
func (s *Store) Close() error        { return errTODO }

// Ingest cuts, hashes and stores the size bytes of r.
func (s *Store) Ingest(ctx context.Context, r io.ReaderAt, size int64, m Mode) (File, error) {
	return File{}, errTODO
}

// Sync makes durable all that was added before the call.
func (s *Store) Sync(ctx context.Context) error { return errTODO }

// Rows walks the chunks of f in order.
func (s *Store) Rows(ctx context.Context, f File, fetch Fetch) iter.Seq2[Row, error] { return nil }

// Assemble is Rows with what is here.
func (s *Store) Assemble(ctx context.Context, f File, fetch Fetch) iter.Seq2[Piece, error] {
	return nil
}

// Get returns the verified bytes (in buf if it has the capacity).
func (s *Store) Get(ctx context.Context, d id.Digest, k Kind, buf []byte) ([]byte, error) {
	return nil, errTODO
}

// Raw returns the stored form, for peers; Decode reads it.
func (s *Store) Raw(ctx context.Context, d id.Digest, k Kind) (data []byte, zstd bool, err error) {
	return nil, false, errTODO
}

// Has reports for each chunk whether a place of it is known here.
func (s *Store) Has(ids []id.Digest) []bool { return nil }

// HasKind is Has for a kind.
func (s *Store) HasKind(k Kind, ids []id.Digest) []bool { return nil }

// Put verifies and packs one object. data stays the caller's.
func (s *Store) Put(ctx context.Context, k Kind, d id.Digest, data []byte) error { return errTODO }

// PutNodes verifies and packs manifest nodes; IDs are computed and returned.
func (s *Store) PutNodes(ctx context.Context, nodes [][]byte) ([]id.Digest, error) {
	return nil, errTODO
}

// AddLocations records that file number n holds these chunks.
func (s *Store) AddLocations(n uint64, rows []Row) error { return errTODO }

// AddFile records that file number n holds f (its manifest must be here).
func (s *Store) AddFile(ctx context.Context, n uint64, f File) error { return errTODO }

// DropFile forgets all locations in file number n.
func (s *Store) DropFile(n uint64) error { return errTODO }

// Rescue packs the chunks whose only place is file number n, read from r.
func (s *Store) Rescue(ctx context.Context, n uint64, r io.ReaderAt) error { return errTODO }

// PackFile packs every chunk of f that no pack holds, read from r, which holds f.
func (s *Store) PackFile(ctx context.Context, f File, r io.ReaderAt) error { return errTODO }

// Unpacked returns how many bytes of f no pack here holds.
func (s *Store) Unpacked(ctx context.Context, f File) (int64, error) { return 0, errTODO }

// RebuildIndex makes the index anew from the packs.
func (s *Store) RebuildIndex(ctx context.Context) error { return errTODO }

// IsZero reports whether the chunk is known to be n zero bytes.
func IsZero(d id.Digest, n int) bool { return false }

// Sum is the ID of data as an object of kind k.
func Sum(k Kind, data []byte) id.Digest { return id.Digest{} }

// Decode undoes Raw and verifies: data is the stored form of object d, n its raw length.
func Decode(k Kind, d id.Digest, data []byte, zstd bool, n int, buf []byte) ([]byte, error) {
	return nil, errTODO
}
