package watcher

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
	"github.com/lockstep-sync/lockstep/watcher/settle"
)

const (
	// freshLook is how old a look may be at hand-over. An older one is repeated, as
	// is every one that found nothing: a file that is back must not be told as gone.
	freshLook = 20 * time.Millisecond
	// maxRetry bounds how long an offer stands before it is built anew.
	maxRetry = 10 * time.Second
)

// batch is a batch on its way.
type batch struct {
	b       Batch
	settled map[id.Path]settle.Settled // by reported path
	lowest  uint64                     // the lowest number of them
	until   time.Time                  // when the offer is too old
}

func (b *batch) size() int {
	if b == nil {
		return 0
	}
	return len(b.settled)
}

// atMost reports whether something in b became dirty before the mark was taken.
func (b *batch) atMost(mark uint64) bool { return b != nil && b.lowest <= mark }

// offer makes a batch when it is time and none is out.
func (l *loop) offer() {
	if l.fatal != nil || l.out != nil {
		return
	}
	now := time.Now()
	if l.offered != nil {
		if now.Before(l.offered.until) {
			return
		}
		l.takeBack(now)
	}
	if !l.m.Ready(now) && (len(l.news) == 0 || !l.m.Idle()) || l.paused(now) {
		return
	}
	l.withFS(func(f vfs.FS) error {
		batch := l.m.Close(now)
		b := &builder{l: l, f: f, now: now, in: make(map[id.Path]Dirty, len(batch)), settled: make(map[id.Path]settle.Settled, len(batch)),
			real: make(map[id.Path]bool)}
		return b.build(batch)
	})
}

// takeBack undoes an offer that nobody took: by now it may be wrong.
func (l *loop) takeBack(now time.Time) {
	o := l.offered
	l.offered = nil
	l.retry = min(2*l.retry, maxRetry)
	back := make([]settle.Settled, 0, len(o.settled))
	for _, s := range o.settled {
		back = append(back, s)
	}
	l.m.Return(back, now)
	for _, d := range o.b.Paths {
		if _, ok := o.settled[d.Path]; !ok && d.Blocked != "" {
			l.news = append(l.news, d)
		}
	}
}

// builder makes one batch of settled paths. Each is compared once more with the
// disk and the index, since both have gone on.
type builder struct {
	l       *loop
	f       vfs.FS
	now     time.Time
	in      map[id.Path]Dirty
	settled map[id.Path]settle.Settled
	real    map[id.Path]bool // directories: whether they are ones on the disk
	gone    bool
}

func (b *builder) build(batch []settle.Settled) error {
	l := b.l
	if slices.ContainsFunc(batch, func(s settle.Settled) bool { return s.Stat.Kind == vfs.Absent && s.Blocked == "" }) {
		if err := CheckOpened(b.f, l.w.o.Folder); err != nil {
			return b.noMarker(batch, err)
		}
	}
	for _, s := range batch { // first, for what they say of the rest
		if s.Path.Base() == ignore.Name {
			l.reloadRules(b.f, s.Path.Dir())
		}
	}
	for _, s := range batch {
		if err := b.add(s); err != nil {
			return err
		}
	}
	if b.gone {
		// Invariant: what is told as gone was not there while the root was: the marker
		// was there before the look and after it.
		if err := CheckOpened(b.f, l.w.o.Folder); err != nil {
			return b.noMarker(batch, err)
		}
	}
	for _, d := range l.news {
		if _, ok := b.in[d.Path]; !ok {
			b.in[d.Path] = d
		}
	}
	l.news = nil
	if len(b.in) == 0 {
		return nil
	}
	l.offered = b.finish()
	return nil
}

// noMarker ends the watcher where the marker is missing; where that cannot be
// told, the batch is built again later.
func (b *builder) noMarker(batch []settle.Settled, err error) error {
	if errors.Is(err, ErrRootMissing) {
		return err
	}
	b.l.w.log.Warn("the folder's marker cannot be read", "error", err)
	b.l.m.Return(batch, b.now)
	b.l.pause = b.now.Add(pauseFor)
	return nil
}

// add adds a settled path, unless there is nothing to report any more.
func (b *builder) add(s settle.Settled) error {
	if s.Blocked != "" {
		b.put(s, vfs.Stat{}, s.Path)
		return nil
	}
	st := s.Stat
	if st.Kind == vfs.Absent || b.now.Sub(s.At) > freshLook {
		again, err := b.f.Lstat(s.Path)
		if err != nil || !again.Same(st) {
			b.l.m.Requeue(s, b.now)
			return nil
		}
	}
	known, had, err := b.l.w.o.Known.Lookup(s.Path)
	if err != nil {
		return indexError(s.Path, err)
	}
	if st.Kind == vfs.Absent {
		return b.addGone(s, had)
	}
	if had && known.Same(st) {
		return nil
	}
	if !had {
		if skip, err := b.l.w.skips(b.f, s.Path, st); err != nil || skip {
			return err
		}
	}
	ok, err := b.parents(s)
	if err != nil {
		return err
	}
	if !ok {
		b.l.m.Requeue(s, b.now)
		return nil
	}
	b.put(s, st, s.Path)
	return nil
}

// addGone adds the topmost recorded path that is gone with s.
func (b *builder) addGone(s settle.Settled, had bool) error {
	top := s.Path
	for d := s.Path.Dir(); d != ""; d = d.Dir() {
		if b.isDir(d) {
			break
		}
		_, known, err := b.l.w.o.Known.Lookup(d)
		if err != nil {
			return indexError(d, err)
		}
		if !known {
			continue
		}
		st, err := b.f.Lstat(d)
		if err != nil { // neither there nor gone, as far as one can tell
			b.l.m.Touch(d, b.now)
			return nil
		}
		if st.Kind != vfs.Absent { // something else took a directory's place
			b.l.m.Touch(d, b.now)
			return nil
		}
		top, had = d, true
	}
	if had {
		b.gone = true
		b.put(s, vfs.Stat{}, top)
	}
	return nil
}

// parents adds the directories above s that are not recorded. It is false where
// there is none on the disk, so that s cannot be there either.
func (b *builder) parents(s settle.Settled) (bool, error) {
	for d := s.Path.Dir(); d != ""; d = d.Dir() {
		if _, ok := b.in[d]; ok {
			return true, nil
		}
		if !b.isDir(d) {
			return false, nil
		}
		known, had, err := b.l.w.o.Known.Lookup(d)
		if err != nil {
			return false, indexError(d, err)
		}
		if had && known.Kind == vfs.Dir {
			return true, nil
		}
		st, err := b.f.Lstat(d)
		if err != nil || st.Kind != vfs.Dir {
			return false, nil
		}
		b.in[d] = Dirty{Path: d, Stat: st, Seen: s.First, Settled: s.At}
	}
	return true, nil
}

// isDir reports whether d is a directory on the disk.
func (b *builder) isDir(d id.Path) bool {
	is, ok := b.real[d]
	if !ok {
		st, err := b.f.Lstat(d)
		is = err == nil && st.Kind == vfs.Dir
		b.real[d] = is
	}
	return is
}

// put adds s, reported as p.
func (b *builder) put(s settle.Settled, st vfs.Stat, p id.Path) {
	if old, ok := b.settled[p]; ok {
		s.Number = min(s.Number, old.Number)
		if old.First.Before(s.First) {
			s.First = old.First
		}
	}
	s.Path = p
	b.settled[p] = s
	b.in[p] = Dirty{Path: p, Stat: st, Seen: s.First, Settled: s.At, Blocked: s.Blocked}
}

// finish makes the batch.
func (b *builder) finish() *batch {
	l := b.l
	out := &batch{settled: b.settled, until: b.now.Add(l.retry), lowest: ^uint64(0)}
	paths := make([]Dirty, 0, len(b.in))
	for p, d := range b.in {
		paths = append(paths, d)
		if s, ok := b.settled[p]; ok {
			out.lowest = min(out.lowest, s.Number)
		}
	}
	slices.SortFunc(paths, func(x, y Dirty) int { return strings.Compare(string(x.Path), string(y.Path)) })
	var once sync.Once
	out.b = Batch{Paths: paths, Done: func() { once.Do(func() { l.w.in.call(func(l *loop) { l.done(out) }) }) }}
	return out
}

// done takes the consumer's word that a batch has been dealt with.
func (l *loop) done(b *batch) {
	if l.out == b {
		l.out = nil
	}
}
