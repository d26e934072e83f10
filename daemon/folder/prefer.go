package folder

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Mine stores what differs, durably, and returns the changes that give it to history
// below dir. What changes meanwhile is left out: it becomes a conflict.
func (s *Survey) Mine(ctx context.Context, dir id.Path) ([]meta.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []meta.Change
	for i := range s.differ {
		d := &s.differ[i]
		if d.stat.Kind == vfs.Dir {
			d.entry = meta.Entry{Kind: meta.Dir, Mode: d.stat.Mode}
			continue // it comes with what is in it
		}
		e, st, ok, err := s.keep(ctx, *d)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		d.entry, d.stat = e, st
		out = append(out, meta.Change{Op: meta.OpPut, Path: below(dir, d.path), Entry: e, Mask: meta.FieldsAll})
	}
	return out, s.o.Chunks.Sync(ctx)
}

// below is p below dir, under a name made of its hash where that would be too long.
func below(dir, p id.Path) id.Path {
	if at := id.Path(string(dir) + "/" + string(p)); at.Check() == nil {
		return at
	}
	sum := blake3.Sum256([]byte(p))
	return dir.Join(fmt.Sprintf("%x", sum[:16]))
}

// keep packs a file's bytes, or reads a symlink.
func (s *Survey) keep(ctx context.Context, d differing) (e meta.Entry, st vfs.Stat, ok bool, err error) {
	if d.stat.Kind == vfs.Symlink {
		target, err := s.fs.Readlink(d.path)
		return meta.Entry{Kind: meta.Symlink, Target: target}, d.stat, err == nil, nil
	}
	h, err := s.fs.Open(d.path)
	if err != nil {
		return e, st, false, nil
	}
	defer h.Close()
	if st, err = h.Stat(); err != nil || st.Kind != vfs.File {
		return e, st, false, nil
	}
	if err := ripen(ctx, st, coarseTick); err != nil {
		return e, st, false, err
	}
	f, err := s.o.Chunks.Ingest(ctx, h, st.Size, chunks.Pack)
	if ctx.Err() != nil || errors.Is(err, chunks.ErrBroken) || errors.Is(err, chunks.ErrClosed) || diskFull(err) {
		return e, st, false, errors.Join(context.Cause(ctx), err)
	}
	after, serr := h.Stat()
	if err != nil || serr != nil || !after.Same(st) {
		return e, st, false, nil
	}
	return fileEntry(st, f), st, true, nil
}

// PreferCluster records what differs as known, once history holds what Mine
// returned: the head takes its place. An edit that the user makes before that is one of
// the version before the head's, or of none where that is the first, so it is a conflict.
func (s *Survey) PreferCluster() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.differ {
		if d.entry.Kind == meta.Absent {
			continue
		}
		var base meta.Base
		if r := d.head.Revision; r > 1 {
			var err error
			if base, err = s.base(r - 1); err != nil {
				return err
			}
		}
		if err := s.put(d.path, local.Row{Base: base, Entry: d.entry, Stat: d.stat}); err != nil {
			return err
		}
	}
	return s.flush()
}

// PreferMine records that what differs was made from the head: it is proposed as an
// ordinary edit. The record has a stat that the file has not, so the disk is seen to
// differ, also where a system knows neither inodes nor ctimes. What clashes with a directory on either side is left a conflict, for nobody
// here has seen what is in the folder's.
func (s *Survey) PreferMine() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := s.head.Base()
	for _, d := range s.differ {
		h := d.head.Entry
		if d.stat.Kind == vfs.Dir || h.Kind == meta.Dir || h.Kind == meta.Absent {
			continue
		}
		never := vfs.Stat{Kind: vfs.Kind(h.Kind), Mode: h.Mode, Size: h.Size, MTime: d.stat.MTime + 1}
		if err := s.put(d.path, local.Row{Base: base, Entry: h, Stat: never}); err != nil {
			return err
		}
	}
	return s.flush()
}
