package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

const (
	// restoreBatch and restoreBytes bound the files that are written before they are
	// made durable together and given their names: open files, and what an
	// interruption does again.
	restoreBatch = 128
	restoreBytes = 256 << 20
	// restoreReads is how many files are read from the daemon at once: small ones cost
	// a round trip each, and chunks may come from other nodes.
	restoreReads = 4
	// restoreNamed bounds the problems that are named.
	restoreNamed = 100
)

// restorer writes a tree, as it comes, below the open directory fs.
//
// Invariant: a name appears only with the whole, verified and durable content of
// its version; what is at a name already is replaced only by force.
type restorer struct {
	ctx context.Context
	a   *app
	svc control.Service
	o   restoreOptions

	fs     vfs.FS // nil in a dry run to a place that is not there
	source id.Path
	name   string  // of the one file, if it is one
	to     id.Path // where source goes below fs: "" for a tree
	root   string  // where fs is
	made   bool    // DEST was not there
	info   control.TreeInfo
	res    restoreResult
	table  *table

	batch   []*staged
	bytes   int64            // of the batch
	refused map[id.Path]bool // directories that could not be made
	modes   []staged         // directories whose mode comes last: nobody may write in them

	mu    sync.Mutex // guards bar, read
	bar   *progress
	read  int64
	files uint64 // files decided on
}

// staged is one entry on its way.
type staged struct {
	path    id.Path // below fs
	from    id.Path // in the folder
	state   control.PathState
	mode    uint32
	replace bool
	temp    id.Path
	h       vfs.Handle
	err     error
}

func newRestorer(ctx context.Context, a *app, svc control.Service, o restoreOptions) *restorer {
	t := newTable("ACTION", "KIND", "SIZE", "PATH")
	t.right = map[int]bool{2: true}
	w := &restorer{ctx: ctx, a: a, svc: svc, o: o, table: t, refused: map[id.Path]bool{}, bar: a.progress("restore")}
	t.rows = nil // a head only where there is a list
	if o.dryRun {
		t.rows = [][]string{{"ACTION", "KIND", "SIZE", "PATH"}}
	}
	w.res.DryRun, w.res.Problems = o.dryRun, []control.BlockedPath{}
	return w
}

// item takes one item of the tree.
func (w *restorer) item(it control.TreeItem) error {
	if it.Info != nil {
		w.info = *it.Info
		raw, err := control.DecodePath(it.Info.Path, it.Info.PathB64)
		if err != nil {
			return err
		}
		w.source = id.Path(raw)
		w.res.Folder, w.res.Path, w.res.PathB64, w.res.Revision = it.Info.Folder, it.Info.Path, it.Info.PathB64, it.Info.Revision
		if err := w.open(*it.Info); err != nil {
			return err
		}
		return w.clean()
	}
	raw, err := control.DecodePath(it.Path, it.PathB64)
	if err != nil {
		return err
	}
	x := &staged{from: id.Path(raw), state: *it.State}
	if !x.from.Within(w.source) {
		return errorf("the daemon listed %q, which is not in %q", raw, string(w.source))
	}
	x.path = x.from.Rebase(w.source, w.to)
	mode, err := strconv.ParseUint(x.state.Mode, 8, 12)
	if err != nil {
		return errorf("the daemon's answer has the mode %q: %w", x.state.Mode, err)
	}
	x.mode = uint32(mode)
	if err := w.entry(x); err != nil {
		return err
	}
	if len(w.batch) >= restoreBatch || w.bytes >= restoreBytes {
		return w.flush()
	}
	return nil
}

// entry makes a directory or symlink, or adds a file to the batch. Its error ends
// the restore; what concerns the one path is a problem.
func (w *restorer) entry(x *staged) error {
	if x.path == "" { // the root: it is there
		if w.made && w.fs != nil {
			w.modes = append(w.modes, *x)
		}
		return nil
	}
	for c := range strings.SplitSeq(string(x.path), "/") {
		if id.IsReserved(c) {
			w.problem(x, errorf("%s is Lockstep's own directory", id.ReservedName))
			return nil
		}
	}
	if len(w.refused) > 0 {
		for q := x.path.Dir(); q != ""; q = q.Dir() {
			if w.refused[q] {
				w.problem(x, errorf("its directory could not be made"))
				return nil
			}
		}
	}
	if err := x.path.Check(); err != nil {
		w.problem(x, err)
		return nil
	}
	var there vfs.Stat
	if w.fs != nil {
		var err error
		if there, err = w.fs.Lstat(x.path); err != nil {
			return w.failed(x, err)
		}
	}
	var err error
	switch x.state.Kind {
	case "directory":
		err = w.dir(x, there)
	case "symlink":
		err = w.symlink(x, there)
	default:
		err = w.file(x, there)
	}
	return w.failed(x, err)
}

// errExists is for what is not replaced.
var errExists = errors.New("exists with other content; --force replaces it")

func (w *restorer) dir(x *staged, there vfs.Stat) error {
	w.refused[x.path] = true
	switch {
	case there.Kind == vfs.Dir:
		if w.o.force && there.Mode != x.mode && !w.o.dryRun {
			w.modes = append(w.modes, *x)
		}
		w.list("same", x)
		delete(w.refused, x.path)
		return nil
	case there.Kind != vfs.Absent && (!w.o.force || there.Kind == vfs.Other):
		return errorf("a %s is there: --force puts a directory in its place", there.Kind)
	}
	if w.o.dryRun {
		w.list("write", x)
		w.res.Dirs++
		delete(w.refused, x.path)
		return nil
	}
	if there.Kind != vfs.Absent {
		if err := w.fs.Unlink(x.path); err != nil {
			return err
		}
		w.res.Replaced++
	}
	if err := w.fs.Mkdir(x.path, x.mode&0o777|0o700); err != nil {
		return err
	}
	delete(w.refused, x.path)
	w.res.Dirs++
	if x.mode&0o700 != 0o700 {
		w.modes = append(w.modes, *x)
		return nil
	}
	return w.fs.Chmod(x.path, x.mode)
}

func (w *restorer) symlink(x *staged, there vfs.Stat) error {
	target, err := control.DecodePath(x.state.Target, x.state.TargetB64)
	if err != nil {
		return err
	}
	replace := there.Kind != vfs.Absent
	if there.Kind == vfs.Symlink {
		if t, err := w.fs.Readlink(x.path); err == nil && t == target {
			w.same(x)
			return nil
		}
	}
	if err := w.mayReplace(there); err != nil {
		return err
	}
	w.wrote(x, replace)
	switch {
	case w.o.dryRun:
		return nil
	case !replace:
		err = w.fs.Symlink(target, x.path)
	default:
		temp := newTemp()
		if err = w.fs.Symlink(target, temp); err == nil {
			if err = w.fs.Rename(temp, x.path, vfs.Replace); err != nil {
				_ = w.fs.Unlink(temp)
			}
		}
	}
	if err != nil {
		w.unwrote(x, replace)
	}
	return err
}

func (w *restorer) mayReplace(there vfs.Stat) error {
	switch {
	case there.Kind == vfs.Absent:
		return nil
	case there.Kind == vfs.Dir:
		return errors.New("a directory is there; move it away first")
	case !w.o.force:
		return errExists
	}
	return nil
}

func (w *restorer) file(x *staged, there vfs.Stat) error {
	if there.Kind == vfs.File && there.Size == x.state.Size {
		sum, err := w.sum(x.path)
		if err != nil {
			return err
		}
		if sum == x.state.Content {
			w.same(x)
			if w.o.force && !w.o.dryRun {
				return w.attributes(x, there)
			}
			return nil
		}
	}
	if err := w.mayReplace(there); err != nil {
		return err
	}
	x.replace = there.Kind != vfs.Absent
	if w.o.dryRun {
		w.wrote(x, x.replace)
		return nil
	}
	w.batch, w.bytes = append(w.batch, x), w.bytes+x.state.Size
	return nil
}

// attributes gives a file that is there already the version's.
func (w *restorer) attributes(x *staged, there vfs.Stat) error {
	if there.Mode != x.mode {
		if err := w.fs.Chmod(x.path, x.mode); err != nil {
			return err
		}
	}
	if x.state.MTime != nil && there.MTime != x.state.MTime.UnixNano() {
		return w.fs.SetMTime(x.path, x.state.MTime.UnixNano())
	}
	return nil
}

func (w *restorer) sum(p id.Path) (string, error) {
	h, err := w.fs.Open(p)
	if err != nil {
		return "", err
	}
	defer h.Close()
	sum := blake3.New()
	_, err = io.Copy(sum, stopper{w.ctx, h})
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

// stopper is a reader that ends with a context.
type stopper struct {
	ctx context.Context
	r   io.Reader
}

func (s stopper) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// finish ends the restore, whose list ended with err.
func (w *restorer) finish(err error) error {
	defer w.bar.clear()
	if err == nil && len(w.batch) > 0 {
		err = w.flush()
	}
	for i := len(w.modes) - 1; i >= 0; i-- { // the deepest first: its parents may be closed then
		x := w.modes[i]
		var cerr error
		if x.path == "" {
			cerr = os.Chmod(w.root, os.FileMode(x.mode&0o777)) // it was made here
		} else {
			cerr = w.fs.Chmod(x.path, x.mode)
		}
		if cerr != nil {
			w.problem(&x, cerr)
		}
	}
	if err == nil && w.fs != nil && !w.o.dryRun {
		err = w.fs.SyncAll() // the names
	}
	return err
}

// failed records a path's error as its problem, or returns what ends all.
func (w *restorer) failed(x *staged, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errorf("restore to %s: %w; free some space there and run it again", printable(w.res.To), err)
	case fatal(w.ctx, err):
		return errorf("restore to %s: %w", printable(w.res.To), err)
	}
	w.problem(x, err)
	return nil
}

// fatal is for what the next file meets too.
func fatal(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) ||
		control.CodeOf(err) == control.CodeNotRunning)
}
