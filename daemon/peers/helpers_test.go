package peers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func (n *node) callBytes(ctx context.Context, to id.Node, path string, body []byte) ([]byte, error) {
	return n.call(ctx, n.beats, to, path, bytes.NewReader(body), 1<<20)
}

// isReset: a server that turns a large request down may be gone before it was sent.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}
