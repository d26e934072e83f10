package materialize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// leasedAge is how long a file is kept that was under a lease while it was
	// moved: who had resolved its name just before still comes to write to it.
	leasedAge = 2 * time.Second
	// hashedAge is how long it is kept where nothing proved that nobody had it open
	// for writing; then its content decides.
	hashedAge = 60 * time.Second
	// retryAge is when a file is looked at again that somebody has open for writing,
	// or that the Keeper could not take.
	retryAge = 5 * time.Second
	// freshAge: a file last written this short a time before it was displaced is
	// hashed, for a later write within the clock's tick would not show in its times.
	freshAge = 100 * time.Millisecond
	// sweepers look at files at the same time: what they rescue becomes durable together.
	sweepers = 16
)

// keptEntry is a displaced file that waits to be swept.
type keptEntry struct {
	Kept
	batch  string
	proven bool // its stat is known to be of the bytes that history holds
	due    time.Time
}

// keep registers what was displaced from path to p. It is swept once the batch
// is promoted.
func (c *commit) keep(in *intent, p, path id.Path, st vfs.Stat, proven bool) {
	k := &keptEntry{
		Kept:   Kept{File: p, Path: path, Was: in.was, WasVersion: in.wasVer, Stat: st, Target: in.was.Target},
		batch:  c.batch,
		proven: proven && st.CTime-st.MTime > int64(freshAge),
		due:    c.x.now().Add(leasedAge),
	}
	if !proven {
		k.due = c.x.now().Add(hashedAge)
	}
	c.kept = append(c.kept, k)
}

func (c *commit) unkeep(p id.Path) {
	for i, k := range c.kept {
		if k.File == p {
			c.kept = append(c.kept[:i], c.kept[i+1:]...)
			return
		}
	}
}

// giveBack deals with a thing of the user's, now at p in Lockstep's directory,
// whose path is taken again: a file becomes a local change by way of kept;
// anything else goes beside its path under a name of its own.
func (c *commit) giveBack(in *intent, p, path id.Path) {
	st, err := c.fs.Lstat(p)
	if err == nil && st.Kind == vfs.Absent {
		return
	}
	if err == nil && (st.Kind == vfs.File || st.Kind == vfs.Symlink) {
		to := p
		if in.kept != "" && p != in.kept {
			if err = c.rename(p, in.kept, vfs.NoReplace); err == nil {
				to = in.kept
			}
		}
		if err == nil {
			c.keep(in, to, path, st, false)
			c.kept[len(c.kept)-1].due = c.x.now()
			return
		}
	}
	if err == nil {
		err = beside(c.fs, p, path, c.touch)
	}
	if err != nil {
		// It stays where it is: the batch's intents stay too, so that Recover knows it.
		c.fatal = fmt.Errorf("give back what the user made at %q, now at %q: %w", path, p, err)
	}
}

// beside renames p to a free name beside path, or at the root if path's
// directory is gone.
func beside(fsys vfs.FS, p, path id.Path, touch func(id.Path)) error {
	var err error
	for _, dir := range []id.Path{path.Dir(), ""} {
		for n := 1; n < 100; n++ {
			base := path.Base()
			suffix := fmt.Sprintf(" (recovered %d)", n)
			if len(base)+len(suffix) > id.MaxComponent {
				base = strings.ToValidUTF8(base[:id.MaxComponent-len(suffix)], "")
			}
			if err = fsys.Rename(p, dir.Join(base+suffix), vfs.NoReplace); err == nil {
				touch(dir)
				touch(p.Dir())
				return nil
			}
			if !errors.Is(err, fs.ErrExist) {
				break
			}
		}
	}
	return err
}

// Swept counts what one Sweep did.
type Swept struct {
	Dropped  int
	Returned int
	Waiting  int // still kept
	// Next is when the next kept file is due; zero if there is none.
	Next time.Time
}

// Sweep drops or gives back the kept files that are due. It returns errors that
// concern all of them; what concerns one is logged, and tried again later. It does
// nothing, and opens nothing, while no file is due.
func (x *Executor) Sweep(ctx context.Context) (out Swept, err error) {
	now := x.now()
	var due []*keptEntry
	x.mu.Lock()
	for _, k := range x.kept {
		if !k.due.After(now) {
			due = append(due, k)
		}
	}
	x.mu.Unlock()
	if len(due) > 0 {
		sort.Slice(due, func(a, b int) bool { return due[a].File < due[b].File })
		if err = x.sweep(ctx, due, &out); err != nil {
			err = fmt.Errorf("sweep: %w", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	out.Waiting = len(x.kept)
	for _, k := range x.kept {
		if out.Next.IsZero() || k.due.Before(out.Next) {
			out.Next = k.due
		}
	}
	return out, err
}

// KeptFiles is how many displaced files wait, and their bytes.
func (x *Executor) KeptFiles() (files int, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range x.kept {
		bytes += k.Stat.Size
	}
	return len(x.kept), bytes
}

func (x *Executor) sweep(ctx context.Context, due []*keptEntry, out *Swept) (err error) {
	fsys, err := x.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	var gone []*keptEntry
	var mu sync.Mutex // guards gone and out
	var g errgroup.Group
	g.SetLimit(sweepers)
	for _, k := range due {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			returned, serr := x.sweepOne(ctx, fsys, k)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case serr != nil:
				if !errors.Is(serr, vfs.ErrBusy) && !errors.Is(serr, ErrChanged) {
					x.log.Warn("sweep a displaced file", "file", k.File, "path", k.Path, "err", serr)
				}
				x.mu.Lock()
				k.due = x.now().Add(retryAge)
				x.mu.Unlock()
				return nil
			case returned:
				out.Returned++
			default:
				out.Dropped++
			}
			gone = append(gone, k)
			return nil
		})
	}
	_ = g.Wait() // no error: each is told above
	return errors.Join(x.forget(fsys, gone), ctx.Err())
}

// forget removes the descriptions of batches of which nothing is kept any more,
// after the removal of what they described is durable.
func (x *Executor) forget(fsys vfs.FS, gone []*keptEntry) error {
	if len(gone) == 0 {
		return nil
	}
	if err := fsys.SyncDir(keptDir); err != nil {
		return err
	}
	left := map[string]bool{}
	x.mu.Lock()
	for _, k := range gone {
		delete(x.kept, k.File)
	}
	for _, k := range x.kept {
		left[k.batch] = true
	}
	x.mu.Unlock()
	for _, k := range gone {
		if left[k.batch] {
			continue
		}
		left[k.batch] = true // once
		if err := fsys.Unlink(batchPath(k.batch)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweepOne drops k if history holds its bytes, else gives it back and drops it
// then. ErrBusy and ErrChanged mean later.
func (x *Executor) sweepOne(ctx context.Context, fsys vfs.FS, k *keptEntry) (returned bool, err error) {
	st, err := fsys.Lstat(k.File)
	if err != nil || st.Kind == vfs.Absent {
		return false, err
	}
	info := k.Kept
	info.Stat = st
	g := &guard{}
	defer g.release()
	held := false
	if st.Kind == vfs.Symlink {
		if info.Target, err = fsys.Readlink(k.File); err != nil {
			return false, err
		}
		held = k.Was.Kind == meta.Symlink && info.Target == k.Was.Target
	} else {
		if g.h, err = openKept(fsys, k.File, &st); err != nil {
			return false, err
		}
		info.Stat = st
		held = k.proven && st.Same(k.Stat)
		if !held && k.Was.Kind == meta.File && st.Size == k.Was.Size {
			sum, err := hashHandle(g.h)
			if err != nil {
				return false, err
			}
			held = sum == k.Was.Content
		}
	}
	if held {
		err = x.opts.Keeper.Rescue(ctx, info, g.h)
	} else if err = g.free(); err == nil {
		x.returning.Lock()
		err = x.opts.Keeper.Returned(ctx, info, g.h)
		x.returning.Unlock()
	}
	if err != nil {
		return false, err
	}
	if err := failpoint.Hit("materialize/before-drop"); err != nil {
		return false, err
	}
	return !held, drop(fsys, k.File, st, g)
}

// openKept opens a kept file, which may have been unreadable where it was.
func openKept(fsys vfs.FS, p id.Path, st *vfs.Stat) (vfs.Handle, error) {
	h, err := fsys.Open(p)
	if !errors.Is(err, fs.ErrPermission) {
		return h, err
	}
	if err := fsys.Chmod(p, st.Mode|0o400); err != nil {
		return nil, err
	}
	if h, err = fsys.Open(p); err != nil {
		return nil, err
	}
	*st, err = fsys.Lstat(p)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// drop unlinks a kept file that still is as st says and that nobody has open for
// writing.
func drop(fsys vfs.FS, p id.Path, st vfs.Stat, g *guard) error {
	if g.h != nil {
		l, err := g.h.Lease()
		if err != nil && !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
		g.l = l
	}
	now, err := fsys.Lstat(p)
	if err != nil {
		return err
	}
	if !now.Same(st) || !g.held() {
		return ErrChanged
	}
	return fsys.Unlink(p)
}
