package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// bringAttributes sets modes and mtimes where the disk has the head's content
// already. No byte is rewritten, so nothing can be lost: if the user writes at
// the same moment, the stat afterwards differs from what is recorded and the
// path is taken as his change.
func (e *Engine) bringAttributes(s *snap, f vfs.FS, paths []id.Path) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.o.Local.NewBatch()
	for _, p := range paths {
		c, err := e.decide(s, p, look(f, p))
		if err != nil {
			b.Discard()
			return err
		}
		if c.Action != reconcile.Materialize || !attributesOnly(c) {
			e.st.postpone(p, postponed{why: "attributes", at: time.Now().Add(retryLocal)})
			continue
		}
		switch err := e.setAttributes(b, f, s, p, c); {
		case errors.Is(err, vfs.ErrBusy):
			e.st.postpone(p, postponed{why: "a program has it open for writing", at: time.Now().Add(retryBusy)})
			continue
		case errors.Is(err, errMoved), errors.Is(err, fs.ErrNotExist):
			e.st.postpone(p, postponed{why: "changed here meanwhile", at: time.Now().Add(retryLocal)})
			continue
		case err != nil:
			reason := fmt.Sprintf("cannot set mode and time: %v", err)
			e.st.postpone(p, postponed{why: reason, blocked: reason, at: time.Now().Add(retryBlocked)})
			continue
		}
		e.st.settle(p)
	}
	return b.Commit(false)
}

// setAttributes changes one path. Of a file, a read lease proves that nobody wrote
// meanwhile; where there are no leases the path is hashed again afterwards, for
// setting the mtime could hide a write of the same moment.
func (e *Engine) setAttributes(b *local.Batch, f vfs.FS, s *snap, p id.Path, c choice) error {
	want, proven := c.head.Entry, true
	row := c.row
	row.Base, row.Entry = s.head.Base(), want
	if want.Kind == meta.File {
		h, err := f.Open(p)
		if err != nil {
			return err
		}
		defer h.Close()
		lease, err := h.Lease()
		if errors.Is(err, vfs.ErrBusy) {
			return err
		}
		proven = err == nil
		if st, err := h.Stat(); err != nil || !st.Same(c.disk.Stat) {
			e.watch.Requeue(p)
			return errors.Join(err, errMoved)
		}
		if err := h.Chmod(want.Mode); err != nil {
			return err
		}
		if err := h.SetMTime(want.MTime); err != nil {
			return err
		}
		if row.Stat, err = h.Stat(); err != nil {
			return err
		}
		if proven {
			proven = lease.Held()
			lease.Release()
		}
	} else {
		if err := f.Chmod(p, want.Mode); err != nil {
			return err
		}
		st, err := f.Lstat(p)
		if err != nil {
			return err
		}
		row.Stat = st
	}
	if !proven {
		row.Stat.CTime = 0 // no file has it: the path counts as changed and is hashed
		e.watch.Requeue(p)
	}
	b.Put(e.o.ID, p, row, &c.row)
	return nil
}

// errMoved is the problem of a path that changed while it was looked at.
var errMoved = errors.New("changed meanwhile")
