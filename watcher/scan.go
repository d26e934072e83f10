package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

var (
	errNoEntry error = fs.ErrNotExist
	errNoDir   error = syscall.ENOTDIR
)

// maxTracked is how many dirty paths there may be before scans wait for some to
// be dealt with: it bounds the watcher's memory to about 30 MB.
const maxTracked = 50000

// scan is one comparison of a subtree with the index.
type scan struct {
	under  id.Path
	number uint64 // of scans, ascending
	all    bool   // of the whole folder
	done   func(scanResult)

	// Guarded by pool.mu:
	left    int           // directories not yet compared
	took    time.Duration // the sum of the directories' times
	entries int
	err     error
}

// scanResult is what a scan says when it has ended.
type scanResult struct {
	scan *scan
	err  error // it was not done: the folder cannot be opened, the index fails
	took time.Duration
}

// found is what comparing one directory with the index gave.
type found struct {
	scan    *scan
	dirty   []id.Path
	gone    []id.Path // recorded in the directory, not there
	blocked []BlockedPath
	entries int
}

// job is one directory to compare.
type job struct {
	scan *scan
	dir  id.Path
}

// indexFailure is an error of the local index, which ends the watcher.
type indexFailure struct{ error }

// Unwrap returns the index's own error.
func (e *indexFailure) Unwrap() error { return e.error }

// pool compares directories, at most max at once. The folder is open only while
// there are jobs. Results go to the loop, a scan's end after all its results.
type pool struct {
	w     *Watcher
	table *table
	max   int
	group sync.WaitGroup

	mu      sync.Mutex // guards all below
	more    *sync.Cond // on mu: tracked fell, or stopped
	stack   []job
	active  int // workers
	fs      vfs.FS
	tracked int // dirty paths: the loop's, and those on the way to it
	sent    int // of these those on the way
	stopped bool
}

func newPool(w *Watcher, t *table) *pool {
	p := &pool{w: w, table: t, max: w.o.ScanWorkers}
	if p.max <= 0 {
		p.max = min(max(runtime.GOMAXPROCS(0), 2), 4)
	}
	p.more = sync.NewCond(&p.mu)
	return p
}

// start begins a scan.
func (p *pool) start(s *scan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.push(s, s.under)
}

// push adds a job and a worker for it if there may be another. mu is held.
func (p *pool) push(s *scan, dirs ...id.Path) {
	s.left += len(dirs)
	for _, d := range dirs {
		p.stack = append(p.stack, job{s, d})
	}
	for n := len(p.stack); n > 0 && p.active < p.max && !p.stopped; n-- {
		p.active++
		p.group.Go(p.work)
	}
}

// setTracked tells how many dirty paths the loop has, having taken n results.
func (p *pool) setTracked(tracked, taken int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent -= taken
	p.tracked = tracked
	if p.tracked+p.sent <= maxTracked {
		p.more.Broadcast()
	}
}

// stop ends the workers and waits for them.
func (p *pool) stop() {
	p.mu.Lock()
	p.stopped = true
	p.more.Broadcast()
	p.mu.Unlock()
	p.group.Wait()
}

// work does jobs until there are none.
func (p *pool) work() {
	for {
		j, f, ok := p.next()
		if !ok {
			return
		}
		start := time.Now()
		var r found
		var dirs []id.Path
		err := f.err
		if err == nil {
			r, dirs, err = p.compare(f.fs, j)
		}
		p.finish(j, r, dirs, time.Since(start), err)
	}
}

// opened is the folder, or why it cannot be opened.
type opened struct {
	fs  vfs.FS
	err error
}

// next takes a job; the last worker without one closes the folder.
func (p *pool) next() (job, opened, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.tracked+p.sent > maxTracked && len(p.stack) > 0 && !p.stopped {
		p.more.Wait()
	}
	if len(p.stack) == 0 || p.stopped {
		p.active--
		if p.active == 0 && p.fs != nil {
			if err := p.fs.Close(); err != nil {
				p.w.log.Warn("close folder after a scan", "error", err)
			}
			p.fs = nil
		}
		return job{}, opened{}, false
	}
	j := p.stack[len(p.stack)-1]
	p.stack = p.stack[:len(p.stack)-1]
	if p.fs == nil {
		f, err := p.w.o.FS()
		if err != nil {
			return j, opened{err: err}, true
		}
		p.fs = f
	}
	return j, opened{fs: p.fs}, true
}

// finish hands on the result of a job and ends the scan with its last one.
func (p *pool) finish(j job, r found, dirs []id.Path, took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := j.scan
	s.took += took
	s.entries += r.entries
	if err != nil && s.err == nil {
		s.err = err
	}
	if s.err == nil {
		p.push(s, dirs...)
	}
	if n := len(r.dirty) + len(r.gone); n+len(r.blocked) > 0 {
		p.sent += n
		r.scan = s
		p.w.in.call(func(l *loop) { l.found(r) })
	}
	s.left--
	if s.left == 0 {
		res := scanResult{scan: s, err: s.err, took: s.took / time.Duration(p.max)}
		p.w.in.call(func(l *loop) { l.scanned(res) })
	}
}

// compare compares one directory with the index. It is watched before it is
// listed, so that no change is missed: what comes after the listing is an event.
func (p *pool) compare(f vfs.FS, j job) (r found, dirs []id.Path, err error) {
	st, err := f.Lstat(j.dir)
	switch {
	case err != nil:
		return p.unlisted(r, j.dir, err)
	case st.Kind != vfs.Dir:
		r.dirty = append(r.dirty, j.dir)
		return r, nil, nil
	}
	if skip, err := p.w.skipsDir(j.dir); err != nil || skip {
		return r, nil, p.unwatch(j.dir, err)
	}
	p.w.loadRules(f, j.dir)
	if err := p.table.add(j.dir); err != nil {
		return p.unlisted(r, j.dir, err)
	}
	// The watch is by name, so a symlink could have taken the directory's place.
	if again, err := f.Lstat(j.dir); err != nil || again.Kind != vfs.Dir || again.Ino != st.Ino {
		p.table.drop(j.dir)
		return r, []id.Path{j.dir}, nil
	}
	names, err := f.ReadDir(j.dir)
	if err != nil {
		return p.unlisted(r, j.dir, err)
	}
	known, err := p.w.o.Known.Children(j.dir)
	if err != nil {
		return r, nil, &indexFailure{indexError(j.dir, err)}
	}
	if _, is := slices.BinarySearch(names, ignore.Name); is || p.w.rules.has(j.dir) {
		p.w.loadRules(f, j.dir) // it may have changed before it was watched
	}
	found, err := p.wanted(f, j.dir, names, known)
	if err != nil {
		return r, nil, err
	}
	for _, c := range found {
		isDir := p.child(c, known, &r)
		delete(known, c.path.Base())
		if isDir {
			dirs = append(dirs, c.path)
		}
	}
	for name := range known {
		r.gone = append(r.gone, j.dir.Join(name))
	}
	return r, dirs, nil
}

// stated is an entry of a directory and what a stat said of it.
type stated struct {
	path id.Path
	st   vfs.Stat
	err  error
}

// wanted stats the names in a directory, and leaves out those that are ignored and not
// tracked.
func (p *pool) wanted(f vfs.FS, dir id.Path, names []string, known map[string]vfs.Stat) ([]stated, error) {
	rules := p.w.rules.in(dir)
	out := make([]stated, 0, len(names))
	var ignored []stated
	for _, name := range names {
		if dir == "" && name == id.ReservedName {
			continue
		}
		c := stated{path: dir.Join(name)}
		if c.err = c.path.Check(); c.err == nil {
			c.st, c.err = f.Lstat(c.path)
		}
		if _, had := known[name]; !had && !rules.Empty() {
			if m := rules.Match(c.path, c.st.Kind == vfs.Dir || errors.Is(c.err, vfs.ErrMount)); m.Ignored() {
				ignored = append(ignored, c)
				continue
			}
		}
		out = append(out, c)
	}
	if len(ignored) == 0 {
		return out, nil
	}
	paths := make([]id.Path, len(ignored))
	for i, c := range ignored {
		paths[i] = c.path
	}
	live, err := p.w.live(paths)
	for _, c := range ignored {
		switch {
		case live[c.path]:
			out = append(out, c)
		case c.st.Kind == vfs.Dir:
			err = p.unwatch(c.path, err)
		}
	}
	return out, err
}

// unwatch takes the watches off a directory that is ignored. It returns err.
func (p *pool) unwatch(dir id.Path, err error) error {
	if err == nil {
		p.table.drop(dir)
		p.w.rules.drop(dir)
	}
	return err
}

// child compares one entry of a directory with the index, and reports whether it
// is a directory to go on with.
func (p *pool) child(c stated, known map[string]vfs.Stat, r *found) bool {
	child, st, err := c.path, c.st, c.err
	old, had := known[child.Base()]
	switch {
	case err != nil:
		r.blocked = append(r.blocked, BlockedPath{child, blockReason(err)})
		return false
	case st.Kind == vfs.Absent: // gone since the listing
		if had {
			r.gone = append(r.gone, child)
		}
		return false
	case st.Kind == vfs.Other:
		r.blocked = append(r.blocked, BlockedPath{child, reasonSpecial})
		return false
	}
	r.entries++
	if !had || !old.Same(st) {
		r.dirty = append(r.dirty, child)
	}
	return st.Kind == vfs.Dir
}

// unlisted is the result for a directory that cannot be listed: one that is not
// there any more is looked at like any path, others are blocked, and nothing in
// them is gone.
func (p *pool) unlisted(r found, dir id.Path, err error) (found, []id.Path, error) {
	if dir == "" {
		return r, nil, fmt.Errorf("list the folder's root: %w", err)
	}
	if isGone(err) || errors.Is(err, vfs.ErrEscape) {
		r.dirty = append(r.dirty, dir)
		return r, nil, nil
	}
	r.blocked = append(r.blocked, BlockedPath{dir, blockReason(err)})
	return r, nil, nil
}

const (
	reasonSpecial = "is a FIFO, socket or device, which is never synced; an ignore rule takes it off this list"
	reasonMount   = "is on another filesystem mounted inside the folder, which is never synced; an ignore rule takes it off this list"
	reasonDenied  = "permission denied"
)

// blockReason says err for status.
func blockReason(err error) string {
	var pe *fs.PathError
	switch {
	case errors.Is(err, vfs.ErrMount):
		return reasonMount
	case errors.Is(err, fs.ErrPermission):
		return reasonDenied
	case errors.As(err, &pe):
		return pe.Err.Error()
	}
	return err.Error()
}
