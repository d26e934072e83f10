package folder

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
		n := commitLen(all)
		if err := e.proposeAll(f, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

const (
	// commitBytes bounds what is proposed as one commit, by a generous estimate of
	// its encoding: half of what a body may have, since a path may stand for two
	// changes. Only a first scan of very many files comes near it.
	commitBytes = 8 << 20
	// changeBytes is the estimate for a change without its path.
	changeBytes = 200
)

// commitLen is how many of the found paths, at least one, go into one commit.
func commitLen(all []*found) int {
	size := 0
	for i, fd := range all {
		if size += len(fd.path) + changeBytes; size > commitBytes && i > 0 {
			return i
		}
	}
	return len(all)
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

// proposal is a commit being built: changes, and the rows that go with them.
type proposal struct {
	tx      txn
	rows    *local.Batch
	changes struct{ dirs, moves, deletes, puts []meta.Change }
	handled map[id.Path]bool // deleted by a move or with a subtree
	adopted bool
	message string // for history
	allowed bool   // deletions go though others are held
}

// list returns the changes in the order in which the state machine judges them:
// new directories (and those that took a file's place) before what is in them or moves into them, moves before the deletion of
// where they came from, deletions (deepest first) before what takes the place.
func (p *proposal) list() []meta.Change {
	return slices.Concat(p.changes.dirs, p.changes.moves, p.changes.deletes, p.changes.puts)
}

// proposeAll decides on every path found and makes one commit of the changes.
func (e *Engine) proposeAll(f vfs.FS, all []*found) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proposeLocked(f, all, "")
}

// proposeLocked is proposeAll. A message, which history keeps, lets deletions go that
// are held. mu is held.
func (e *Engine) proposeLocked(f vfs.FS, all []*found, message string) error {
	s, err := e.snap()
	if err != nil {
		return err
	}
	defer s.Close()
	tx := e.o.Lane.Begin()
	defer tx.Abort()
	p := &proposal{tx: tx, rows: e.o.Local.NewBatch(), handled: make(map[id.Path]bool), message: message, allowed: message != ""}
	defer func() {
		if p.rows != nil {
			p.rows.Discard()
		}
	}()
	for _, fd := range all { // moves first: they take paths off the deletions
		if e.o.Mode == ModeReceive {
			break
		}
		if err := e.proposeFileMove(s, f, p, fd); err != nil {
			return err
		}
	}
	for _, fd := range all {
		if p.handled[fd.path] {
			continue
		}
		if err := e.proposeOne(s, f, p, fd); err != nil {
			return err
		}
	}
	return e.send(p, all)
}

// send makes the commit durable in the queue, with its rows, and hands it on.
// mu is held.
func (e *Engine) send(p *proposal, all []*found) error {
	changes := p.list()
	if len(changes) == 0 {
		rows := p.rows
		p.rows = nil
		if rows.Empty() {
			rows.Discard()
			return nil
		}
		e.lookAgain()
		return rows.Commit(false)
	}
	if e.o.Mode == ModeReceive {
		return fmt.Errorf("propose %d changes: this node only receives", len(changes)) // never: all keep to it
	}
	cmd := meta.CommitCmd{
		Folder: e.o.ID, Origin: meta.OriginEdit, Message: p.message, Changes: changes,
		Acked: e.acked(p.tx.Sequence()), Seen: e.sure.Base(),
	}
	rows := p.rows
	p.rows = nil
	now := time.Now()
	if err := p.tx.Commit(rows, cmd); err != nil {
		return fmt.Errorf("queue %d changes: %w", len(changes), err)
	}
	e.underWay(p.tx.Sequence(), flight{p.tx.Hash(), changes, now})
	for _, fd := range all {
		e.trace.MarkAt(fd.path, trace.Queued, now)
	}
	e.st.touch()
	return nil
}

// acked is the newest own sequence whose outcome nobody here needs any more: all
// before the oldest that is under way or that a row's base names. mu is held.
func (e *Engine) acked(next id.Sequence) id.Sequence {
	low := next
	for seq := range e.flight {
		low = min(low, seq)
	}
	for seq := range e.awaited {
		low = min(low, seq)
	}
	l := e.st.oldestLineage(func(p id.Path, seq id.Sequence) bool {
		r, ok, err := e.o.Local.Get(e.o.ID, p)
		return err != nil || ok && r.Base.Own == seq
	})
	if l != 0 {
		low = min(low, l)
	}
	return low - 1
}

// proposeOne decides on one path. mu is held.
func (e *Engine) proposeOne(s *snap, f vfs.FS, p *proposal, fd *found) error {
	now, err := lstat(f, fd.path)
	if err != nil || !now.Same(fd.disk.Stat) {
		e.watch.Requeue(fd.path)
		return nil
	}
	if now.Kind == vfs.Absent {
		if fd.told.Kind != vfs.Absent {
			e.watch.Requeue(fd.path)
			return nil
		}
		if e.brake.on && !p.allowed {
			return e.goneWhileHeld(s, p, fd.path)
		}
		return e.proposeGone(s, f, p, fd.path)
	}
	c, err := e.decide(s, f, fd.path, fd.disk)
	if err != nil {
		return err
	}
	if e.o.Mode != ModeReceive && now.Kind != vfs.Dir && c.had && c.row.Stat.Kind == vfs.Dir {
		if e.brake.on && !p.allowed {
			return nil // it waits for what is held below it
		}
		// Something else took a directory's place: what was below it is gone.
		stays, err := e.deleteBelow(s, p, fd.path)
		if err != nil {
			return err
		}
		if stays { // but not what never was on this disk: it clashes
			c.Change.Base = meta.Base{}
		}
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
		if ch.Entry.Kind == meta.Dir && (!c.had || c.row.Entry.Kind != meta.Dir) {
			p.changes.dirs = append(p.changes.dirs, ch)
		} else {
			p.changes.puts = append(p.changes.puts, ch)
		}
		r := local.Row{Base: meta.Base{Own: p.tx.Sequence()}, Entry: ch.Entry, Stat: fd.disk.Stat, File: fd.file, Unpacked: fd.file != 0}
		fd.used = true
		e.putRow(p.rows, fd.path, r, old)
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
			e.inTheWay(fd.path)
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

// txn is a place in the lane: see propose.Tx.
type txn interface {
	Sequence() id.Sequence
	Hash() id.Digest
	Commit(b *local.Batch, cmd meta.Command) error
	Abort()
}
