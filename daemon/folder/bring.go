package folder

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// tag is what an item carries through the executor.
type tag struct {
	row  local.Row
	had  bool
	from local.Row // of MoveFrom
	page *page
}

// bring compares the paths with the snap's head and brings what differs. A page of new
// things is put on the belt; any other one waits for what is on it.
func (e *Engine) bring(ctx context.Context, s *snap, paths []id.Path, b *belt) error {
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer f.Close()
	items, err := e.plan(s, f, paths)
	if err != nil || len(items) == 0 {
		return err
	}
	if err := e.o.Room(); err != nil {
		return err
	}
	defer e.haste.bringing()()
	if onlyNew(items) {
		return e.stage(ctx, s, items, b)
	}
	if b.busy() {
		if err := b.wait(); err != nil {
			return err
		}
		if items, err = e.plan(s, f, paths); err != nil || len(items) == 0 {
			return err
		}
	}
	return e.stage(ctx, s, items, nil)
}

// plan decides on each path and returns items for the executor.
func (e *Engine) plan(s *snap, f vfs.FS, paths []id.Path) (items []materialize.Item, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(s.whole)
	b := e.o.Local.NewBatch()
	defer func() {
		if b != nil {
			b.Discard()
		}
	}()
	near, from := vfs.NearOf(f), vfs.NearOf(f) // from: where things are moved from
	defer near.Close()
	defer from.Close()
	for _, p := range paths {
		c, err := e.decide(s, f, p, e.seenHere(f, near, p))
		if err != nil {
			return nil, err
		}
		switch c.Action {
		case reconcile.Nothing:
			if c.had && c.row.Base.Own != 0 {
				// What the user builds on from here is the head, wherever the own
				// version went.
				c.Base, c.Entry = s.head.Base(), c.row.Entry
				e.adopt(b, p, c)
			}
			e.st.settle(p)
		case reconcile.Adopt:
			if e.takeUpKept(p, c) {
				break
			}
			if c.forgotten && c.disk.Stat.Kind == vfs.Absent {
				// Perhaps it was renamed here: then its record goes along, for what history
				// has of it is still to be packed.
				e.watch.Requeue(p)
				e.st.postpone(p, postponed{why: whyLocal, at: time.Now().Add(retryLocal)})
				break
			}
			e.adopt(b, p, c)
			if c.Entry == c.head.Entry {
				e.st.settle(p)
				break
			}
			e.st.postpone(p, postponed{why: whyAttributes})
			e.lookAgain()
		case reconcile.Materialize:
			if e.o.Mode == ModeSend {
				e.skip(p)
				break
			}
			if c.head.Entry.Kind != meta.Absent {
				if open, err := e.wayTo(b, f, p); err != nil {
					return nil, err
				} else if !open {
					break
				}
			}
			it, err := e.item(s, from, p, c)
			if err != nil {
				return nil, err
			}
			if e.keepOpen(s, &it) {
				items = append(items, it)
			}
		case reconcile.LetGo: // it was not yet when letGo looked
			e.st.postpone(p, postponed{why: whyFollow, letGo: true, at: time.Now().Add(retryLocal)})
		default:
			if c.Action == reconcile.Propose && c.had && c.row.Stat.Same(c.disk.Stat) {
				// Recorded as a version that this history does not hold: without the
				// record the local loop sees the user's bytes in it, and proposes them.
				e.dropRow(b, p, c.row)
			}
			e.undecided(f, p, c)
		}
	}
	reuse(items)
	rows := b
	b = nil
	return items, rows.Commit(false)
}

// reuse takes the content of new files from files that the same page deletes: a
// rollback over a rename, say, moves files instead of copying them.
func reuse(items []materialize.Item) {
	type content struct {
		sum  id.Digest
		size int64
	}
	free := make(map[content][]int)
	for i, it := range items {
		if it.Want.Kind == meta.Absent && it.Was.Kind == meta.File && it.Was.Size > 0 && it.Expect.Kind == vfs.File {
			k := content{it.Was.Content, it.Was.Size}
			free[k] = append(free[k], i)
		}
	}
	for i := range items {
		it := &items[i]
		if it.Want.Kind != meta.File || it.MoveFrom != "" || it.Expect.Kind != vfs.Absent {
			continue
		}
		k := content{it.Want.Content, it.Want.Size}
		from := free[k]
		if len(from) == 0 {
			continue
		}
		src := &items[from[0]]
		free[k] = from[1:]
		t := it.Tag.(tag)
		t.from = src.Tag.(tag).row
		it.MoveFrom, it.ExpectFrom, it.Tag = src.Path, src.Expect, t
	}
}

// undecided postpones a path on which nothing can be done now. mu is held.
func (e *Engine) undecided(f vfs.FS, p id.Path, c choice) {
	switch {
	case e.leftAlone(p, c):
	case c.Action == reconcile.Propose || c.Why == reconcile.ForHash:
		e.watch.Requeue(p)
		e.st.postpone(p, postponed{why: whyLocal, at: time.Now().Add(retryLocal)})
	case c.Why == reconcile.ForAccess:
		reason := whyUnreadable(f, p)
		if c.disk.Stat.Kind == vfs.Other {
			reason = "a special file is in its place"
		}
		e.st.postpone(p, postponed{why: reason, blocked: reason, at: time.Now().Add(retryBlocked)})
	case c.Why == reconcile.ForIgnored:
		e.inTheWay(p, c.disk)
	default:
		e.st.postpone(p, postponed{why: whyOutcome})
	}
}

// inTheWay blocks a path at which ignored bytes are. mu is held.
func (e *Engine) inTheWay(p id.Path, d reconcile.Disk) {
	reason := reasonInTheWay
	if d.Outside {
		reason = reasonNotKept
	}
	e.st.postpone(p, postponed{why: reason, blocked: reason, at: time.Now().Add(retryBlocked)})
}

func (e *Engine) adopt(b *local.Batch, p id.Path, c choice) {
	if c.Entry.Kind == meta.Absent {
		e.dropRow(b, p, c.row)
		return
	}
	r := local.Row{Base: c.Base, Entry: c.Entry, Stat: c.disk.Stat}
	var old *local.Row
	if c.had {
		old = &c.row
		if c.row.Entry.SameContent(c.Entry) {
			r.File, r.Unpacked, r.Firm = c.row.File, c.row.Unpacked, c.row.Firm
		}
	}
	e.putRow(b, p, r, old)
}

// item puts a decision into the executor's words. mu is held.
func (e *Engine) item(s *snap, f lstater, p id.Path, c choice) (materialize.Item, error) {
	it := materialize.Item{
		Path: p, Want: c.head.Entry, Version: s.head.Base(), Expect: c.disk.Stat,
		Was: c.row.Entry, WasVersion: c.row.Base,
	}
	t := tag{row: c.row, had: c.had}
	if from := c.head.From; from != "" && from != p && c.head.Entry.Kind != meta.Absent {
		row, had, err := e.o.Local.Get(e.o.ID, from)
		if err != nil {
			return it, err
		}
		old, err := s.version(from)
		if err != nil {
			return it, err
		}
		st, serr := f.Lstat(from)
		ok := had && old.Entry.Kind == meta.Absent && serr == nil && row.Stat.Same(st) && row.Entry.SameContent(c.head.Entry) && e.pendingSeq(from) == 0
		if ok && c.head.Entry.Kind == meta.Dir {
			if !e.o.Only.Whole(from) || !e.o.Only.Whole(p) { // what is not kept stays where it is
				it.Tag = t
				return it, nil
			}
			if ok, err = s.untouched(f, from); err != nil {
				return it, err
			}
		}
		if ok {
			it.MoveFrom, it.ExpectFrom, t.from = from, st, row
		}
	}
	it.Tag = t
	return it, nil
}

// untouched reports that nothing below dir is under way, and that what is recorded
// there is on the disk as it was. Otherwise the directory must not be renamed whole:
// what the user changed in it would be carried along, and missing at its old path,
// where its record is, it would look like deleted there; so too what is to be let go.
// The answer is remembered, for what is below. mu is held.
func (s *snap) untouched(f lstater, dir id.Path) (bool, error) {
	e := s.e
	for d := dir; d != ""; d = d.Dir() {
		if s.whole[d] {
			return true, nil
		}
	}
	if e.pendingBelow(dir) || e.st.lettingGo(dir) {
		return false, nil
	}
	err := e.o.Local.Below(e.o.ID, dir, func(p id.Path, r local.Row) error {
		if st, err := lstat(f, p); err != nil || !st.Same(r.Stat) {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return false, nil
	}
	s.whole[dir] = err == nil
	return err == nil, err
}

// pendingBelow reports whether an own change below dir is under way. mu is held.
func (e *Engine) pendingBelow(dir id.Path) bool {
	for p := range e.pending {
		if p.Below(dir) {
			return true
		}
	}
	return false
}

// confirm is asked under mu, right before an item is moved into place: nothing
// may have been proposed or recorded of the path since it was planned.
func (e *Engine) confirm(it *materialize.Item) bool {
	t := it.Tag.(tag)
	row, had, err := e.o.Local.Get(e.o.ID, it.Path)
	if err != nil || had != t.had || row != t.row || e.pendingSeq(it.Path) != 0 {
		return false
	}
	return it.MoveFrom == "" || e.pendingSeq(it.MoveFrom) == 0 && !(it.Want.Kind == meta.Dir && e.pendingBelow(it.MoveFrom))
}

// record keeps what the executor has done. mu is held.
func (e *Engine) record(results []materialize.Result) error {
	onDisk := time.Now()
	b := e.o.Local.NewBatch()
	for _, r := range results {
		if r.State != materialize.Done {
			continue
		}
		e.trace.MarkAt(r.Path, trace.OnDisk, onDisk)
		t := r.Tag.(tag)
		if r.Kept != "" && t.row.File != 0 {
			b.Kept(e.o.ID, r.Kept, t.row.File)
		}
		if r.Want.Kind == meta.Absent {
			e.brake.dropped(t.row)
			b.Delete(e.o.ID, r.Path, t.row)
			continue
		}
		row := local.Row{Base: r.Version, Entry: r.Want, Stat: r.Stat, Firm: true}
		if r.Want.Kind == meta.File && r.Want.Size > 0 {
			switch {
			case r.MoveFrom != "" && r.Stat.Ino == r.ExpectFrom.Ino && t.from.File != 0:
				row.File, row.Unpacked, row.Firm = t.from.File, t.from.Unpacked, t.from.Firm
			case t.had && r.Stat.Ino == t.row.Stat.Ino && t.row.Entry.SameContent(r.Want):
				row.File, row.Unpacked, row.Firm = t.row.File, t.row.Unpacked, t.row.Firm // other attributes only
			default:
				var err error
				if row, err = e.locate(row); err != nil {
					return err
				}
				if row.File == 0 {
					e.watch.Requeue(r.Path)
				}
			}
		}
		var old *local.Row
		if t.had {
			old = &t.row
		} else if r.Stat.Kind != vfs.Dir {
			e.brake.paths++
		}
		b.Put(e.o.ID, r.Path, row, old)
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("record %d paths: %w", len(results), err)
	}
	recorded, done := time.Now(), 0
	for _, r := range results {
		if r.State == materialize.Done {
			done++
			e.trace.MarkAt(r.Path, trace.Recorded, recorded)
		}
	}
	e.st.placed(done)
	return nil
}

// locate indexes the chunks of a received file under a number of its own, before the
// row that names it: a row without locations would lose the version when the file is
// replaced. Where its manifest cannot be read the file is hashed again instead.
func (e *Engine) locate(row local.Row) (local.Row, error) {
	n := e.o.Local.NewFile()
	err := e.o.Chunks.AddFile(context.Background(), n, fileOf(row.Entry))
	switch {
	case errors.Is(err, chunks.ErrMissing), errors.Is(err, chunks.ErrCorrupt):
		e.log.Warn("index the chunks of a received file", "error", err)
		row.Stat.CTime = 0
		return row, nil
	case err != nil:
		return row, fmt.Errorf("index the chunks of a received file: %w", err)
	}
	row.File = n
	return row, nil
}

// afterCommit postpones what was not done. mu is held.
func (e *Engine) afterCommit(results []materialize.Result) {
	now := time.Now()
	left := e.leftBehind(results)
	for _, r := range results {
		if left[r.Path] {
			continue
		}
		switch r.State {
		case materialize.Done:
			e.st.settle(r.Path)
			if e.ajar[r.Path] {
				e.st.postpone(r.Path, postponed{why: whyOpen, at: now.Add(retryBlocked)})
			}
			if r.Dirty {
				e.watch.Requeue(r.Path)
			}
		case materialize.Raced:
			e.watch.Requeue(r.Path)
			e.st.postpone(r.Path, postponed{why: "changed here meanwhile", at: now.Add(retryLocal)})
		case materialize.Busy:
			if e.o.Mode == ModeReceive && r.Want.Kind == meta.Absent && r.Expect.Kind == vfs.Dir {
				e.st.keep(r.Path, keptHere{reason: whyHolds, disk: reconcile.Disk{
					Stat: r.Expect, Entry: meta.Entry{Kind: meta.Dir, Mode: r.Expect.Mode}, Hashed: true,
				}})
				e.leave(r.Path, whyHolds)
				break
			}
			e.st.postpone(r.Path, postponed{why: busyReason(r), at: now.Add(retryBusy)})
		case materialize.Missing:
			e.st.postpone(r.Path, postponed{why: "nobody online has its content", missing: true, size: r.Want.Size, at: now.Add(retryMissing)})
		default:
			if errors.Is(r.Err, vfs.ErrEscape) || errors.Is(r.Err, syscall.ENOTDIR) {
				// The user put something else where its directory was: his change
				// is taken first.
				e.st.postpone(r.Path, postponed{why: "its directory was replaced here", at: now.Add(retryLocal)})
				break
			}
			reason := fmt.Sprintf("cannot be written: %v", r.Err)
			e.log.Warn("bring a path to the disk", "path", r.Path, "error", r.Err)
			e.st.postpone(r.Path, postponed{why: reason, blocked: reason, at: now.Add(retryBlocked)})
		}
	}
	e.st.touch()
}

func busyReason(r materialize.Result) string {
	if r.Want.Kind == meta.Absent && r.Expect.Kind == vfs.Dir {
		return "the directory is not empty"
	}
	return "a program has it open for writing"
}

// stageFailed postpones what could not be staged: for want of room, above all.
func (e *Engine) stageFailed(ctx context.Context, items []materialize.Item, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.log.Error("stage", "files", len(items), "error", err)
	reason := fmt.Sprintf("cannot be staged: %v", err)
	for _, it := range items {
		e.st.postpone(it.Path, postponed{why: reason, blocked: reason, lacking: true, size: it.Want.Size, at: time.Now().Add(retryBlocked)})
	}
	return nil
}
