package node

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// minFree is what a node leaves free on its home's disk, in bytes: its stores and the
// Raft log write there even while no folder does, and cannot go on when they cannot.
const minFree = 16 << 20

// room says why nothing more can be kept in the home, nil while there is space.
func (h home) room() error {
	f, err := vfs.OpenReal(string(h))
	if err != nil {
		return err
	}
	defer f.Close()
	free, err := f.FreeBytes()
	if errors.Is(err, vfs.ErrNotSupported) {
		return nil // the stores will say so
	}
	if err == nil && free < minFree {
		err = fmt.Errorf("the disk of the node's home %s is full: %s are free, %s are needed; free some space", h, humanize.IBytes(free), humanize.IBytes(minFree))
	}
	return err
}
