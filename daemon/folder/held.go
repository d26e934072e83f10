package folder

import (
	"context"
	"errors"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher"
)

// brake holds a mass deletion. What is held is every recorded path that is missing
// from the disk: its record stays, and nothing is proposed of it, until the user says
// what it is or it is back. Guarded by Engine.mu.
type brake struct {
	on     bool
	held   local.Held
	recent recently
	// paths is how many files and symlinks were recorded when they were last counted,
	// less those of which the record was dropped since, by whatever, and with those
	// that were brought. Never more than there are: else a part would look small.
	paths int
	// few is since when so few were missing, and always the same number, that they are
	// no mass deletion any more; zero while they are one.
	few time.Time
	// counted is when everything was counted last, took how long that took.
	counted time.Time
	took    time.Duration
}

// mayBeMore decides whether deletions that are few so far are counted too, with so many
// changes still on their way: the start of a mass deletion looks like that. The first
// deletions after a start always are, for the scan that finds them may find more. A
// folder for which counting takes long is counted less often.
func (b *brake) mayBeMore(now time.Time, behind int) bool {
	return b.counted.IsZero() || behind >= brakeBehind && now.Sub(b.counted) >= brakeRest*b.took
}

// missing is what a count of the records against the disk found.
type missing struct {
	files, paths int // files and symlinks: not on the disk, and all
	tops         []id.Path
}

// countMissing compares every record with the disk. mu is held.
func (e *Engine) countMissing() (m missing, err error) {
	began := time.Now()
	defer func() { e.brake.counted = time.Now(); e.brake.took = e.brake.counted.Sub(began) }()
	f, err := e.openFS()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	gone := make(map[id.Path]bool) // directories
	err = e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		if e.isLeft(p, r.Stat.Kind == vfs.Dir) {
			return nil
		}
		below := gone[p.Dir()]
		if !below {
			if st, err := lstat(f, p); err != nil || st.Kind != vfs.Absent {
				m.count(r, false)
				return nil // what cannot be looked at is not deleted
			}
			m.tops = append(m.tops, p)
		}
		m.count(r, true)
		if r.Stat.Kind == vfs.Dir {
			gone[p] = true
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	// What seems gone was so while the root was there.
	return m, watcher.CheckOpened(f, e.o.ID)
}

func (m *missing) count(r local.Row, gone bool) {
	if r.Stat.Kind == vfs.Dir {
		return
	}
	m.paths++
	if gone {
		m.files++
	}
}

// checkBrake looks whether what a batch deletes is part of a mass deletion, and then
// holds all of it, before anything of the batch is proposed. A program that is deleting
// is waited for: its batches come one after the other, and each alone looks small.
// behind is how many changes are still on their way.
func (e *Engine) checkBrake(ctx context.Context, f vfs.FS, all []*found, behind int) error {
	if e.o.Mode == ModeReceive {
		return nil
	}
	gone, moved, count, err := e.weigh(f, all, behind)
	if err != nil || !count {
		return err
	}
	last := -1
	for began := time.Now(); ; {
		now, done, err := e.decideBrake(gone, moved, last, time.Since(began) > brakePatience)
		if err != nil || done {
			return err
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(e.calm):
		}
	}
}

// weigh counts what a batch takes off the disk, and what of that it only moves. It
// says whether everything missing is to be counted; otherwise the batch may go.
func (e *Engine) weigh(f vfs.FS, all []*found, behind int) (gone, moved int, count bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.brake.on {
		return 0, 0, false, nil
	}
	for _, fd := range all {
		n, m, err := e.weighOne(f, fd)
		if err != nil {
			return 0, 0, false, err
		}
		gone, moved = gone+n, moved+m
	}
	if gone <= moved {
		return gone, moved, false, nil
	}
	now := time.Now()
	recent := e.brake.recent.sum(now)
	if worthCounting(gone-moved+recent, e.brake.paths+recent, e.least) || e.brake.mayBeMore(now, behind) {
		return gone, moved, true, nil
	}
	e.brake.recent.add(now, gone-moved)
	return gone, moved, false, nil
}

// dropped notes that a record was dropped.
func (b *brake) dropped(r local.Row) {
	if r.Stat.Kind == vfs.File || r.Stat.Kind == vfs.Symlink {
		b.paths = max(0, b.paths-1)
	}
}

func (e *Engine) weighOne(f vfs.FS, fd *found) (gone, moved int, err error) {
	row, had, err := e.o.Local.Get(e.o.ID, fd.path)
	if err != nil || e.isLeft(fd.path, row.Stat.Kind == vfs.Dir) {
		return 0, 0, err
	}
	if had && row.Stat.Kind == vfs.Dir && fd.disk.Stat.Kind != vfs.Dir {
		err = e.o.Local.Below(e.o.ID, fd.path, func(_ id.Path, r local.Row) error {
			if r.Stat.Kind != vfs.Dir {
				gone++
			}
			return nil
		})
		return gone, 0, err
	}
	if fd.told.Kind == vfs.Absent {
		if had {
			gone = 1
		}
		return gone, 0, nil
	}
	if fd.disk.Stat.Kind != vfs.File || !fd.disk.Hashed {
		return 0, 0, nil
	}
	_, row, ok, err := e.movedFrom(f, fd.path, fd.disk.Stat)
	if err == nil && ok && row.Entry == fd.disk.Entry {
		moved = 1
	}
	return 0, moved, err
}

// decideBrake counts what is missing now, and holds it if it is too much. It is done
// too once the count stands still, or shows nothing but the batch.
func (e *Engine) decideBrake(gone, moved, last int, late bool) (now int, done bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, err := e.countMissing()
	if err != nil {
		return 0, false, err
	}
	at := time.Now()
	recent := e.brake.recent.sum(at)
	deleted := m.files - moved
	if braked(deleted+recent, m.paths+recent, e.least) {
		return m.files, true, e.hold(local.Held{Since: at, Deletes: deleted, Paths: m.paths + recent})
	}
	if m.files > gone && m.files != last && !late {
		return m.files, false, nil
	}
	e.brake.paths = m.paths
	e.brake.recent.add(at, gone-moved)
	return m.files, true, nil
}

// hold holds deletions from now on, durably: a restart does not let them go. mu is held.
func (e *Engine) hold(h local.Held) error {
	b := e.o.Local.NewBatch()
	b.SetHeld(e.o.ID, h)
	if err := b.Commit(true); err != nil {
		return err
	}
	e.setHeld(h)
	e.log.Warn("deletions are held", "deletes", h.Deletes, "paths", h.Paths)
	return nil
}

// setHeld remembers what is held. mu is held.
func (e *Engine) setHeld(h local.Held) {
	e.brake.on, e.brake.held = true, h
	e.st.setHeld(&h)
}

// loadHeld remembers what was held before the start. A node that proposes nothing
// holds nothing; what was held before is held again once it proposes.
func (e *Engine) loadHeld() error {
	if e.o.Mode == ModeReceive {
		return nil
	}
	h, ok, err := e.o.Local.Held(e.o.ID)
	if err != nil || !ok {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.setHeld(h)
	return nil
}

// release ends holding, with the rows that go with that, and has everything that was
// left alone looked at again. mu is held.
func (e *Engine) release(b *local.Batch, again []id.Path) error {
	b.DropHeld(e.o.ID)
	if err := b.Commit(true); err != nil {
		return err
	}
	e.brake = brake{paths: e.brake.paths, counted: e.brake.counted, took: e.brake.took}
	e.st.setHeld(nil)
	e.st.takeUp()
	e.watch.Requeue(again...)
	e.compareAll = true
	e.lookAgain()
	return nil
}

// goneWhileHeld is proposeGone while deletions are held: only what history does not
// have any more either is forgotten. mu is held.
func (e *Engine) goneWhileHeld(s *snap, p *proposal, path id.Path) error {
	c, err := e.decide(s, nil, path, reconcile.Disk{})
	if err != nil || c.Action != reconcile.Adopt || c.row.Stat.Kind == vfs.Dir {
		return err
	}
	if c.head.To != "" { // others moved it: what is held may follow
		e.st.postpone(path, postponed{why: whyFollow})
		e.lookAgain()
		return nil
	}
	return e.deleteOne(p, path, c)
}

// askRecount has what is held counted again soon.
func (e *Engine) askRecount() {
	select {
	case e.recount <- struct{}{}:
	default:
	}
}

// brakeLoop keeps count of what is held, for the user may put it back by himself.
func (e *Engine) brakeLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.recount:
		}
		began := time.Now()
		if err := e.recountHeld(); err != nil && ctx.Err() == nil {
			e.log.Warn("count held deletions", "error", err) // a root that is gone halts the watcher
		}
		e.mu.Lock()
		if !e.brake.few.IsZero() {
			time.AfterFunc(brakeWindow, e.askRecount)
		}
		e.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(time.Second, 10*time.Since(began))):
		}
	}
}

// recountHeld counts what is held. When nothing is missing any more, it was put back
// or had only been moved, and there is nothing to ask the user. The same goes for a
// few, once they are so for a while: a tree was removed and made again, say.
func (e *Engine) recountHeld() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.brake.on {
		return nil
	}
	m, err := e.countMissing()
	if err != nil {
		return err
	}
	now := time.Now()
	switch {
	case m.files >= e.least:
		e.brake.few = time.Time{}
	case e.brake.few.IsZero() || m.files != e.brake.held.Deletes:
		e.brake.few = now
	}
	if few := e.brake.few; m.files == 0 || !few.IsZero() && now.Sub(few) >= brakeWindow {
		e.log.Info("held deletions are undone: the files are back, or were only moved", "missing", m.files)
		return e.release(e.o.Local.NewBatch(), m.tops)
	}
	if h := e.brake.held; h.Deletes != m.files {
		h.Deletes = m.files
		e.setHeld(h)
	}
	return nil
}
