package materialize

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"syscall"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	reserved id.Path = id.ReservedName
	tmpDir           = reserved + "/tmp"
	keptDir          = reserved + "/kept"

	planPrefix    = "p-"       // tmp/p-RANDOM/: the stages of one plan
	bigPrefix     = "big-"     // tmp/big-CONTENT: a big file's stage, found again after a restart
	intentsPrefix = "intents-" // tmp/intents-BATCH
	batchSuffix   = ".batch"   // kept/BATCH.batch: intents of a batch whose displaced files are still there

	// bigFile is the size from which a stage that was not finished or not used is
	// kept over a restart; below it, pulling again costs less than finding it.
	bigFile = 4 << 20
	// fillFiles and fillBytes bound one Fill request: many small files are pulled in
	// one go, and few enough are open at once.
	fillFiles = 64
	fillBytes = 8 << 20
	// groupSync is the number of files from which one syncfs costs less than an
	// fsync a file.
	groupSync = 64
)

// Staged is the outcome of Stage: to be given to Commit or Discard, once.
type Staged struct {
	plan *plan
	dir  id.Path // tmp/p-RANDOM; "" if nothing was staged
	at   []stage // one an item
	// loose: it is not durable yet.
	loose bool
}

// stage is one item's staged file, symlink or directory.
type stage struct {
	// path is where it is. tree is where it has to be when its subtree is moved;
	// it differs from path only for a big file, which Commit moves there first.
	path, tree id.Path
	stat       vfs.Stat
	err        error // why there is none
}

// Stage writes what items need into .lockstep/tmp and makes it durable. Files
// that cannot be had are no error: Commit reports them as Missing or Failed.
// Errors are *NoSpaceError, ErrBadPlan, the context's, and those of the
// filesystem that concern all files: a full disk, a failed fsync. What was staged
// when ctx ended is used by the next Stage that wants it, of this run or the next.
func (x *Executor) Stage(ctx context.Context, items []Item) (*Staged, error) {
	s, err := x.StageLoose(ctx, items)
	if err == nil {
		err = x.Settle(s)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Settle makes durable what StageLoose wrote. After an error, which is as Stage's, it is
// discarded.
func (x *Executor) Settle(s *Staged) (err error) {
	if !s.loose {
		return nil
	}
	fsys, err := x.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	if err := fsys.SyncAll(); err != nil {
		x.discard(fsys, s)
		return fmt.Errorf("stage: %w", &syncError{err})
	}
	s.loose = false
	return nil
}

// StageLoose is Stage, but that what it wrote may not be durable: Settle comes before
// Commit. So the disk can work for one plan while the next one is being staged.
func (x *Executor) StageLoose(ctx context.Context, items []Item) (_ *Staged, err error) {
	p, err := newPlan(items)
	if err != nil {
		return nil, err
	}
	s := &Staged{plan: p, at: make([]stage, len(items))}
	if !s.any() {
		return s, nil
	}
	fsys, err := x.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	if err := x.room(fsys, s.need(fsys), items); err != nil {
		return nil, err
	}
	x.lookForLeftovers(ctx, fsys)
	s.dir = tmpDir + "/" + planPrefix + id.Path(randomName())
	if err := x.stageAll(ctx, fsys, s); err != nil {
		if ctx.Err() != nil {
			x.cutShort(fsys, s)
		} else {
			x.discard(fsys, s)
		}
		return nil, fmt.Errorf("stage: %w", err)
	}
	return s, nil
}

// Discard removes what Stage wrote, where Commit will not be called.
func (x *Executor) Discard(s *Staged) {
	fsys, err := x.open()
	if err != nil {
		return // Recover removes it at the next start
	}
	x.discard(fsys, s)
	_ = fsys.Close()
}

// discard removes the plan's directory. Complete big files elsewhere stay for
// the next Stage; Recover does not remove them either.
func (x *Executor) discard(fsys vfs.FS, s *Staged) {
	x.release(s)
	if s.dir == "" {
		return
	}
	if err := removeAll(fsys, s.dir); err != nil {
		x.log.Warn("remove stages", "dir", s.dir, "err", err)
	}
}

func (x *Executor) open() (vfs.FS, error) {
	fsys, err := x.opts.FS()
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	for _, d := range []id.Path{tmpDir, keptDir} {
		err := fsys.Mkdir(d, 0o700)
		if err == nil {
			err = fsys.SyncDir(reserved) // else a power cut takes it with all that is in it
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, errors.Join(fmt.Errorf("open folder: %w", err), fsys.Close())
		}
	}
	return fsys, nil
}

// any reports whether anything is to be staged.
func (s *Staged) any() bool {
	return slices.ContainsFunc(s.plan.roles, func(r role) bool { return r.stage != meta.Absent })
}

// stageAll makes directories and symlinks, has the files filled, sets the
// directories' modes deepest first and makes all durable.
func (x *Executor) stageAll(ctx context.Context, fsys vfs.FS, s *Staged) error {
	if err := fsys.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	x.place(s)
	var dirs, files []int
	for _, i := range pathOrder(s.plan.items) {
		it, st := &s.plan.items[i], &s.at[i]
		switch s.plan.roles[i].stage {
		case meta.Dir:
			dirs = append(dirs, i)
			st.err = fsys.Mkdir(st.path, 0o700)
		case meta.Symlink:
			if st.err = fsys.Symlink(it.Want.Target, st.path); st.err == nil {
				st.stat, st.err = fsys.Lstat(st.path)
			}
		case meta.File:
			files = append(files, i)
		}
		if fatal(st.err) {
			return st.err
		}
	}
	group := len(files) >= groupSync
	if err := x.fillAll(ctx, fsys, s, files, !group); err != nil {
		return err
	}
	for n := len(dirs) - 1; n >= 0; n-- {
		if err := s.finishDir(fsys, dirs[n], !group); err != nil {
			return err
		}
	}
	if err := failpoint.Hit("materialize/before-stage-sync"); err != nil {
		return err
	}
	if group {
		s.loose = true
		return nil
	}
	for _, st := range s.plan.steps {
		if st.op == opPut && !st.lifted && st.expect.Kind != vfs.Absent {
			// Without exchange the old file is moved aside before the stage takes its
			// place: Recover must be able to tell by the stage how far that came.
			return fsys.SyncDir(s.dir)
		}
	}
	return nil
}

// place decides where each stage lies: a subtree staged whole is built in its
// final shape.
func (x *Executor) place(s *Staged) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n, i := range pathOrder(s.plan.items) {
		it, r, st := &s.plan.items[i], &s.plan.roles[i], &s.at[i]
		if r.stage == meta.Absent {
			continue
		}
		if r.leader == i {
			st.path = s.dir.Join(fmt.Sprint(n))
		} else {
			st.path = s.at[r.leader].tree + it.Path[len(s.plan.items[r.leader].Path):]
		}
		st.tree = st.path
		if r.stage != meta.File || it.Want.Size < bigFile {
			continue
		}
		if b := bigPath(it.Want.Content); !x.inUse[b] {
			x.inUse[b], x.clean = true, false
			st.path = b
		}
	}
}

// release lets go of the names of big files that s owns.
func (x *Executor) release(s *Staged) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range s.at {
		if st := &s.at[i]; st.path != st.tree {
			delete(x.inUse, st.path)
		}
	}
}

func pathOrder(items []Item) []int {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return items[order[a]].Path < items[order[b]].Path })
	return order
}

func bigPath(c id.Digest) id.Path { return tmpDir + "/" + bigPrefix + id.Path(c.String()) }

func (s *Staged) finishDir(fsys vfs.FS, i int, sync bool) error {
	st := &s.at[i]
	if st.err != nil {
		return nil
	}
	mode := s.plan.items[i].Want.Mode
	if s.plan.roles[i].lateMode {
		mode |= 0o700
	}
	st.err = fsys.Chmod(st.path, mode)
	if st.err == nil {
		st.stat, st.err = fsys.Lstat(st.path)
	}
	if sync && st.err == nil {
		return fsys.SyncDir(st.path)
	}
	return nil
}

// fillAll has files filled by a few workers, many small ones in one request.
func (x *Executor) fillAll(ctx context.Context, fsys vfs.FS, s *Staged, files []int, sync bool) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(x.opts.Workers)
	for len(files) > 0 && gctx.Err() == nil {
		n, size := 0, int64(0)
		for n < len(files) && n < fillFiles && (n == 0 || size+s.plan.items[files[n]].Want.Size <= fillBytes) {
			size += s.plan.items[files[n]].Want.Size
			n++
		}
		part := files[:n]
		files = files[n:]
		g.Go(func() error { return x.fill(gctx, fsys, s, part, sync) })
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// fill stages part. Only errors that concern all files are returned.
func (x *Executor) fill(ctx context.Context, fsys vfs.FS, s *Staged, part []int, sync bool) error {
	var reqs []FillRequest
	var of []int
	handles := make([]vfs.Handle, 0, len(part))
	defer func() {
		for _, h := range handles {
			_ = h.Close() // written and synced before, or given up
		}
	}()
	near := vfs.NearOf(fsys)
	defer near.Close()
	for _, i := range part {
		it, st := &s.plan.items[i], &s.at[i]
		h, resume, full, err := x.openStage(fsys, near, st.path, it.Want)
		if err != nil {
			if fatal(err) {
				return err
			}
			st.err = err
			continue
		}
		handles = append(handles, h)
		if full || it.Want.Size == 0 {
			st.err = x.finishFile(h, s, i, sync)
			if fatal(st.err) {
				return st.err
			}
			continue
		}
		reqs = append(reqs, FillRequest{Path: it.Path, Entry: it.Want, Handle: h, Resume: resume, Stage: st.path, Tag: it.Tag})
		of = append(of, i)
	}
	if len(reqs) == 0 {
		return nil
	}
	errs := x.opts.Content.Fill(ctx, reqs)
	if len(errs) != len(reqs) {
		return fmt.Errorf("fill: %d answers to %d requests", len(errs), len(reqs))
	}
	for n, i := range of {
		st := &s.at[i]
		if st.err = errs[n]; st.err == nil {
			st.err = x.finishFile(reqs[n].Handle, s, i, sync)
		}
		if st.path != st.tree {
			x.notePartial(st.path, st.err != nil)
		}
		if fatal(st.err) {
			return st.err
		}
	}
	return ctx.Err()
}

// finishFile sets what the content does not: after it the stage is the file that
// will be seen, and its stat is what will be recorded.
func (x *Executor) finishFile(h vfs.Handle, s *Staged, i int, sync bool) error {
	want := s.plan.items[i].Want
	if err := h.SetMTime(want.MTime); err != nil {
		return err
	}
	st, err := h.Stat()
	if err != nil {
		return err
	}
	if st.Mode != want.Mode { // the mask took some, or writing the bits of a set-ID program
		if err := h.Chmod(want.Mode); err != nil {
			return err
		}
		if st, err = h.Stat(); err != nil {
			return err
		}
	}
	if sync {
		if err := h.Sync(); err != nil {
			return &syncError{err}
		}
	}
	if st.Size != want.Size || st.Mode != want.Mode || !sameTime(st.MTime, want.MTime) {
		return fmt.Errorf("the stage has size %d, mode %o, mtime %d, not %d, %o, %d as wanted",
			st.Size, st.Mode, st.MTime, want.Size, want.Mode, want.MTime)
	}
	s.at[i].stat = st
	return nil
}

// coarsest is the coarsest clock of a filesystem's times that is met: FAT's.
const coarsest = 2 * time.Second

// sameTime reports that a filesystem keeps want as is, rounded to its clock.
func sameTime(is, want int64) bool {
	d := time.Duration(is - want)
	return d > -coarsest && d < coarsest
}

// syncError marks a failed fsync: nothing may be built on what it was to make durable.
type syncError struct{ err error }

func (e *syncError) Error() string { return "sync: " + e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// fatal reports an error that will hit the other files too.
func fatal(err error) bool {
	var se *syncError
	return errors.As(err, &se) || errors.Is(err, fs.ErrClosed) || isNoSpace(err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func hashHandle(h vfs.Handle) (id.Digest, error) {
	sum := blake3.New()
	buf := make([]byte, 256<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.NewSectionReader(h, 0, 1<<62), buf)
	return id.Digest(sum.Sum(nil)), err
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(b[:])
}

// removeAll removes p and what is below it. It is used in .lockstep only.
func removeAll(fsys vfs.FS, p id.Path) error {
	st, err := fsys.Lstat(p)
	if err != nil || st.Kind == vfs.Absent {
		return err
	}
	if st.Kind != vfs.Dir {
		return fsys.Unlink(p)
	}
	if !writable(st.Mode) {
		if err := fsys.Chmod(p, st.Mode|0o700); err != nil {
			return err
		}
	}
	names, err := fsys.ReadDir(p)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAll(fsys, p.Join(n)); err != nil {
			return err
		}
	}
	return fsys.Rmdir(p)
}
