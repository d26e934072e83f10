package folder

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Rescue packs what history may need of this folder's files, whoever else may have it,
// for a folder that is to be no longer kept here. It may run beside the engine, and be
// repeated: what is packed stays so. It returns how many files hold something that no
// pack here does and that could not be read: they are left to the user. It fails where
// there is no room.
func (e *Engine) Rescue(ctx context.Context) (lost int, err error) {
	var none error
	f, err := vfs.OpenReal(e.o.Root) // whatever is there: all that is read is verified
	if err != nil {
		none = fmt.Errorf("open the folder: %w", err)
	} else {
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	var first id.Path
	var why error
	err = e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		if r.File == 0 || r.Entry.Kind != meta.File {
			return ctx.Err()
		}
		err := none
		if f != nil {
			err = e.packKept(ctx, f, p, r)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case noPlace(err):
			return fmt.Errorf("keep what history has of %q: %w", string(p), err)
		}
		if n, uerr := e.o.Chunks.Unpacked(ctx, fileOf(r.Entry)); uerr == nil && n == 0 {
			return nil
		}
		if lost++; lost == 1 {
			first, why = p, err
		}
		return nil
	})
	if err != nil {
		return lost, err
	}
	if lost > 0 {
		e.log.Warn("what history has of some files is only in them, and they cannot be read as they were", "files", lost, "first", first, "error", why)
	}
	return lost, e.o.Chunks.Sync(ctx)
}

// noPlace reports whether an error says that nothing can be packed here now.
func noPlace(err error) bool {
	return diskFull(err) || errors.Is(err, errNoRoom) || errors.Is(err, chunks.ErrBroken) || errors.Is(err, chunks.ErrClosed)
}

// RescueKept packs what only displaced files hold that still wait to be dropped. The
// engine must have ended, and Rescue must have packed the others.
func (e *Engine) RescueKept(ctx context.Context) error {
	all, err := e.o.Local.KeptFiles(e.o.ID)
	if err != nil || len(all) == 0 {
		return err
	}
	f, err := vfs.OpenReal(e.o.Root)
	if err != nil {
		return nil // Rescue has said so
	}
	defer f.Close()
	for p, n := range all {
		h, err := f.Open(p)
		if err != nil {
			e.log.Warn("open a displaced file to pack what only it holds", "path", p, "error", err)
			continue
		}
		err = e.o.Chunks.Retire(ctx, n, h)
		h.Close()
		if err != nil && !errors.Is(err, chunks.ErrChanged) {
			return fmt.Errorf("keep what history has of the displaced file %q: %w", string(p), err)
		}
	}
	return nil
}

// Forget drops the node's records of the folder, for `folder rm`: the user's files
// and the marker's directory stay, what is under way is still sent. Where chunks were in
// the files goes after the records: a record without it would count as safe.
func Forget(l *local.DB, c *chunks.Store, f id.Folder) error {
	var files []uint64
	b := l.NewBatch()
	err := l.Below(f, "", func(_ id.Path, r local.Row) error {
		if r.File != 0 {
			files = append(files, r.File)
			b.DropFile(r.File)
		}
		return nil
	})
	kept, kerr := l.KeptFiles(f)
	if err = errors.Join(err, kerr); err != nil {
		b.Discard()
		return err
	}
	for _, n := range kept {
		files = append(files, n)
		b.DropFile(n)
	}
	b.DropFolder(f)
	if err := b.Commit(true); err != nil || c == nil {
		return err
	}
	return c.DropFiles(files)
}
