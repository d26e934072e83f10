package folder

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// hashWorkers is how many files are hashed at once: the disk of one and the
// processor of another; each large file uses further goroutines of its own.
const hashWorkers = 3

// hashStride is how many one of them takes at a time: few, for one may be large.
const hashStride = 4

// found is a path that the watcher handed over, with what was read of it.
type found struct {
	path id.Path
	told vfs.Stat // by the watcher
	disk reconcile.Disk
	// file is the number under which chunk locations name the file, 0 if its
	// chunks are in packs.
	file uint64
	// used: a record names that number.
	used bool
	// again: it changed while it was read; it comes back when it has settled.
	again bool
	// gone: the user removed it while it was read.
	problem error
}

// hashAll reads what the found paths hold. The chunks are stored, not yet durable.
func (e *Engine) hashAll(ctx context.Context, f vfs.FS, all []*found) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(hashWorkers, len(all)) {
		g.Go(func() error {
			n := vfs.NearOf(f)
			defer n.Close()
			for {
				to := int(next.Add(hashStride))
				for _, fd := range all[min(to-hashStride, len(all)):min(to, len(all))] {
					if fd.disk.Hashed || fd.disk.Blocked || fd.disk.Stat.Kind != vfs.File {
						continue
					}
					if err := ctx.Err(); err != nil {
						return err
					}
					if err := e.hashOne(ctx, n, fd); err != nil {
						return err
					}
				}
				if to >= len(all) {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// hashOne reads one file. A file that changes meanwhile is marked to come again.
func (e *Engine) hashOne(ctx context.Context, n vfs.Near, fd *found) error {
	start := time.Now()
	h, err := n.Open(fd.path)
	if err != nil {
		fd.again = errors.Is(err, fs.ErrNotExist)
		fd.problem = err
		return nil
	}
	defer h.Close()
	before, err := h.Stat()
	if err != nil || before.Kind != vfs.File {
		fd.again, fd.problem = true, err
		return nil
	}
	if err := e.ripen(ctx, before); err != nil {
		return err
	}
	if before.Size >= chunks.LocateBytes {
		fd.file = e.o.Local.NewFile()
		b := e.o.Local.NewBatch()
		b.SetFilePath(e.o.ID, fd.path, fd.file)
		if err := b.Commit(false); err != nil {
			return err
		}
	}
	work := e.hashing.begin(fd.path, before.Size)
	defer e.hashing.set(fd.path, whole)
	file, err := e.o.Chunks.Ingest(ctx, counted{h, work}, before.Size, chunks.ModeFor(before.Size, fd.file))
	switch {
	case errors.Is(err, chunks.ErrChanged):
		fd.again = true
		return nil
	case errors.Is(err, chunks.ErrBroken), errors.Is(err, chunks.ErrClosed), diskFull(err):
		return err // what concerns the whole store halts the folder, and is tried again
	case err != nil:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fd.problem = err
		return nil
	}
	if fd.file != 0 {
		// Committed by location: the user's own file is the only place of its
		// bytes for now, so it must be on the disk first.
		if err := h.Sync(); err != nil {
			return err
		}
	}
	after, err := h.Stat()
	if err != nil || !after.Same(before) {
		fd.again, fd.problem = true, err
		return nil
	}
	fd.disk = reconcile.Disk{Stat: after, Hashed: true, Entry: fileEntry(after, file)}
	e.watch.ReportHash(fd.path, time.Since(start))
	e.trace.Mark(fd.path, trace.Hashed)
	return nil
}

func fileEntry(st vfs.Stat, f chunks.File) meta.Entry {
	return meta.Entry{
		Kind: meta.File, Mode: st.Mode, MTime: st.MTime,
		Size: f.Size, Content: f.Content, Manifest: f.Manifest,
	}
}

// fileOf names a file entry's content for the chunk store.
func fileOf(e meta.Entry) chunks.File {
	return chunks.File{Size: e.Size, Content: e.Content, Manifest: e.Manifest}
}

// diskFull reports that there is no room, or no more of a quota or of inodes.
func diskFull(err error) bool {
	var room *materialize.NoSpaceError
	return errors.As(err, &room) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
