package materialize

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// Recover finishes or undoes what a crash cut short, and takes up what is kept.
// It must be called before the first scan, and after an error of Commit; after a
// crash within it, again: each step looks at what is there and is idempotent.
// Stages are kept for the next Stage, which uses what is whole or can be gone on with.
//
// What it leaves is one of: the old version, the new version, or the user's own
// file at each path. Which versions are there without being recorded is for
// Options.Settle to find out.
func (x *Executor) Recover(ctx context.Context) (err error) {
	fsys, err := x.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	x.mu.Lock()
	clear(x.kept)
	clear(x.inUse)
	x.found, x.clean = nil, false
	x.mu.Unlock()
	names, err := fsys.ReadDir(tmpDir)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, intentsPrefix) && ctx.Err() == nil {
			if err := x.recoverBatch(fsys, n); err != nil {
				return fmt.Errorf("recover: %w", err)
			}
		}
	}
	if err := x.takeUpKept(fsys); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err // some intents were left for the next start: nothing is settled yet
	}
	if err := x.settle(); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	// Last, for the intents above tell which names below tmp are not stages.
	for _, n := range names {
		if strings.HasPrefix(n, intentsPrefix) || x.stillUseful(fsys, n) || ctx.Err() != nil {
			continue
		}
		if strings.HasPrefix(n, planPrefix) && setAside(fsys, n) == nil {
			continue
		}
		if err := removeAll(fsys, tmpDir.Join(n)); err != nil {
			return fmt.Errorf("recover: remove stages: %w", err)
		}
	}
	return ctx.Err()
}

// settle lets the caller record what it can, in the order of the kept files' names.
func (x *Executor) settle() error {
	if x.opts.Settle == nil {
		return nil
	}
	x.mu.Lock()
	kept := make([]Kept, 0, len(x.kept))
	for _, k := range x.kept {
		kept = append(kept, k.Kept)
	}
	x.mu.Unlock()
	sort.Slice(kept, func(a, b int) bool { return kept[a].File < kept[b].File })
	return x.opts.Settle(kept)
}

// bigAge is how long a stage of an earlier run waits to be wanted again.
const bigAge = 7 * 24 * time.Hour

func (x *Executor) stillUseful(fsys vfs.FS, name string) bool {
	if !strings.HasPrefix(name, bigPrefix) && !strings.HasPrefix(name, leftPrefix) {
		return false
	}
	st, err := fsys.Lstat(tmpDir.Join(name))
	return err != nil || x.now().UnixNano()-st.CTime < int64(bigAge)
}

// recoverBatch deals with one file of intents.
func (x *Executor) recoverBatch(fsys vfs.FS, name string) error {
	p := tmpDir.Join(name)
	list, err := readIntents(fsys, p)
	if errors.Is(err, errIntents) {
		// It was not durable, so nothing of it was done.
		x.log.Info("drop unfinished intents", "file", p, "err", err)
		return fsys.Unlink(p)
	}
	if err != nil {
		return err
	}
	touched := map[id.Path]bool{tmpDir: true}
	r := &recovery{x: x, fs: fsys, touch: func(d id.Path) { touched[d] = true }}
	for i := len(list) - 1; i >= 0; i-- { // newest first: what was lifted is back before its parent
		if err := r.step(&list[i]); err != nil {
			return fmt.Errorf("%v %q: %w", list[i].op, list[i].path, err)
		}
		if err := failpoint.Hit("materialize/recover-step"); err != nil {
			return err
		}
	}
	if err := fsys.SyncAll(); err != nil {
		return err
	}
	batch := strings.TrimPrefix(name, intentsPrefix)
	if strings.Contains(batch, "-") { // only modes: nothing of it is in kept
		return fsys.Unlink(p)
	}
	if err := fsys.Rename(p, batchPath(batch), vfs.NoReplace); err != nil {
		return err
	}
	return fsys.SyncDir(keptDir)
}

type recovery struct {
	x     *Executor
	fs    vfs.FS
	touch func(id.Path)
}

func (r *recovery) step(in *intent) error {
	switch in.op {
	case opRemove:
		return r.displaced(in)
	case opPut:
		if in.lifted {
			return r.lifted(in)
		}
		return r.put(in)
	case opLift:
		return r.lift(in)
	case opAttr:
		return r.attr(in)
	case opDirMode:
		return r.dirMode(in)
	}
	return nil // opMove and opRmdir are one step each: done or not
}

// displaced puts a file back that was taken from its path and is not what was
// expected there. What was expected stays in kept.
func (r *recovery) displaced(in *intent) error {
	st, err := r.fs.Lstat(in.kept)
	if err != nil || st.Kind == vfs.Absent || st.SameIgnoringCTime(in.expect) {
		return err
	}
	return r.back(in.kept, in.path)
}

// back moves p to path if that is free. If not, a file stays in kept,
// whence Sweep gives it back; anything else goes beside path.
func (r *recovery) back(p, path id.Path) error {
	err := r.fs.Rename(p, path, vfs.NoReplace)
	if err == nil || classify(err) != Raced {
		return err
	}
	st, err := r.fs.Lstat(p)
	if err != nil || st.Kind == vfs.File || st.Kind == vfs.Symlink || st.Kind == vfs.Absent {
		return err
	}
	return beside(r.fs, p, path, r.touch)
}

// put looks at what is where the stage was: the stage itself (nothing was done,
// or it was undone), or what it was exchanged with.
func (r *recovery) put(in *intent) error {
	if in.new.Kind == vfs.Absent {
		return nil // there was no stage to put in place: what lies there is half written
	}
	st, err := r.fs.Lstat(in.stage)
	if err != nil {
		return err
	}
	isStage := st.Kind == in.new.Kind && st.Ino == in.new.Ino
	if st.Kind == vfs.Absent || isStage {
		if err := r.displaced(in); err != nil {
			return err
		}
		if isStage {
			return r.refill(in)
		}
		return nil
	}
	if st.Kind == vfs.Dir && in.expect.Kind == vfs.Dir && st.Ino == in.expect.Ino {
		if r.fs.Rmdir(in.stage) == nil {
			return nil // it was empty, as expected
		}
	} else if st.SameIgnoringCTime(in.expect) {
		return r.fs.Rename(in.stage, in.kept, vfs.NoReplace)
	}
	// The user's: it was exchanged, and the crash came before the check.
	at, err := r.fs.Lstat(in.path)
	if err != nil {
		return err
	}
	if at.SameIgnoringCTime(in.new) {
		return r.fs.Rename(in.stage, in.path, vfs.Exchange)
	}
	if st.Kind == vfs.File || st.Kind == vfs.Symlink {
		if at.Kind == vfs.Absent {
			err := r.fs.Rename(in.stage, in.path, vfs.NoReplace)
			if classify(err) != Raced {
				return err
			}
			// Its directory is gone, or is something else now: Sweep gives it back.
		}
		return r.fs.Rename(in.stage, in.kept, vfs.NoReplace)
	}
	return r.back(in.stage, in.path)
}

// refill undoes moving aside, or removing, what was at the path: where there is
// no exchange, the path is absent for a moment, which must not be taken for the
// user's delete.
func (r *recovery) refill(in *intent) error {
	at, err := r.fs.Lstat(in.path)
	if err != nil || at.Kind != vfs.Absent || in.expect.Kind == vfs.Absent {
		return err
	}
	if in.expect.Kind == vfs.Dir {
		err = r.fs.Mkdir(in.path, in.expect.Mode)
		if err == nil {
			err = r.fs.Chmod(in.path, in.expect.Mode)
		}
	} else {
		st, serr := r.fs.Lstat(in.kept)
		if serr != nil || st.Kind == vfs.Absent {
			return serr // the user removed it
		}
		err = r.fs.Rename(in.kept, in.path, vfs.NoReplace)
	}
	if classify(err) == Raced {
		return nil
	}
	return err
}

// lifted looks at what is where a lifted thing was: the thing itself (lift deals
// with it), or what it was exchanged with.
func (r *recovery) lifted(in *intent) error {
	st, err := r.fs.Lstat(in.stage)
	if err != nil || st.Kind == vfs.Absent || st.Kind == in.new.Kind && st.Ino == in.new.Ino {
		if err == nil {
			err = r.displaced(in)
		}
		if err == nil && st.Kind != vfs.Absent {
			err = r.refill(in)
		}
		return err
	}
	return r.put(in)
}

// lift puts a lifted thing back, or if its old path is taken, at its new one.
func (r *recovery) lift(in *intent) error {
	st, err := r.fs.Lstat(in.stage)
	if err != nil || st.Kind == vfs.Absent {
		return err
	}
	for _, p := range []id.Path{in.from, in.path} {
		if err := r.fs.Rename(in.stage, p, vfs.NoReplace); err == nil || classify(err) != Raced {
			return err
		}
	}
	return r.back(in.stage, in.path)
}

// attr finishes setting a file's attributes, unless somebody has written since.
func (r *recovery) attr(in *intent) error {
	st, err := r.fs.Lstat(in.path)
	if err != nil || st.Kind != vfs.File || st.Ino != in.expect.Ino || st.Size != in.expect.Size ||
		st.MTime != in.expect.MTime || st.Mode != in.new.Mode || st.MTime == in.new.MTime {
		return err
	}
	return r.fs.SetMTime(in.path, in.new.MTime) // the mode was set, the mtime not yet
}

// dirMode gives a directory the mode that it was to have at the end, if it still
// has the one that it had for a while.
func (r *recovery) dirMode(in *intent) error {
	st, err := r.fs.Lstat(in.path)
	if err != nil || st.Kind != vfs.Dir || st.Ino != in.expect.Ino || st.Mode != in.expect.Mode || st.Mode == in.new.Mode {
		return err
	}
	return r.fs.Chmod(in.path, in.new.Mode)
}

// takeUpKept registers what lies in kept, by the descriptions that lie beside it.
// After a restart nothing is proven: contents decide.
func (x *Executor) takeUpKept(fsys vfs.FS) error {
	names, err := fsys.ReadDir(keptDir)
	if err != nil {
		return err
	}
	known := map[id.Path]bool{}
	for _, n := range names {
		batch, ok := strings.CutSuffix(n, batchSuffix)
		if !ok {
			continue
		}
		list, err := readIntents(fsys, keptDir.Join(n))
		if errors.Is(err, errIntents) {
			// What it described stays where it is: nobody knows what it was.
			x.log.Error("the description of displaced files is damaged and set aside; look at the files", "file", keptDir.Join(n), "error", err)
			if err := fsys.Rename(keptDir.Join(n), keptDir.Join(batch+".damaged"), vfs.NoReplace); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		live := false
		for i := range list {
			k, err := x.takeUp(fsys, batch, &list[i])
			if err != nil {
				return err
			}
			if k != nil {
				live = true
				known[k.File] = true
			}
		}
		if !live {
			if err := fsys.Unlink(keptDir.Join(n)); err != nil {
				return err
			}
		}
	}
	for _, n := range names {
		if p := keptDir.Join(n); !strings.HasSuffix(n, batchSuffix) && !known[p] {
			x.log.Warn("a displaced file that no batch tells about is left alone", "file", p)
		}
	}
	return nil
}

func (x *Executor) takeUp(fsys vfs.FS, batch string, in *intent) (*keptEntry, error) {
	p, path := in.kept, in.path
	if in.op == opLift {
		p, path = in.stage, in.from
	}
	if p == "" {
		return nil, nil
	}
	st, err := fsys.Lstat(p)
	if err != nil || st.Kind != vfs.File && st.Kind != vfs.Symlink {
		return nil, err
	}
	k := &keptEntry{
		Kept:  Kept{File: p, Path: path, Was: in.was, WasVersion: in.wasVer, Stat: st, Target: in.was.Target},
		batch: batch,
		due:   x.now().Add(hashedAge),
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept[p] = k
	return k, nil
}
