//go:build !unix

package node

import (
	"fmt"
	"os"
)

// lock takes the home for this process. Without advisory locks, an open file that
// cannot be removed while it is open tells a running daemon from a dead one.
func (h home) lock() (release func(), err error) {
	if err := os.Remove(h.lockFile()); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("%w: %s; stop that one first, or choose another home with --home", errInUse, h)
	}
	f, err := os.OpenFile(h.lockFile(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the home: %w", err)
	}
	return func() { f.Close(); os.Remove(h.lockFile()) }, nil
}
