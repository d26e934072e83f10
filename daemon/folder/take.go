package folder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
)

// localLoop takes what the user did.
func (e *Engine) localLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-e.watch.Batches():
			if !ok {
				return nil
			}
			err := e.take(ctx, b)
			b.Done()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("take local changes of %q: %w", e.o.Root, err)
			}
			e.st.touch()
		}
	}
}

// take hashes and proposes one batch of settled paths.
func (e *Engine) take(ctx context.Context, b watcher.Batch) error {
	if err := e.o.Room(); err != nil {
		return err
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer f.Close()
	all := make([]*found, 0, len(b.Paths))
	for _, d := range b.Paths {
		e.trace.MarkAt(d.Path, trace.Event, d.Seen)
		e.trace.MarkAt(d.Path, trace.Settled, d.Settled)
		if d.Blocked != "" {
			continue
		}
		all = append(all, &found{path: d.Path, told: d.Stat, disk: reconcile.Disk{Stat: d.Stat}})
	}
	slices.SortFunc(all, func(a, b *found) int { return strings.Compare(string(a.path), string(b.path)) })
	if err := e.takeDirMoves(f, all); err != nil {
		return err
	}
	all, err = e.stillDirty(f, all)
	if err != nil || len(all) == 0 {
		return err
	}
	defer e.dropUnused(slices.Clone(all))
	defer e.hashing.endAll()
	if err := e.hashAll(ctx, f, all); err != nil {
		return err
	}
	if err := e.o.Chunks.Sync(ctx); err != nil {
		return err
	}
	all = e.setAside(all)
	if len(all) == 0 {
		return nil
	}
	if err := e.checkBrake(ctx, f, all, e.watch.Status().Dirty-len(b.Paths)); err != nil {
		return err
	}
	defer e.askRecount()
	for len(all) > 0 {
		n, err := e.proposeAll(f, all)
		if err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// stillDirty leaves out what is as recorded, and looks at directories and
// symlinks, which need no hashing.
func (e *Engine) stillDirty(f vfs.FS, all []*found) ([]*found, error) {
	out := all[:0]
	for _, fd := range all {
		row, had, err := e.o.Local.Get(e.o.ID, fd.path)
		if err != nil {
			return nil, err
		}
		if had && row.Stat.Same(fd.disk.Stat) {
			e.st.unkeep(fd.path) // put back as it was
			continue
		}
		if k, ok := e.st.keptAt(fd.path); ok && k.disk.Hashed && k.disk.Stat.Same(fd.disk.Stat) {
			continue
		}
		if k := fd.disk.Stat.Kind; k == vfs.Dir || k == vfs.Symlink {
			fd.disk = look(f, fd.path)
		}
		out = append(out, fd)
	}
	return out, nil
}

// dropUnused drops the chunk locations of files that no record names after all.
func (e *Engine) dropUnused(all []*found) {
	b := e.o.Local.NewBatch()
	for _, fd := range all {
		if fd.file != 0 && !fd.used {
			e.dropFile(b, fd.file)
		}
	}
	if err := b.Commit(false); err != nil {
		e.log.Warn("drop unused chunk locations", "error", err)
	}
}

// setAside takes out what could not be read: what changed meanwhile comes back
// when it has settled again, the rest is listed as blocked.
func (e *Engine) setAside(all []*found) []*found {
	return slices.DeleteFunc(all, func(fd *found) bool {
		switch {
		case fd.again:
			e.watch.Requeue(fd.path)
		case fd.problem != nil:
			e.st.block(fd.path, fmt.Sprintf("cannot be read: %v", fd.problem))
		default:
			e.st.unblock(fd.path)
			return false
		}
		return true
	})
}

// proposeOne decides on one path. mu is held.
func (e *Engine) proposeOne(s *snap, f vfs.FS, n vfs.Near, p *proposal, fd *found) error {
	now, err := lstat(n, fd.path)
	if err != nil || !now.Same(fd.disk.Stat) {
		e.watch.Requeue(fd.path)
		return nil
	}
	if now.Kind == vfs.Absent {
		if fd.told.Kind != vfs.Absent {
			e.watch.Requeue(fd.path)
			return nil
		}
		p.gone = append(p.gone, fd)
		return nil
	}
	c, err := e.decide(s, f, fd.path, fd.disk)
	if err != nil {
		return err
	}
	if e.o.Mode != ModeReceive && now.Kind != vfs.Dir && c.had && c.row.Stat.Kind == vfs.Dir {
		p.gone = append(p.gone, fd)
		return nil
	}
	return e.apply(p, fd, c)
}

// proposeRemoval decides on what proposeOne left for the end: a path that is gone, or a
// directory in whose place is something else. mu is held.
func (e *Engine) proposeRemoval(s *snap, f vfs.FS, p *proposal, fd *found) error {
	waits := e.brake.on && !p.allowed
	if fd.disk.Stat.Kind == vfs.Absent {
		if waits {
			return e.goneWhileHeld(s, p, fd.path)
		}
		return e.proposeGone(s, f, p, fd.path)
	}
	if waits {
		return nil // it waits for what is held below it
	}
	if e.diskOutside(fd.path, fd.disk.Stat) {
		return e.proposeGone(s, f, p, fd.path) // what took its place is nobody's business
	}
	// What was below the directory is gone.
	stays, err := e.deleteBelow(s, p, fd.path)
	if err != nil {
		return err
	}
	c, err := e.decide(s, f, fd.path, fd.disk)
	if err != nil {
		return err
	}
	if stays { // but not what never was on this disk: it clashes
		c.Change.Base = meta.Base{}
	}
	return e.apply(p, fd, c)
}

// apply carries a decision on something that is on the disk into the proposal.
// mu is held.
func (e *Engine) apply(p *proposal, fd *found, c choice) error {
	var old *local.Row
	if c.had {
		old = &c.row
	}
	switch c.Action {
	case reconcile.Propose:
		if e.o.Mode == ModeReceive {
			e.keepHere(fd.path, fd.disk, c)
			return nil
		}
		e.st.hasten(fd.path)
		ch := c.Change
		r := local.Row{Base: meta.Base{Own: p.tx.Sequence()}, Entry: ch.Entry, Stat: fd.disk.Stat, File: fd.file, Unpacked: fd.file != 0}
		fd.used = true
		if ch.Entry.Kind == meta.Dir && (!c.had || c.row.Entry.Kind != meta.Dir) {
			p.changes.dirs = append(p.changes.dirs, ch)
			p.count(ch)
			e.putRow(p.rows, fd.path, r, old)
		} else {
			p.put(ch, r, old)
		}
		if r.Unpacked {
			e.wakePacker()
		}
	case reconcile.Adopt:
		r := local.Row{Base: c.Base, Entry: c.Entry, Stat: fd.disk.Stat, File: fd.file, Unpacked: fd.file != 0}
		fd.used = true
		if c.had && c.row.Entry.SameContent(c.Entry) && fd.file == 0 {
			r.File, r.Unpacked = c.row.File, c.row.Unpacked
		}
		e.putRow(p.rows, fd.path, r, old)
		e.st.settle(fd.path)
		p.adopted = true
		if !c.head.Entry.SameContent(c.Entry) || c.head.Entry != c.Entry {
			e.st.postpone(fd.path, postponed{why: whyAttributes})
			e.lookAgain()
		}
	case reconcile.Materialize, reconcile.LetGo:
		e.st.postpone(fd.path, postponed{why: whyFollow})
		e.lookAgain()
	case reconcile.Wait:
		if c.Why == reconcile.ForHash {
			e.watch.Requeue(fd.path)
		} else if c.Why == reconcile.ForOutcome || c.Why == reconcile.ForLog {
			e.st.postpone(fd.path, postponed{why: whyOutcome})
		} else if c.Why == reconcile.ForIgnored {
			e.inTheWay(fd.path, c.disk)
		}
	}
	return nil
}

// putRow records a path; chunk locations in a file that the user replaced are
// dropped, for its bytes are gone.
func (e *Engine) putRow(b *local.Batch, p id.Path, r local.Row, old *local.Row) {
	if old != nil && old.File != 0 && old.File != r.File {
		e.dropFile(b, old.File)
	}
	b.Put(e.o.ID, p, r, old)
}

func (e *Engine) dropFile(b *local.Batch, file uint64) {
	b.DropFile(file)
	if err := e.o.Chunks.DropFile(file); err != nil {
		// A location that stays behind fails its verification and goes then.
		e.log.Debug("drop chunk locations", "file", file, "error", err)
	}
}
