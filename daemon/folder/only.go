package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// outsideBatch bounds how many records are let go as one.
const outsideBatch = 1000

// version is the newest version of the path at the snap's head, an absence where this
// node does not keep what is there: of that it must not decide anything.
func (s *snap) version(p id.Path) (meta.Version, error) {
	v, err := s.anyVersion(p)
	if err == nil && s.e.outside(v) {
		v.Entry, v.From = meta.Entry{}, ""
	}
	return v, err
}

// anyVersion is version, whether this node keeps it or not.
func (s *snap) anyVersion(p id.Path) (meta.Version, error) {
	if v, ok := s.versions[p]; ok {
		return v, nil
	}
	if s.paths == nil {
		x, err := s.view.Paths(s.e.o.ID)
		if err != nil {
			return meta.Version{}, err
		}
		s.paths = x
	}
	v, _, err := s.paths.At(p, s.head.Revision)
	v.Path = p
	if err == nil {
		s.remember(v)
	}
	return v, err
}

// outside reports whether the head has something that this node does not keep.
func (e *Engine) outside(v meta.Version) bool {
	return v.Entry.Kind != meta.Absent && !e.o.Only.Keeps(v.Path, v.Entry.Kind == meta.Dir)
}

// rowOutside reports whether something is recorded that this node does not keep.
func (e *Engine) rowOutside(p id.Path, r local.Row) bool {
	return !e.o.Only.Keeps(p, r.Stat.Kind == vfs.Dir)
}

// diskOutside reports whether something is on the disk that this node does not keep.
func (e *Engine) diskOutside(p id.Path, st vfs.Stat) bool {
	return st.Kind != vfs.Absent && !e.o.Only.Keeps(p, st.Kind == vfs.Dir)
}

// mayLeave reports whether a record is to be let go: this node does not keep what is
// recorded, and the head has nothing else at the path that it does.
func (s *snap) mayLeave(p id.Path, r local.Row) (bool, error) {
	if !s.e.rowOutside(p, r) {
		return false, nil
	}
	v, err := s.version(p)
	return err == nil && v.Entry.Kind == meta.Absent, err
}

// never reports whether a version is none that a decision is to be made on: this node
// does not keep it, and nothing is recorded that it could replace or delete.
func (e *Engine) never(v meta.Version) (bool, error) {
	if e.o.Only == nil || !e.outside(v) && (v.Entry.Kind != meta.Absent || e.o.Only.Keeps(v.Path, true)) {
		return false, nil
	}
	_, had, err := e.o.Local.Get(e.o.ID, v.Path)
	return !had && err == nil, err
}

// wholly reports whether all that is below a directory is kept here, and will be once
// what is being set holds: then one change may stand for it. mu is held.
func (e *Engine) wholly(s *snap, dir id.Path) (bool, error) {
	if e.o.Only.Whole(dir) && e.leaving.Whole(dir) {
		return true, nil
	}
	err := s.view.Tree(e.o.ID, dir, s.head.Revision, func(v meta.Version) error {
		if e.outside(v) || e.isLeft(v.Path, v.Entry.Kind == meta.Dir) {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil, err
}

// whollyKept is wholly for who does not hold mu.
func (e *Engine) whollyKept(s *snap, dir id.Path) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wholly(s, dir)
}

// isLeft reports whether the path is about to be outside what this node keeps. mu is held.
func (e *Engine) isLeft(p id.Path, dir bool) bool { return !e.leaving.Keeps(p, dir) }

// Leave prepares for keeping less: from now on no deletion of what next does not keep is
// proposed, and when it returns, every other change that was on the disk at the time of
// the call is in the queue or in history. Files that a program holds open for writing
// are left out. Unless the engine is then replaced, Stay must be called.
func (e *Engine) Leave(ctx context.Context, next *ignore.Only) error {
	if err := e.running(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.leaving = next
	e.mu.Unlock()
	return e.watch.Flush(ctx)
}

// Stay takes Leave back.
func (e *Engine) Stay() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaving = nil
	e.watch.Requeue(e.unsaid...)
	e.unsaid = nil
}

// letOutsideGo drops the records of what this node does not keep any more, before
// anything is compared: then whatever is there, or is not, is nobody's change. What
// history may need of the files is packed before. It can be cut short at any time.
func (e *Engine) letOutsideGo(ctx context.Context) (err error) {
	if e.o.Only == nil {
		return nil
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, err := e.snap()
	if err != nil {
		return err
	}
	defer s.Close()
	l := leaver{e: e, f: f}
	err = e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		if leave, err := s.mayLeave(p, r); err != nil || !leave {
			return err
		}
		return l.one(ctx, p, r)
	})
	if err := errors.Join(err, l.flush(ctx)); err != nil {
		return err
	}
	if l.count > 0 {
		e.askRecount() // what is held may have been among them
		e.log.Info("paths that this node does not keep any more are let go", "paths", l.count)
	}
	return nil
}

// leaver lets records go.
type leaver struct {
	e     *Engine
	f     vfs.FS
	list  []leaving
	count int
}

// leaving is a record that goes; its place of chunks may have to stay.
type leaving struct {
	path  id.Path
	row   local.Row
	place bool
}

func (l *leaver) one(ctx context.Context, p id.Path, r local.Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	place, err := l.e.rescue(ctx, l.f, p, r)
	if err != nil {
		return fmt.Errorf("keep what history has of %q, which is not kept on this node any more: %w", string(p), err)
	}
	l.list = append(l.list, leaving{p, r, place})
	if len(l.list) < outsideBatch {
		return nil
	}
	return l.flush(ctx)
}

func (l *leaver) flush(ctx context.Context) error {
	if len(l.list) == 0 {
		return nil
	}
	if err := l.e.o.Chunks.Sync(ctx); err != nil {
		return err
	}
	if err := failpoint.Hit("folder/leaving"); err != nil {
		return err
	}
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	b := l.e.o.Local.NewBatch()
	for _, x := range l.list {
		l.e.dropOutside(b, x)
	}
	l.count += len(l.list)
	l.list = l.list[:0]
	return b.Commit(false)
}

// dropOutside drops a record. mu is held.
func (e *Engine) dropOutside(b *local.Batch, x leaving) {
	if x.place {
		x.row.File = 0
	}
	e.dropRow(b, x.path, x.row)
}

// rescue packs what history may need of a file whose record is about to go. Where it
// cannot be read, the file stays the place of its chunks: they are verified whenever
// they are asked for. It fails where nothing can be kept.
func (e *Engine) rescue(ctx context.Context, f vfs.FS, p id.Path, r local.Row) (place bool, err error) {
	if st, err := lstat(f, p); err == nil && st.Kind != vfs.File {
		return false, nil // gone, or another thing: no bytes of it are here
	}
	err = e.packKept(ctx, f, p, r)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, chunks.ErrChanged):
		return false, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case noPlace(err):
		return false, err
	}
	e.log.Warn("pack a file that is not kept on this node any more", "path", p, "error", err)
	return true, nil
}

// leaveOutside lets go of those of the paths that are recorded and that this node does
// not keep: something of a kind that it does not took a kept one's place. It returns
// the others.
func (e *Engine) leaveOutside(ctx context.Context, s *snap, paths []id.Path) (others []id.Path, err error) {
	if e.o.Only == nil {
		return paths, nil
	}
	var f vfs.FS
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, p := range paths {
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err != nil {
			return nil, err
		}
		leave := false
		if had && !e.isUnderWay(row.Base.Own) {
			if leave, err = s.mayLeave(p, row); err != nil {
				return nil, err
			}
		}
		if !leave {
			others = append(others, p)
			continue
		}
		if f == nil {
			if f, err = e.openFS(); err != nil {
				return nil, err
			}
		}
		if err := e.leaveOne(ctx, f, p, row); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// leaveOne lets one record go, unless it has changed meanwhile.
func (e *Engine) leaveOne(ctx context.Context, f vfs.FS, p id.Path, row local.Row) error {
	place, err := e.rescue(ctx, f, p, row)
	if err == nil {
		err = e.o.Chunks.Sync(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			e.st.postpone(p, postponed{why: "what history has of it is being packed", at: time.Now().Add(retryBusy)})
			return nil
		}
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now, had, err := e.o.Local.Get(e.o.ID, p)
	if err != nil {
		return err
	}
	if had && now != row {
		e.st.postpone(p, postponed{why: whyFollow})
		e.lookAgain()
		return nil
	}
	b := e.o.Local.NewBatch()
	if had {
		e.dropOutside(b, leaving{p, row, place})
	}
	e.st.settle(p)
	return b.Commit(false)
}

// surveyWidened gives what was not kept here until now, and is on the disk, the base
// that history has for it: it may be an old version. Paths that were kept before have
// their records, or are new.
func (e *Engine) surveyWidened(ctx context.Context) (err error) {
	m, ok, err := e.o.Local.Folder(e.o.ID)
	if err != nil || !ok || len(m.Kept) == 0 {
		return err
	}
	o := SurveyOptions{ID: e.o.ID, Self: e.o.Self, Root: e.o.Root, Machine: e.o.Machine, Local: e.o.Local, Chunks: e.o.Chunks, Only: e.o.Only}
	for _, text := range m.Kept {
		was, err := ignore.ParseOnly(text)
		if err != nil {
			return fmt.Errorf("read what this node kept before: %w", err)
		}
		o.Kept = append(o.Kept, was)
	}
	s, err := NewSurvey(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Run(ctx); err != nil {
		return err
	}
	if err := e.o.Chunks.Sync(ctx); err != nil {
		return err
	}
	if err := failpoint.Hit("folder/widened"); err != nil {
		return err
	}
	m.Kept = nil
	b := e.o.Local.NewBatch()
	b.SetFolder(m)
	return b.Commit(true)
}
