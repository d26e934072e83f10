package watcher

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// Head is what the watcher needs to know of the committed head, so that ignore rules
// leave out only what nobody tracks. It is asked from several goroutines at once. An
// error ends Run.
type Head interface {
	// Live returns those of the paths that the head has.
	Live(paths []id.Path) (map[id.Path]bool, error)
	// Coming reports that the head has a rule file at p that was never on this disk.
	Coming(p id.Path) bool
}

const (
	reasonComing = "the head has a rule file that is not on this disk yet"
	reasonBusy   = "is being written"
	reasonNoFile = "is not a plain file"
	reasonLarge  = "is larger than 1 MiB"
	// rulesAgain is when a rule file that was on its way, or open, is looked at again.
	rulesAgain = time.Second
)

// rules are the ignore rules in force.
//
// Invariant: the rule files of a directory and of those above it are in the set before
// any name in it is reported. A scan loads them before it watches a directory; what
// changes after that is an event.
type rules struct {
	any atomic.Bool // whether the set is not empty: without, nothing here costs anything

	mu    sync.RWMutex // guards all below
	set   ignore.Set
	stats map[id.Path]vfs.Stat // of the files in the set, by directory
	retry map[id.Path]struct{} // directories to look at again after a time
}

// in returns the rules for the names in a directory.
func (r *rules) in(dir id.Path) ignore.Scope {
	if !r.any.Load() {
		return ignore.Scope{}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.set.In(dir)
}

// has reports whether there is a rule file in the directory, as far as is known.
func (r *rules) has(dir id.Path) bool {
	if !r.any.Load() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.set.Get(dir) != nil
}

// drop forgets the files in and below a directory that is not there any more.
func (r *rules) drop(dir id.Path) {
	if !r.any.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range r.stats {
		if d.Within(dir) {
			r.put(d, nil, vfs.Stat{}, false)
		}
	}
}

// put sets the rules of one file. mu is held.
func (r *rules) put(dir id.Path, rs *ignore.Rules, st vfs.Stat, again bool) {
	r.set.Put(dir, rs)
	delete(r.retry, dir)
	if rs == nil {
		delete(r.stats, dir)
	} else {
		if r.stats == nil {
			r.stats, r.retry = make(map[id.Path]vfs.Stat), make(map[id.Path]struct{})
		}
		r.stats[dir] = st
		if again {
			r.retry[dir] = struct{}{}
		}
	}
	r.any.Store(!r.set.Empty())
}

// due lists the directories to look at again.
func (r *rules) due() (out []id.Path) {
	if !r.any.Load() {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for d := range r.retry {
		out = append(out, d)
	}
	return out
}

// problems lists the rule files that cannot be used.
func (r *rules) problems() (out []BlockedPath) {
	if !r.any.Load() {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.set.Each(func(dir id.Path, rs *ignore.Rules) {
		if why := rs.Reason(); why != "" && why != reasonComing && why != reasonBusy {
			out = append(out, BlockedPath{dir.Join(ignore.Name), why + ": no new file beside or below it is taken"})
		}
	})
	return out
}

// loadRules brings the rules of a directory's file up to date and reports whether they
// are others now. Who has no usable file keeps the rules that were in force while it
// is written, and takes nothing new otherwise.
func (w *Watcher) loadRules(f vfs.FS, dir id.Path) (changed bool) {
	r, p := &w.rules, dir.Join(ignore.Name)
	st, err := f.Lstat(p)
	if err != nil {
		return false // then nothing else in the directory can be told either
	}
	coming := st.Kind == vfs.Absent && w.o.Head != nil && w.o.Head.Coming(p)
	r.mu.RLock()
	old, was := r.set.Get(dir), r.stats[dir]
	_, again := r.retry[dir]
	r.mu.RUnlock()
	if old == nil && st.Kind == vfs.Absent && !coming || old != nil && !again && st.Kind != vfs.Absent && was.Same(st) {
		return false
	}
	var now *ignore.Rules
	if coming {
		now, again = ignore.Unusable(reasonComing), true
	} else {
		now, st, again = rulesAt(f, p, st, old)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(dir, now, st, again)
	return now != old && (now == nil || old == nil || now.Reason() == "" || now.Reason() != old.Reason())
}

// rulesAt returns the rules of the file at p, of which st was said; nil where none is.
func rulesAt(f vfs.FS, p id.Path, st vfs.Stat, old *ignore.Rules) (*ignore.Rules, vfs.Stat, bool) {
	switch {
	case st.Kind == vfs.Absent:
		return nil, st, false
	case st.Kind != vfs.File:
		return ignore.Unusable(reasonNoFile), st, false
	case st.Size > ignore.MaxBytes:
		return ignore.Unusable(reasonLarge), st, false
	}
	return readRules(f, p, old)
}

// ReadRules reads the rule file in a directory, for who looks at a folder that no
// watcher watches: nil where there is none.
func ReadRules(f vfs.FS, dir id.Path) *ignore.Rules {
	p := dir.Join(ignore.Name)
	st, err := f.Lstat(p)
	if err != nil {
		return nil // then no name in it can be told
	}
	rs, _, _ := rulesAt(f, p, st, nil)
	return rs
}

// readRules reads a rule file. again asks for another look after a time; old are the
// rules until then, if there are any.
func readRules(f vfs.FS, p id.Path, old *ignore.Rules) (now *ignore.Rules, st vfs.Stat, again bool) {
	wait := func() (*ignore.Rules, vfs.Stat, bool) {
		if old != nil {
			return old, vfs.Stat{}, true
		}
		return ignore.Unusable(reasonBusy), vfs.Stat{}, true
	}
	h, err := f.Open(p)
	switch {
	case errors.Is(err, vfs.ErrBusy), errors.Is(err, fs.ErrNotExist), errors.Is(err, vfs.ErrNotSupported), errors.Is(err, vfs.ErrEscape):
		return wait()
	case err != nil:
		return ignore.Unusable(blockReason(err)), vfs.Stat{}, false
	}
	defer h.Close()
	if lease, err := h.Lease(); err == nil {
		lease.Release()
	} else if errors.Is(err, vfs.ErrBusy) {
		return wait()
	}
	before, err := h.Stat()
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(h, ignore.MaxBytes+1))
	}
	if err != nil {
		return ignore.Unusable(blockReason(err)), vfs.Stat{}, false
	}
	if after, err := h.Stat(); err != nil || !after.Same(before) {
		return wait()
	}
	if len(text) > ignore.MaxBytes {
		return ignore.Unusable(reasonLarge), before, false
	}
	return ignore.Parse(text), before, false
}

// Rule returns the ignore rule that decides on a path, tracked or not.
func (w *Watcher) Rule(p id.Path, dir bool) ignore.Match {
	sc := w.rules.in(p.Dir())
	return sc.Match(p, dir)
}

// Leaves reports whether what is at p is left out where nobody tracks it: it is
// ignored, or a directory that holds ignored names and nothing else.
func (w *Watcher) Leaves(f vfs.FS, p id.Path, st vfs.Stat) bool {
	if !w.rules.any.Load() || st.Kind == vfs.Absent {
		return false
	}
	dir := st.Kind == vfs.Dir
	sc := w.rules.in(p.Dir())
	if m := sc.Match(p, dir); m.Ignored() {
		return true
	}
	return dir && w.hollow(f, p)
}

// Hollow reports whether the directory p counts as absent: it holds ignored names, and
// nothing else.
func (w *Watcher) Hollow(f vfs.FS, p id.Path) bool { return w.rules.any.Load() && w.hollow(f, p) }

// Refresh reads the rule files above a path anew, for who cannot wait for their events.
func (w *Watcher) Refresh(f vfs.FS, p id.Path) {
	for d := p; d != ""; {
		d = d.Dir()
		w.loadRules(f, d)
	}
}

// Reread looks at a directory's rule file again.
func (w *Watcher) Reread(dir id.Path) {
	w.in.call(func(l *loop) {
		l.withFS(func(f vfs.FS) error {
			l.reloadRules(f, dir)
			return nil
		})
	})
}

// hollow reports whether the directory p holds at least one name, and all that it
// holds is ignored or a hollow directory that nothing is recorded of.
func (w *Watcher) hollow(f vfs.FS, p id.Path) bool {
	names, err := f.ReadDir(p)
	if err != nil || len(names) == 0 {
		return false
	}
	sc := w.rules.in(p)
	for _, name := range names {
		q := p.Join(name)
		st, err := f.Lstat(q)
		if err != nil && !errors.Is(err, vfs.ErrMount) {
			return false
		}
		dir := st.Kind == vfs.Dir || err != nil
		m := sc.Match(q, dir)
		if !m.Ignored() && (!dir || err != nil || !w.hollow(f, q)) {
			return false
		}
		if _, had, err := w.o.Known.Lookup(q); err != nil || had {
			return false
		}
	}
	return true
}

// live returns those of the paths that the head has.
func (w *Watcher) live(paths []id.Path) (map[id.Path]bool, error) {
	if w.o.Head == nil {
		return nil, nil
	}
	live, err := w.o.Head.Live(paths)
	if err != nil {
		return nil, &indexFailure{indexError(paths[0], err)}
	}
	return live, nil
}

// untracked reports whether the head has nothing at p, of which nothing is recorded.
func (w *Watcher) untracked(p id.Path) (bool, error) {
	live, err := w.live([]id.Path{p})
	return err == nil && !live[p], err
}

// skips reports whether what is at p, of which nothing is recorded, is left out.
func (w *Watcher) skips(f vfs.FS, p id.Path, st vfs.Stat) (bool, error) {
	if !w.Leaves(f, p, st) {
		return false, nil
	}
	return w.untracked(p)
}

// skipsDir is skips for a directory's own rules, not for what is in it.
func (w *Watcher) skipsDir(p id.Path) (bool, error) {
	if p == "" || !w.Rule(p, true).Ignored() {
		return false, nil
	}
	_, had, err := w.o.Known.Lookup(p)
	if err != nil {
		return false, &indexFailure{indexError(p, err)}
	}
	if had {
		return false, nil
	}
	return w.untracked(p)
}

// skipsEvent reports whether an event is about something that is left out. It is
// asked before the path counts as dirty: what is ignored and written all the time must
// not keep anybody waiting.
func (l *loop) skipsEvent(f vfs.FS, e event, p id.Path) bool {
	if !l.w.rules.any.Load() || e.op == opGone || p.Base() == ignore.Name {
		return false
	}
	st, err := f.Lstat(p)
	if err != nil || st.Kind == vfs.Absent || !l.w.Rule(p, st.Kind == vfs.Dir).Ignored() {
		return false
	}
	if _, had, err := l.w.o.Known.Lookup(p); err != nil || had {
		return false
	}
	free, err := l.w.untracked(p)
	return err == nil && free
}

// reloadRules takes a rule file that has changed: what it left out before is looked for.
func (l *loop) reloadRules(f vfs.FS, dir id.Path) {
	if l.w.loadRules(f, dir) {
		l.w.log.Info("ignore rules have changed", "directory", string(dir))
		l.startScan(dir, false, nil)
	}
}

// retryRules looks again at the rule files that were on their way or open.
func (l *loop) retryRules(now time.Time) {
	due := l.w.rules.due()
	if len(due) == 0 {
		l.nextRules = time.Time{}
		return
	}
	if l.nextRules.IsZero() || now.Before(l.nextRules) {
		if l.nextRules.IsZero() {
			l.nextRules = now.Add(rulesAgain)
		}
		return
	}
	l.nextRules = now.Add(rulesAgain)
	l.withFS(func(f vfs.FS) error {
		for _, dir := range due {
			l.reloadRules(f, dir)
		}
		return nil
	})
}
