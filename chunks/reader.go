package chunks

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// maxReaderFiles bounds the located files that a Reader keeps open.
const maxReaderFiles = 16

// Reader is Get for many objects in a row: it keeps the located files open that
// it reads from, until Close. It is short-lived, since open files keep a disk
// from being unmounted. Safe for concurrent use.
type Reader struct {
	s     *Store
	mu    sync.Mutex
	files map[uint64]LocationFile
}

// Reader returns a Reader; the caller closes it.
func (s *Store) Reader() *Reader { return &Reader{s: s, files: make(map[uint64]LocationFile)} }

// Get is Store.Get.
func (r *Reader) Get(ctx context.Context, d id.Digest, k Kind, buf []byte) ([]byte, error) {
	return r.s.get(ctx, key{k, d}, buf, r.open)
}

// open hands out a kept file, or one to be closed after use where enough are kept.
func (r *Reader) open(n uint64) (io.ReaderAt, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, ok := r.files[n]; ok {
		return f, func() {}, nil
	}
	if len(r.files) >= maxReaderFiles || r.s.o.Files == nil {
		return r.s.openLocation(n)
	}
	f, err := r.s.o.Files.OpenLocation(n)
	if err != nil {
		return nil, nil, err
	}
	r.files[n] = f
	return f, func() {}, nil
}

// Close closes the files. The caller has ended all calls of Get.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for n, f := range r.files {
		err = errors.Join(err, f.Close())
		delete(r.files, n)
	}
	return err
}
