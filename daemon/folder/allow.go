package folder

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// ErrNothingHeld is returned where there is nothing to allow or to revert.
var ErrNothingHeld = errors.New("nothing is held")

// Allowed counts what Allow lets go, or would: files and symlinks.
type Allowed struct {
	Deletes int
	Stay    int // others changed them since: that wins, and they come back
}

// Allow proposes exactly the deletions that are held. Who says so is told in the
// history. With dry it only counts them.
func (e *Engine) Allow(ctx context.Context, who string, dry bool) (out Allowed, err error) {
	if err := e.running(ctx); err != nil {
		return out, err
	}
	f, err := e.openFS()
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.over(); err != nil {
		return out, err
	}
	if !e.brake.on {
		return out, ErrNothingHeld
	}
	m, err := e.countMissing()
	if err != nil {
		return out, err
	}
	if out, err = e.countAllowed(m.tops); err != nil || dry {
		return out, err
	}
	all := make([]*found, len(m.tops))
	again := make([]id.Path, 0, len(m.tops))
	for i, p := range m.tops {
		all[i] = &found{path: p}
		again = append(again, p, p.Dir()) // a directory that something else took the place of
	}
	message := fmt.Sprintf("%d held deletions, allowed by %s", out.Deletes, who)
	for len(all) > 0 {
		n, err := e.proposeLocked(f, all, message)
		if err != nil {
			return out, err // the rest is held on
		}
		all = all[n:]
	}
	e.log.Warn("held deletions were allowed", "deletes", out.Deletes, "stay", out.Stay, "by", who)
	return out, e.release(e.o.Local.NewBatch(), again)
}

// countAllowed counts what the deletion of missing paths comes to, as far as this node
// knows the history. mu is held.
func (e *Engine) countAllowed(tops []id.Path) (out Allowed, err error) {
	s, err := e.snap()
	if err != nil {
		return out, err
	}
	defer s.Close()
	one := func(p id.Path, r local.Row) error {
		if r.Stat.Kind == vfs.Dir {
			return nil
		}
		v, err := s.version(p)
		switch {
		case err != nil || v.Entry.Kind == meta.Absent: // others deleted or moved it
		case r.Base.Own == 0 && v.Revision > r.Base.Revision:
			out.Stay++
		default:
			out.Deletes++
		}
		return err
	}
	for _, p := range tops {
		r, had, err := e.o.Local.Get(e.o.ID, p)
		if err == nil && had {
			err = one(p, r)
		}
		if err == nil {
			err = e.o.Local.Below(e.o.ID, p, one)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}
