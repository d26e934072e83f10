//go:build unix

package node

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the home for this process; the system gives it back when the
// process ends, however it ends.
func (h home) lock() (release func(), err error) {
	f, err := os.OpenFile(h.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the home: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; stop that one first, or choose another home with --home", errInUse, h)
		}
		return nil, fmt.Errorf("lock the home: %w", err)
	}
	return func() { f.Close() }, nil
}
