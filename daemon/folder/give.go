package folder

import (
	"context"
	"io"

	"github.com/lockstep-sync/lockstep/chunks"
)

// Store keeps bytes that the user gives for a version, rather than has in the folder.
// They are durable when it returns: a command may name them.
func (e *Engine) Store(ctx context.Context, r io.ReaderAt, size int64) (chunks.File, error) {
	if err := e.o.Room(); err != nil {
		return chunks.File{}, err
	}
	f, err := e.o.Chunks.Ingest(ctx, r, size, chunks.Pack)
	if err != nil {
		return chunks.File{}, err
	}
	return f, e.o.Chunks.Sync(ctx)
}
