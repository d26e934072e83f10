package folder

import (
	"context"

	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// maxFollow bounds the renames that one path is followed along, as in meta.
const maxFollow = 64

// landing is the newest version of where the state machine would put what is at the
// path without a base, head being the path's: below directories that others renamed it
// follows them. It is what is in the way where a file has taken such a directory's place.
// follows is false where the path stays.
func (s *Survey) landing(at id.Path, head meta.Version) (there meta.Version, follows bool, err error) {
	there = head
	p := at
	for i := 0; i < maxFollow && there.Entry.Kind == meta.Absent; i++ {
		next, blocks, err := s.renamed(p)
		if err != nil || next == p {
			if follows && blocks.Entry.Kind != meta.Absent {
				there = blocks
			}
			return there, follows, err
		}
		p, follows = next, true
		if there, _, err = s.view.At(s.o.ID, p, s.head.Revision); err != nil {
			return there, true, err
		}
		there.Path = p
	}
	return there, follows, nil
}

// renamed is p below the new name of the nearest directory above it that others have
// renamed, or p; blocks is then what is above it and no directory.
func (s *Survey) renamed(p id.Path) (next id.Path, blocks meta.Version, err error) {
	for q := p.Dir(); q != ""; q = q.Dir() {
		v, ok, err := s.view.At(s.o.ID, q, s.head.Revision)
		switch {
		case err != nil:
			return p, blocks, err
		case !ok:
		case v.Entry.Kind == meta.Dir:
			return p, blocks, nil
		case v.Entry.Kind != meta.Absent:
			return p, v, nil
		case v.To != "":
			c, _, err := s.view.Commit(s.o.ID, v.Revision)
			if err != nil {
				return p, blocks, err
			}
			if next := p.Rebase(q, v.To); c.Node != s.o.Self && next.Check() == nil {
				return next, blocks, nil
			}
		}
	}
	return p, blocks, nil
}

// clashesElsewhere reports whether a file or symlink that is in no history of its path
// would meet another one where a directory above it was renamed to.
func (s *Survey) clashesElsewhere(ctx context.Context, at id.Path, head meta.Version, disk meta.Entry) (bool, error) {
	there, follows, err := s.landing(at, head)
	if err != nil || !follows || there.Entry.Kind == meta.Absent {
		return false, err
	}
	head, past, err := s.past(there.Path, disk)
	if err != nil {
		return false, err
	}
	if disk.Kind == meta.File && len(past) > 0 && disk.Content.IsZero() {
		e, ok, err := s.sum(ctx, at)
		if err != nil || !ok {
			return false, err
		}
		disk = e
	}
	standing, _ := reconcile.Stand(head, past, disk)
	return standing == reconcile.Different, nil
}

// sum reads a file without recording where its chunks are.
func (s *Survey) sum(ctx context.Context, at id.Path) (meta.Entry, bool, error) {
	h, err := s.fs.Open(at)
	if err != nil {
		return meta.Entry{}, false, nil
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil || st.Kind != vfs.File {
		return meta.Entry{}, false, nil
	}
	f, err := sum(ctx, h, st.Size)
	if err != nil {
		return meta.Entry{}, false, ctx.Err()
	}
	return fileEntry(st, f), true, nil
}
