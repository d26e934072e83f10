package watcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// markerPath marks a folder's root: it holds the folder's ID in hex and a newline.
const markerPath id.Path = id.ReservedName + "/folder"

// maxMarker bounds what is read of a marker; a real one has 33 bytes.
const maxMarker = 64

// CheckMarker returns nil when root holds the marker of the folder, and an error
// that wraps ErrRootMissing when the root or the marker is missing or names
// another folder: an unmounted disk, a wrong path.
func CheckMarker(root string, folder id.Folder) error {
	return checkRoot(func() (vfs.FS, error) { return vfs.OpenReal(root) }, folder)
}

// checkRoot opens the folder to check its marker.
func checkRoot(open func() (vfs.FS, error), folder id.Folder) error {
	f, err := open()
	if err != nil {
		return rootError(err)
	}
	return errors.Join(CheckOpened(f, folder), f.Close())
}

// CheckOpened is CheckMarker for a root that is open.
func CheckOpened(f vfs.FS, folder id.Folder) error {
	h, err := f.Open(markerPath)
	if err != nil {
		return rootError(err)
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, maxMarker))
	if err != nil {
		return fmt.Errorf("read the folder's marker: %w", err)
	}
	got, err := id.ParseFolder(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRootMissing, err)
	}
	if got != folder {
		return fmt.Errorf("%w: the marker names folder %s, want %s", ErrRootMissing, got, folder)
	}
	return nil
}

// rootError is ErrRootMissing where err says that something is not there; other
// errors, such as of a failing disk, say so themselves and halt the folder too.
func rootError(err error) error {
	if errors.Is(err, ErrRootMissing) {
		return err // it says so already
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrEscape) || errors.Is(err, vfs.ErrMount) {
		return fmt.Errorf("%w: %w", ErrRootMissing, err)
	}
	return fmt.Errorf("check the folder's marker: %w", err)
}
