package folder

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// FirstPaths is how many paths of each standing a Plan names.
const FirstPaths = 10

// Plan is how a directory stands to the folder that it is to hold. Files and symlinks
// are counted, directories only where they clash.
type Plan struct {
	// By counts by standing, and First names the first paths of each.
	By    map[reconcile.Standing]int
	First map[reconcile.Standing][]id.Path
	// OnlyThere are in the folder and not here.
	OnlyThere      int
	FirstOnlyThere []id.Path
	// Unread could not be read, or changed meanwhile.
	Unread      int
	FirstUnread []id.Path
}

// SurveyOptions of NewSurvey; all but Chunks are required.
type SurveyOptions struct {
	ID      id.Folder
	Root    string
	Machine *meta.Machine
	Local   *local.DB
	// Self is this node: directories that it renamed itself are not followed.
	Self id.Node
	// Chunks is nil for a survey that only looks: it records nothing.
	Chunks *chunks.Store
	// Only is what of the folder this node keeps; nil is everything.
	Only *ignore.Only
	// Kept, for a folder that is mapped already, are what was kept here before: only
	// what one of them left out is looked at, and records that are there stay.
	Kept []*ignore.Only
}

// Survey compares a directory with a folder before this node keeps the folder there,
// and records what the directory holds of the folder's history: what is recorded is
// known bytes, so the head may take its place without a conflict and without a
// commit. The records count from the moment when the folder is mapped; until then
// Undo takes them back.
type Survey struct {
	o    SurveyOptions
	fs   vfs.FS
	view *meta.View
	head meta.Commit
	// rules are those on the disk so far; of the walk's goroutine alone.
	rules ignore.Set

	mu     sync.Mutex // guards what follows
	plan   Plan
	rows   *local.Batch
	count  int // of rows
	bases  map[id.Revision]meta.Base
	differ []differing
}

// differing is a path that is neither equal nor in history.
type differing struct {
	path  id.Path
	head  meta.Version
	stat  vfs.Stat
	entry meta.Entry // set once history is about to hold it
}

// surveyRows is how many records are written at once.
const surveyRows = 1000

// NewSurvey opens a survey; Close it. What an earlier one left behind is dropped, save
// with Kept, where it is the beginning of this one.
func NewSurvey(o SurveyOptions) (*Survey, error) {
	f, err := vfs.OpenReal(o.Root)
	if err != nil {
		return nil, err
	}
	s := &Survey{
		o: o, fs: f, view: o.Machine.View(), bases: make(map[id.Revision]meta.Base),
		plan: Plan{By: make(map[reconcile.Standing]int), First: make(map[reconcile.Standing][]id.Path)},
	}
	if s.head, err = s.view.Head(o.ID); err == nil && o.Chunks != nil && len(o.Kept) == 0 {
		err = s.Undo()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the survey. The records stay.
func (s *Survey) Close() error {
	if s.rows != nil {
		s.rows.Discard()
		s.rows = nil
	}
	return errors.Join(s.view.Close(), s.fs.Close())
}

// Run compares everything and returns the plan.
func (s *Survey) Run(ctx context.Context) (Plan, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(hashWorkers + 1)
	g.Go(func() error { return s.walk(ctx, g, "", false) })
	if err := g.Wait(); err != nil {
		return s.plan, err
	}
	if err := s.onlyThere(); err != nil {
		return s.plan, err
	}
	return s.plan, s.flush()
}

// walk looks at everything below dir; clash says that the folder has something else
// than a directory at dir or above it, and never had one there.
func (s *Survey) walk(ctx context.Context, g *errgroup.Group, dir id.Path, clash bool) error {
	names, err := s.fs.ReadDir(dir)
	if err != nil {
		s.unread(dir)
		return nil // it is listed as blocked once the folder runs
	}
	s.rules.Put(dir, watcher.ReadRules(s.fs, dir))
	rules := s.rules.In(dir) // s.o.Only is looked at by itself: rules leave what is tracked
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := dir.Join(name)
		if at.Check() != nil {
			continue
		}
		st, err := s.fs.Lstat(at)
		if err != nil {
			s.unread(at)
			continue
		}
		if !s.o.Only.Keeps(at, st.Kind == vfs.Dir) {
			continue
		}
		if rules.Match(at, st.Kind == vfs.Dir).Ignored() {
			if live, err := s.live(at); err != nil {
				return err
			} else if !live {
				continue // the user's own: neither sent nor, because it once was in the folder, removed
			}
		}
		was, err := s.wasKept(at, st.Kind == vfs.Dir)
		if err != nil {
			return err
		}
		switch st.Kind {
		case vfs.Dir:
			clash := clash
			if !was {
				clash, err = s.dir(at, st, clash)
			}
			if err == nil {
				err = s.walk(ctx, g, at, clash)
			}
			if err != nil {
				return err
			}
		case vfs.File, vfs.Symlink:
			if was {
				continue
			}
			job := func() error { return s.leaf(ctx, at, st, clash) }
			if g.TryGo(job) {
				continue
			}
			if err := job(); err != nil {
				return err
			}
		}
	}
	return nil
}

// wasKept reports whether the path needs no look, for it was kept here all the time, or
// an earlier survey that was cut short has recorded it.
func (s *Survey) wasKept(at id.Path, dir bool) (bool, error) {
	if len(s.o.Kept) == 0 {
		return false, nil
	}
	kept := !slices.ContainsFunc(s.o.Kept, func(o *ignore.Only) bool { return !o.Keeps(at, dir) })
	if kept {
		return true, nil
	}
	_, had, err := s.o.Local.Get(s.o.ID, at)
	return had, err
}

// live reports whether the head has something at the path.
func (s *Survey) live(at id.Path) (bool, error) {
	v, _, err := s.view.At(s.o.ID, at, s.head.Revision)
	return v.Entry.Kind != meta.Absent, err
}

// dir looks at a directory. One that the folder has is left to the engine; one that
// it had is recorded, so that it goes when what was in it has gone.
func (s *Survey) dir(at id.Path, st vfs.Stat, clash bool) (bool, error) {
	disk := meta.Entry{Kind: meta.Dir, Mode: st.Mode}
	head, past, err := s.past(at, disk)
	if err != nil || head.Entry.Kind == meta.Dir {
		return false, err
	}
	there, follows, err := s.landing(at, head)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(past) > 0:
		return false, s.record(at, past[0].Revision, disk, st, 0)
	case head.Entry.Kind != meta.Absent, follows && there.Entry.Kind != meta.Dir && there.Entry.Kind != meta.Absent:
		s.different(at, head, st)
		return true, nil
	case clash:
		s.differ = append(s.differ, differing{path: at, head: head, stat: st})
	}
	return clash, nil
}

// leaf looks at a file or symlink.
func (s *Survey) leaf(ctx context.Context, at id.Path, st vfs.Stat, clash bool) error {
	disk := meta.Entry{Kind: meta.Kind(st.Kind), Size: st.Size}
	if st.Kind == vfs.Symlink {
		target, err := s.fs.Readlink(at)
		if err != nil {
			s.unread(at)
			return nil
		}
		disk = meta.Entry{Kind: meta.Symlink, Target: target}
	}
	head, past, err := s.past(at, disk)
	if err != nil {
		return err
	}
	file := uint64(0)
	if st.Kind == vfs.File && len(past) > 0 {
		var ok bool
		if disk, st, file, ok, err = s.read(ctx, at); err != nil {
			return err
		} else if !ok {
			s.unread(at)
			return nil
		}
	}
	standing, v := reconcile.Stand(head, past, disk)
	if standing == reconcile.Fresh {
		clashes, err := s.clashesElsewhere(ctx, at, head, disk)
		if err != nil {
			return err
		}
		clash = clash || clashes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch standing {
	case reconcile.Equal, reconcile.Older, reconcile.Gone:
		s.note(standing, at)
		e := v.Entry
		if e.Kind == meta.File {
			e.Mode, e.MTime = st.Mode, st.MTime
		}
		return s.record(at, v.Revision, e, st, file)
	}
	if standing == reconcile.Different || clash {
		s.different(at, head, st)
	} else {
		s.note(standing, at)
	}
	return s.dropLocations(file)
}

// past returns the path's newest version, and those of all that can have the content
// of what is on the disk.
func (s *Survey) past(at id.Path, disk meta.Entry) (head meta.Version, out []meta.Version, err error) {
	first := true
	err = s.view.History(s.o.ID, at, func(v meta.Version) error {
		if v.Revision > s.head.Revision {
			return nil
		}
		if first {
			head, first = v, false
		}
		if reconcile.Candidate(v.Entry, disk) {
			out = append(out, v)
		}
		return nil
	})
	return head, out, err
}

// read hashes a file. A survey that records also notes which chunks it holds: like a
// received file, it is the place of its bytes, and before a later version takes its
// place they go to the packs.
func (s *Survey) read(ctx context.Context, at id.Path) (e meta.Entry, st vfs.Stat, file uint64, ok bool, err error) {
	h, err := s.fs.Open(at)
	if err != nil {
		return e, st, 0, false, nil
	}
	defer h.Close()
	if st, err = h.Stat(); err != nil || st.Kind != vfs.File {
		return e, st, 0, false, nil
	}
	if err := ripen(ctx, st, coarseTick); err != nil {
		return e, st, 0, false, err
	}
	var f chunks.File
	if s.o.Chunks == nil {
		f, err = sum(ctx, h, st.Size)
	} else {
		file = s.o.Local.NewFile()
		b := s.o.Local.NewBatch()
		b.SetFilePath(s.o.ID, at, file)
		if err := b.Commit(false); err != nil {
			return e, st, 0, false, err
		}
		f, err = s.o.Chunks.Ingest(ctx, h, st.Size, chunks.Locate(file))
	}
	if ctx.Err() != nil || errors.Is(err, chunks.ErrBroken) || errors.Is(err, chunks.ErrClosed) || diskFull(err) {
		return e, st, file, false, errors.Join(context.Cause(ctx), err, s.dropLocations(file))
	}
	after, serr := h.Stat()
	if err != nil || serr != nil || !after.Same(st) {
		return e, st, 0, false, s.dropLocations(file)
	}
	return fileEntry(st, f), st, file, true, nil
}

// sum hashes a file without keeping anything.
func sum(ctx context.Context, r io.ReaderAt, size int64) (f chunks.File, err error) {
	h := blake3.New()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		_, _ = h.Write(buf[:n])
		off += int64(n)
		if err != nil && off < size {
			return f, err
		}
	}
	f.Size = size
	h.Sum(f.Content[:0])
	return f, nil
}

// onlyThere counts what the folder has and the directory does not.
func (s *Survey) onlyThere() error {
	return s.view.Tree(s.o.ID, "", s.head.Revision, func(v meta.Version) error {
		if v.Entry.Kind == meta.Dir || !s.o.Only.Keeps(v.Path, false) {
			return nil
		}
		if st, err := lstat(s.fs, v.Path); err == nil && st.Kind == vfs.Absent {
			s.plan.OnlyThere++
			s.plan.FirstOnlyThere = first(s.plan.FirstOnlyThere, v.Path)
		}
		return nil
	})
}

func (s *Survey) unread(p id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan.Unread++
	s.plan.FirstUnread = first(s.plan.FirstUnread, p)
}

// first adds a path to the first few, in order.
func first(l []id.Path, p id.Path) []id.Path {
	i, _ := slices.BinarySearch(l, p)
	l = slices.Insert(l, i, p)
	return l[:min(len(l), FirstPaths)]
}

// note counts a path. mu is held.
func (s *Survey) note(st reconcile.Standing, p id.Path) {
	s.plan.By[st]++
	s.plan.First[st] = first(s.plan.First[st], p)
}

// different counts a path that differs. mu is held.
func (s *Survey) different(p id.Path, head meta.Version, st vfs.Stat) {
	s.note(reconcile.Different, p)
	s.differ = append(s.differ, differing{path: p, head: head, stat: st})
}
