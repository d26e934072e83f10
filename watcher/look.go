package watcher

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
	"github.com/lockstep-sync/lockstep/watcher/settle"
)

// lookParallel is how many paths make it worth looking from several goroutines.
const lookParallel = 64

// lookStride is how many paths one of them takes at a time: neighbours, as a rule.
const lookStride = 16

// look looks at the paths that have been quiet.
func (l *loop) look() {
	start := time.Now()
	if at, any := l.m.Next(false); l.fatal != nil || !any || at.After(start) || l.paused(start) {
		return
	}
	l.withFS(func(f vfs.FS) error {
		due := l.m.Due(start, lookBatch)
		looks := l.lookAt(f, due)
		now := time.Now()
		for i, p := range due {
			if looks[i].err != nil {
				return looks[i].err
			}
			if err := l.looked(f, p, looks[i], now); err != nil {
				return err
			}
		}
		return nil
	})
}

// glance is what one look at a path gave.
type glance struct {
	settle.Look
	recorded vfs.Stat
	same     bool    // as recorded: nothing to report
	shut     id.Path // a directory above that nobody may look into
	err      error   // the index failed
}

func (l *loop) lookAt(f vfs.FS, due []id.Path) []glance {
	looks := make([]glance, len(due))
	workers := 1
	if len(due) >= lookParallel {
		workers = l.pool.max
	}
	order := make([]int, len(due)) // those of a directory together
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(string(due[a]), string(due[b])) })
	var next atomic.Int64
	var g sync.WaitGroup
	work := func() {
		n := vfs.NearOf(f)
		defer n.Close()
		for {
			to := int(next.Add(lookStride))
			for _, i := range order[min(to-lookStride, len(order)):min(to, len(order))] {
				looks[i] = l.w.glance(f, n, due[i])
			}
			if to >= len(order) {
				return
			}
		}
	}
	for range workers - 1 {
		g.Go(work)
	}
	work()
	g.Wait()
	return looks
}

// looked takes the result of a look.
func (l *loop) looked(f vfs.FS, p id.Path, g glance, now time.Time) error {
	if g.Stat.Kind == vfs.Absent && g.Blocked == "" {
		l.w.unblockWithin(p, l.scans+1)
		l.table.drop(p)
	} else if g.shut != "" {
		l.shut(g.shut, p, now)
		return nil
	} else if g.Blocked != "" {
		if !l.w.block(p, g.Blocked, l.scans) {
			l.m.Drop(p, now) // told before
			return nil
		}
	} else if g.Stat.Kind != vfs.Dir {
		l.w.unblock(p)
	} else if l.w.isBlocked(p) || g.recorded.Kind == vfs.Dir && g.Stat.Mode != g.recorded.Mode ||
		g.recorded.Kind != vfs.Dir && g.Stat.Mode&0o500 != 0o500 {
		l.startScan(p, false, nil) // it may have become readable, or not
	}
	if !g.same {
		l.m.Looked(p, g.Look, now)
		return nil
	}
	l.m.Drop(p, now)
	if p.Base() == ignore.Name { // it was brought here, or is itself ignored
		l.reloadRules(f, p.Dir())
	}
	return l.emptied(p, g, now)
}

// emptied looks at the directory of something ignored that went: without, it may be an
// empty directory, which is an entry.
func (l *loop) emptied(p id.Path, g glance, now time.Time) error {
	d := p.Dir()
	if d == "" || g.Stat.Kind != vfs.Absent || !l.w.rules.any.Load() {
		return nil
	}
	_, had, err := l.w.o.Known.Lookup(d)
	if err != nil {
		return indexError(d, err)
	}
	if !had {
		l.m.Touch(d, now)
	}
	return nil
}

// glance looks at one path.
func (w *Watcher) glance(f vfs.FS, n vfs.Near, p id.Path) (g glance) {
	st, err := n.Lstat(p)
	if err != nil && !errors.Is(err, vfs.ErrEscape) { // with a symlink above it p is not there
		g.Blocked = blockReason(err)
		if errors.Is(err, fs.ErrPermission) {
			g.shut = shutAbove(f, p)
		}
		return g
	}
	var had bool
	if g.recorded, had, g.err = w.o.Known.Lookup(p); g.err != nil {
		g.err = indexError(p, g.err)
		return g
	}
	g.Stat, g.Known = st, had && g.recorded.Kind == vfs.File
	g.same = had && g.recorded.Same(st) || !had && st.Kind == vfs.Absent
	if !g.same && !had {
		if g.same, g.err = w.skips(f, p, st); g.err != nil {
			return g
		}
	}
	switch {
	case g.same:
	case st.Kind == vfs.Other:
		g.Blocked = reasonSpecial
	case st.Kind == vfs.File:
		w.probe(n, p, &g)
	}
	return g
}

// shutAbove is the nearest directory above p that can be looked at: nobody may look into
// it, so it is what is blocked. It is "" where that is the root.
func shutAbove(f vfs.FS, p id.Path) id.Path {
	for d := p.Dir(); d != ""; d = d.Dir() {
		if st, err := f.Lstat(d); err == nil && st.Kind == vfs.Dir {
			return d
		}
	}
	return ""
}

// shut takes the result of a look at p that d, a directory above it, does not allow: a scan
// lists d as blocked, or finds p if d has been opened since.
func (l *loop) shut(d, p id.Path, now time.Time) {
	if !l.w.isBlocked(d) {
		l.w.block(d, reasonDenied, l.scans)
		l.startScan(d, false, nil)
	}
	l.m.Drop(p, now)
}

// probe asks whether somebody has the file open for writing.
func (w *Watcher) probe(n vfs.Near, p id.Path, g *glance) {
	h, err := n.Open(p)
	switch {
	case err == nil:
	case errors.Is(err, vfs.ErrBusy): // another program's write lease
		g.Probe = settle.Held
		return
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, vfs.ErrNotSupported), errors.Is(err, vfs.ErrEscape):
		g.Probe = settle.Unknown // it changed since: look again
		return
	default:
		g.Blocked = blockReason(err)
		return
	}
	defer h.Close()
	lease, err := h.Lease()
	if errors.Is(err, vfs.ErrBusy) {
		g.Probe = settle.Held
		return
	}
	if err != nil {
		g.Probe = settle.Unknown
		return
	}
	st, err := h.Stat()
	lease.Release()
	if err != nil || st.Ino != g.Stat.Ino {
		g.Probe = settle.Unknown
		return
	}
	g.Stat, g.Probe = st, settle.Closed
}
