package materialize

import (
	"context"
	"fmt"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// leftPrefix begins tmp/left-RANDOM/: the stages of a plan that a crash or the end of
// the program cut short. Whole files among them need not be pulled again.
const leftPrefix = "left-"

// leftover is a whole file of an earlier run.
type leftover struct {
	path id.Path
	stat vfs.Stat // when it was hashed
}

// setAside keeps the stages of a plan that was cut short. Its names say nothing of
// what they hold, so the files are hashed when something is to be staged.
func setAside(fsys vfs.FS, plan string) error {
	to := leftPrefix + strings.TrimPrefix(plan, planPrefix)
	if err := fsys.Rename(tmpDir.Join(plan), tmpDir.Join(to), vfs.NoReplace); err != nil {
		return fmt.Errorf("set aside stages: %w", err)
	}
	return nil
}

// cutShort keeps what was staged of a plan whose Stage was ended: big files in their
// places, and the small ones that are whole as leftovers, which this run knows.
func (x *Executor) cutShort(fsys vfs.FS, s *Staged) {
	x.release(s)
	plan := s.dir.Base()
	if err := setAside(fsys, plan); err != nil {
		x.log.Warn("keep stages", "dir", s.dir, "err", err) // Recover does it at the next start
		return
	}
	to := tmpDir.Join(leftPrefix + strings.TrimPrefix(plan, planPrefix))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.clean = false
	if x.found == nil {
		return // what is there has not been looked at yet; it will be, with this
	}
	for i, r := range s.plan.roles {
		st := &s.at[i]
		if r.stage == meta.File && st.path == st.tree && st.err == nil && st.stat.Kind == vfs.File && st.stat.Size > 0 {
			x.found[s.plan.items[i].Want.Content] = leftover{to + st.path[len(s.dir):], st.stat}
		}
	}
}

// lookForLeftovers hashes, once a run, what earlier ones have left.
func (x *Executor) lookForLeftovers(ctx context.Context, fsys vfs.FS) {
	x.mu.Lock()
	looked := x.found != nil
	x.mu.Unlock()
	if looked {
		return
	}
	found := make(map[id.Digest]leftover)
	names, err := fsys.ReadDir(tmpDir)
	for _, n := range names {
		if strings.HasPrefix(n, leftPrefix) {
			lookBelow(ctx, fsys, tmpDir.Join(n), found)
		}
	}
	if err != nil || ctx.Err() != nil {
		return
	}
	x.mu.Lock()
	x.found = found
	x.mu.Unlock()
}

// lookBelow adds the files below dir. What cannot be read is of no use.
func lookBelow(ctx context.Context, fsys vfs.FS, dir id.Path, found map[id.Digest]leftover) {
	if fsys.Chmod(dir, 0o700) != nil {
		return
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		p := dir.Join(n)
		st, err := fsys.Lstat(p)
		if err != nil || ctx.Err() != nil {
			return
		}
		switch {
		case st.Kind == vfs.Dir:
			lookBelow(ctx, fsys, p, found)
		case st.Kind == vfs.File && st.Size > 0 && st.Nlink <= 1:
			if sum, err := hashPath(fsys, p); err == nil {
				found[sum] = leftover{p, st}
			}
		}
	}
}

func hashPath(fsys vfs.FS, p id.Path) (id.Digest, error) {
	h, err := fsys.Open(p)
	if err != nil {
		return id.Digest{}, err
	}
	defer h.Close()
	return hashHandle(h)
}

// takeLeftover makes a whole file of an earlier run the stage at p, and opens it; nil
// where there is none.
func (x *Executor) takeLeftover(fsys vfs.FS, p id.Path, want meta.Entry) vfs.Handle {
	x.mu.Lock()
	l, ok := x.found[want.Content]
	if ok {
		delete(x.found, want.Content)
	}
	x.mu.Unlock()
	if !ok || l.stat.Size != want.Size {
		return nil
	}
	if st, err := fsys.Lstat(l.path); err != nil || !st.Same(l.stat) {
		return nil
	}
	if fsys.Rename(l.path, p, vfs.NoReplace) != nil {
		return nil
	}
	h, err := fsys.Open(p)
	if err == nil {
		return h
	}
	_ = fsys.Unlink(p) // a file is created there
	return nil
}

// DropLeftovers removes what was staged and is not used: by earlier runs, for versions
// that others have replaced meanwhile, or by stages that were cut short. It is called once
// everything that is wanted is on the disk.
func (x *Executor) DropLeftovers() error { return x.dropLeftovers(nil) }

// dropLeftovers removes it all but the big files of the items.
func (x *Executor) dropLeftovers(items []Item) error {
	x.mu.Lock()
	clean := x.clean
	x.mu.Unlock()
	if clean {
		return nil
	}
	fsys, err := x.open()
	if err != nil {
		return err
	}
	defer fsys.Close()
	names, err := fsys.ReadDir(tmpDir)
	if err != nil {
		return fmt.Errorf("drop left stages: %w", err)
	}
	keep := make(map[id.Path]bool)
	for _, it := range items {
		keep[bigPath(it.Want.Content)] = true
	}
	all := true
	for _, n := range names {
		p := tmpDir.Join(n)
		switch {
		case strings.HasPrefix(n, leftPrefix):
			err = removeAll(fsys, p)
		case strings.HasPrefix(n, bigPrefix) && keep[p]:
			all = false
		case strings.HasPrefix(n, bigPrefix):
			var dropped bool
			dropped, err = x.dropBig(fsys, p)
			all = all && dropped
		}
		if err != nil {
			return fmt.Errorf("drop left stages: %w", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.found, x.clean = map[id.Digest]leftover{}, all
	return nil
}

// dropBig removes a big file's stage, unless it is in use: whoever wants it says so under
// the same lock before it is opened.
func (x *Executor) dropBig(fsys vfs.FS, p id.Path) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.inUse[p] {
		return false, nil
	}
	delete(x.partial, p)
	return true, fsys.Unlink(p)
}
