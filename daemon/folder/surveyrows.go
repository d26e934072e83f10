package folder

import (
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// record notes that the disk holds, at p, what a revision made. mu is held.
func (s *Survey) record(p id.Path, rev id.Revision, e meta.Entry, st vfs.Stat, file uint64) error {
	if s.o.Chunks == nil {
		return nil
	}
	base, err := s.base(rev)
	if err != nil {
		return err
	}
	return s.put(p, local.Row{Base: base, Entry: e, Stat: st, File: file})
}

// put writes one record. mu is held.
func (s *Survey) put(p id.Path, r local.Row) error {
	if s.rows == nil {
		s.rows = s.o.Local.NewBatch()
	}
	s.rows.Put(s.o.ID, p, r, nil)
	if s.count++; s.count%surveyRows == 0 {
		return s.flush()
	}
	return nil
}

func (s *Survey) flush() error {
	b := s.rows
	s.rows = nil
	if b == nil {
		return nil
	}
	return b.Commit(false)
}

// base names a revision of the folder. mu is held.
func (s *Survey) base(rev id.Revision) (meta.Base, error) {
	if b, ok := s.bases[rev]; ok {
		return b, nil
	}
	c, ok, err := s.view.Commit(s.o.ID, rev)
	if err == nil && !ok {
		err = fmt.Errorf("%w: no header of revision %s", meta.ErrDamaged, rev)
	}
	if err == nil {
		s.bases[rev] = c.Base()
	}
	return c.Base(), err
}

// dropLocations forgets the chunks of a file that no record names.
func (s *Survey) dropLocations(file uint64) error {
	if file == 0 {
		return nil
	}
	b := s.o.Local.NewBatch()
	b.DropFile(file)
	return errors.Join(b.Commit(false), s.o.Chunks.DropFile(file))
}

// Undo drops every record of the folder, which this node does not keep.
func (s *Survey) Undo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	return Forget(s.o.Local, s.o.Chunks, s.o.ID)
}
