package folder

import (
	"errors"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// placements puts what the executor is about to do into the local index's words.
func placements(items []materialize.Item, from []materialize.Source) []local.Placement {
	out := make([]local.Placement, len(items))
	for i, it := range items {
		out[i] = local.Placement{
			Path: it.Path, Version: it.Version, Want: it.Want, Ino: from[i].Ino, From: from[i].From,
			Was: it.Tag.(tag).row.Base,
		}
	}
	return out
}

// place makes durable what is about to be brought to the disk, and that the log is
// committed as far as the snap's. After a crash the disk may be newer than the rows,
// and than the state that the log is replayed to: without this, what others did
// would pass for the user's own change of an older version.
func (e *Engine) place(index uint64, coming []local.Placement) error {
	b := e.o.Local.NewBatch()
	b.Committed(e.o.ID, index)
	for _, p := range coming {
		b.Place(e.o.ID, p.Path, p)
	}
	return b.Commit(true)
}

// placed forgets what place kept: materialize.Options.Ended. What was done is
// recorded. What was not must be forgotten before its stage goes, durably, for the
// next file that gets the stage's inode is the user's.
func (e *Engine) placed(results []materialize.Result) error {
	b := e.o.Local.NewBatch()
	sync := false
	for _, r := range results {
		b.DropPlacement(e.o.ID, r.Path)
		sync = sync || r.State != materialize.Done
	}
	if err := b.Commit(sync); err != nil {
		return err
	}
	return failpoint.Hit("folder/placed")
}

// settling gives rows to what a crash left on the disk without one.
type settling struct {
	e    *Engine
	f    vfs.FS
	rows *local.Batch
	kept map[id.Path]id.Path // of what was displaced, by where it was
	// ours are placements whose inode is at their path, taken the paths from which
	// those were moved.
	ours  map[id.Path]vfs.Stat
	taken map[id.Path]bool
	// carried are paths whose records went along with a directory, unknown those that
	// cannot be looked at.
	carried, unknown map[id.Path]bool
}

// settlePlacements records what was brought to the disk before a crash and not
// recorded: materialize.Options.Settle. An inode tells it. What it is now, in bytes
// and attributes, is not proven: the rows have no ctime, so that the first scan
// hashes the files, and what the user did meanwhile is a change of this version.
func (e *Engine) settlePlacements(kept []materialize.Kept) (err error) {
	if err := e.forgetGivenBack(kept); err != nil {
		return err
	}
	list, err := e.o.Local.Placements(e.o.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return e.settleOn(f, list, kept)
}

// settleOn is settlePlacements on an open root.
func (e *Engine) settleOn(f vfs.FS, list []local.Placement, kept []materialize.Kept) error {
	s := &settling{e: e, f: f, kept: make(map[id.Path]id.Path), ours: make(map[id.Path]vfs.Stat), taken: make(map[id.Path]bool), carried: make(map[id.Path]bool), unknown: make(map[id.Path]bool)}
	for _, k := range kept {
		s.kept[k.Path] = k.File
	}
	for _, p := range list {
		if err := s.find(p); err != nil {
			return err
		}
	}
	s.rows = e.o.Local.NewBatch()
	for _, p := range list {
		if err := s.settle(p); err != nil {
			s.rows.Discard()
			return err
		}
	}
	for _, p := range list {
		if !s.unknown[p.Path] { // the scan lists those as blocked; the next start asks again
			s.rows.DropPlacement(e.o.ID, p.Path)
		}
	}
	return s.rows.Commit(true)
}

// forgetGivenBack drops the notes on displaced files that are gone by now.
func (e *Engine) forgetGivenBack(kept []materialize.Kept) error {
	keep := make(map[id.Path]bool, len(kept))
	for _, k := range kept {
		keep[k.File] = true
	}
	b := e.o.Local.NewBatch()
	if err := b.DropGivenBack(e.o.ID, keep); err != nil {
		b.Discard()
		return err
	}
	return b.Commit(false)
}

// find looks whether a placement was carried out. Of a directory that was moved as a
// whole, the records below it go along at once.
func (s *settling) find(p local.Placement) error {
	if p.Want.Kind == meta.Absent || p.Ino == 0 {
		return nil
	}
	st, err := lstat(s.f, p.Path)
	if err != nil {
		s.unknown[p.Path] = true
		return nil
	}
	if st.Ino != p.Ino || !materialize.SameKind(st.Kind, p.Want.Kind) {
		return nil
	}
	s.ours[p.Path] = st
	if p.From == "" {
		return nil
	}
	s.taken[p.From] = true
	if p.Want.Kind != meta.Dir {
		return nil
	}
	b := s.e.o.Local.NewBatch()
	err = s.e.o.Local.Below(s.e.o.ID, p.From, func(q id.Path, r local.Row) error {
		to := q.Rebase(p.From, p.Path)
		if st, err := lstat(s.f, to); err != nil || st.Kind != r.Stat.Kind || st.Ino != r.Stat.Ino {
			return nil // it is not there, or cannot be looked at
		}
		s.e.moveRow(b, q, to, r, r.Base)
		s.carried[to] = true
		return nil
	})
	if err != nil {
		b.Discard()
		return err
	}
	return b.Commit(false)
}

// settle gives one path the row that it would have had.
func (s *settling) settle(p local.Placement) error {
	row, had, err := s.e.o.Local.Get(s.e.o.ID, p.Path)
	if err != nil || had && row.Base == p.Version && row.Entry == p.Want {
		return err // it was recorded
	}
	if row.Base != p.Was && !s.carried[p.Path] {
		return nil // the row is newer than the placement
	}
	var old *local.Row
	if had {
		old = &row
	}
	st, ours := s.ours[p.Path]
	if p.Want.Kind == meta.Absent {
		now, err := lstat(s.f, p.Path)
		if err != nil {
			s.unknown[p.Path] = true
		}
		if err != nil || now.Kind != vfs.Absent || !had {
			return nil
		}
		s.displaced(p.Path, row)
		s.rows.Delete(s.e.o.ID, p.Path, row)
		return nil
	}
	if !ours {
		return nil
	}
	was := row // the record of the inode before
	if p.From != "" && !s.carried[p.Path] {
		if was, _, err = s.e.o.Local.Get(s.e.o.ID, p.From); err != nil {
			return err
		}
	}
	next := local.Row{Base: p.Version, Entry: p.Want, Stat: st}
	if was.Stat.Ino == p.Ino && was.Stat.Kind == st.Kind {
		next.Entry = halfDone(p.Want, was.Entry, st)
		next.File, next.Unpacked = was.File, was.Unpacked
	}
	// What the user did to it since is to show.
	next.Stat.CTime, next.Stat.Mode = 0, next.Entry.Mode
	if st.Kind == vfs.File {
		next.Stat.MTime, next.Stat.Size = next.Entry.MTime, next.Entry.Size
	}
	if had && row.File != next.File {
		s.displaced(p.Path, row)
	}
	s.rows.Put(s.e.o.ID, p.Path, next, old)
	return nil
}

// halfDone is want, but with those attributes that the disk still has of was: the
// crash may have come before they were set, and they are no change of the user's.
func halfDone(want, was meta.Entry, st vfs.Stat) meta.Entry {
	if st.Mode == was.Mode {
		want.Mode = was.Mode
	}
	if st.Kind == vfs.File && st.MTime == was.MTime {
		want.MTime = was.MTime
	}
	return want
}

// displaced keeps the number of a file that lies in kept now: what history needs of
// it is rescued before it is dropped.
func (s *settling) displaced(p id.Path, row local.Row) {
	if row.File == 0 || s.taken[p] {
		return
	}
	if k, ok := s.kept[p]; ok {
		s.rows.Kept(s.e.o.ID, k, row.File)
	}
}
