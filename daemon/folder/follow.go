package folder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// pagePaths bounds what is brought to the disk as one: beyond it files move
	// page by page, so that memory and the free space stay bounded.
	pagePaths = 20000
	// pageBytes likewise, of the files' sizes.
	pageBytes = 1 << 30
	// firstPagePaths is the page of a first sync, where nothing is torn apart by
	// moving in pages and files should appear soon.
	firstPagePaths = 4000
	// firstPageBytes likewise.
	firstPageBytes = 256 << 20
	// maxReplay is how many revisions are followed one by one; beyond that the
	// whole head is compared, which costs a read for each path of the folder.
	maxReplay = 4096
)

// followLoop brings to the disk what the state machine applies.
func (e *Engine) followLoop(ctx context.Context, changed <-chan struct{}) error {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		next, err := e.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow the history of %q: %w", e.o.Root, err)
		}
		retry.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-e.kick:
		case <-retry.C:
		case <-e.o.Wake:
			e.st.retryMissing()
		}
	}
}

// follow takes own outcomes, finds what differs from the head and brings it. It
// returns when the earliest postponed path is due again; at once where a commit has
// overtaken what it was bringing.
func (e *Engine) follow(ctx context.Context) (time.Duration, error) {
	e.haste.begin()
	for _, p := range e.st.dueBlocked() {
		e.watch.Requeue(p)
	}
	pass := e.st.beginPass()
	e.mu.Lock()
	s, err := e.snap()
	if err != nil {
		e.mu.Unlock()
		return 0, err
	}
	defer s.Close()
	end, err := e.outcomes(s)
	seen, all := e.seen, e.compareAll
	e.compareAll = false
	e.mu.Unlock()
	if err != nil {
		return 0, err
	}
	paths, err := e.candidates(s, seen, all, end)
	if err != nil {
		return 0, err
	}
	if paths, err = e.leaveOutside(ctx, s, paths); err != nil {
		return 0, err
	}
	if paths, err = e.letGo(ctx, s, paths); err != nil {
		return 0, err
	}
	if err := e.heldMoved(s, paths); err != nil {
		return 0, err
	}
	rest, err := e.bringAll(ctx, s, paths, seen.Revision)
	overtaken := errors.Is(err, errOvertaken)
	if err != nil && !overtaken {
		return 0, err
	}
	if err := e.stillComing(paths); err != nil {
		return 0, err
	}
	if overtaken {
		e.haste.put(rest)
		return 0, nil
	}
	if err := e.nowSeen(s.head); err != nil {
		return 0, err
	}
	if len(paths) != 0 {
		e.askRecount() // others may have deleted what is held, or put it back
	}
	e.st.endPass(pass)
	return e.st.nextRetry(), nil
}

// candidates lists, in order, the paths that may differ from the snap's head.
func (e *Engine) candidates(s *snap, seen meta.Commit, all bool, end ended) ([]id.Path, error) {
	set := make(map[id.Path]struct{})
	for _, p := range end.look {
		set[p] = struct{}{}
	}
	e.st.due(set)
	for _, p := range e.haste.take() {
		set[p] = struct{}{}
	}
	var err error
	if all || s.head.Revision-seen.Revision > maxReplay && s.head.Revision > seen.Revision {
		err = e.compareWithHead(s, set)
	} else {
		err = e.changedSince(s, seen.Revision, end, set)
	}
	if err != nil {
		return nil, err
	}
	out := make([]id.Path, 0, len(set))
	for p := range set {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

// changedSince adds the paths of the revisions after seen, but those that only
// hold what this disk proposed.
func (e *Engine) changedSince(s *snap, seen id.Revision, end ended, set map[id.Path]struct{}) error {
	now := time.Now()
	for rev := seen + 1; rev <= s.head.Revision; rev++ {
		if end.plain[rev] {
			continue
		}
		err := s.view.Changes(e.o.ID, rev, func(v meta.Version) error {
			if never, err := e.never(v); err != nil || never {
				return err
			}
			set[v.Path] = struct{}{}
			if rev == s.head.Revision {
				s.remember(v)
			}
			e.trace.MarkAt(v.Path, trace.Arrived, now)
			return nil
		})
		if err != nil {
			return err
		}
		if c, ok, err := s.view.Commit(e.o.ID, rev); err == nil && ok && c.Node != e.o.Self {
			e.st.prefer(c.Node)
		}
	}
	return nil
}

// compareWithHead adds every path whose record differs from the head: after a
// start, and after a long absence.
func (e *Engine) compareWithHead(s *snap, set map[id.Path]struct{}) error {
	now := time.Now()
	err := s.view.Tree(e.o.ID, "", s.head.Revision, func(v meta.Version) error {
		row, had, err := e.o.Local.Get(e.o.ID, v.Path)
		if err != nil || !had && e.outside(v) {
			return err
		}
		if !had || row.Entry != v.Entry || row.Base.Own != 0 {
			set[v.Path] = struct{}{}
			e.trace.MarkAt(v.Path, trace.Arrived, now)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		v, err := s.version(p)
		if err == nil && v.Entry.Kind == meta.Absent {
			set[p] = struct{}{}
			if r.Base.Own != 0 {
				e.st.addLineage(p, r.Base.Own)
			}
		}
		return err
	})
}

// bringAll brings the paths, small ones first where that tears nothing apart. With
// errOvertaken it returns those that it has not brought.
func (e *Engine) bringAll(ctx context.Context, s *snap, paths []id.Path, seen id.Revision) (rest []id.Path, err error) {
	defer e.st.setAhead(0, 0)
	if err := e.measure(s, paths); err != nil {
		return nil, err
	}
	units, err := e.order(s, seen, paths)
	if err != nil {
		return nil, err
	}
	e.haste.first = seen == 0
	for i, u := range units {
		rest, err := e.bringPages(ctx, s, u.paths, seen == 0)
		if errors.Is(err, errOvertaken) {
			for _, later := range units[i+1:] {
				rest = append(rest, later.paths...)
			}
		}
		if err != nil {
			return rest, err
		}
	}
	return e.shutAll(ctx, s)
}

// bringPages brings the paths page by page. With an error it returns those from the
// page on that met it.
func (e *Engine) bringPages(ctx context.Context, s *snap, paths []id.Path, first bool) (rest []id.Path, err error) {
	maxPaths, maxBytes := e.page, int64(pageBytes)
	if first {
		maxPaths, maxBytes = e.firstPage, firstPageBytes
	}
	var b belt
	defer func() {
		if werr := b.wait(); werr != nil {
			err = werr
		}
	}()
	for len(paths) > 0 {
		n, bytes := 0, int64(0)
		for n < len(paths) && n < maxPaths && (n == 0 || bytes < maxBytes) {
			v, err := s.version(paths[n])
			if err != nil {
				return paths, err
			}
			bytes += v.Entry.Size
			n++
		}
		if err := e.bring(ctx, s, paths[:n], &b); err != nil {
			return slices.Clone(paths), err
		}
		if err := ctx.Err(); err != nil {
			return paths, err
		}
		paths = paths[n:]
	}
	return nil, nil
}

// measure tells status how much may have to be brought.
func (e *Engine) measure(s *snap, paths []id.Path) error {
	files, bytes := 0, int64(0)
	for _, p := range paths {
		v, err := s.version(p)
		if err != nil {
			return err
		}
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err != nil {
			return err
		}
		if !had && v.Entry.Kind == meta.Absent || had && row.Entry == v.Entry {
			continue
		}
		files++
		if !had || !row.Entry.SameContent(v.Entry) {
			bytes += v.Entry.Size
		}
	}
	e.st.setAhead(files, bytes)
	return nil
}

// nowSeen notes that the whole disk was compared with a revision.
func (e *Engine) nowSeen(head meta.Commit) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.st.nothingLater() {
		e.sure = head
	}
	if e.seen.Revision == head.Revision && e.seen.Hash == head.Hash {
		e.tellMoved(head)
		return nil
	}
	e.seen = head
	b := e.o.Local.NewBatch()
	b.SetFolder(local.Folder{ID: e.o.ID, Root: e.o.Root, Seen: head.Revision, Hash: head.Hash})
	if err := b.Commit(false); err != nil {
		return err
	}
	e.tellMoved(head)
	return nil
}

func (e *Engine) tellMoved(head meta.Commit) {
	if e.st.seen(head) {
		e.o.Moved()
	}
}

// isMissing reports whether content is nowhere to be had.
func isMissing(err error) bool { return errors.Is(err, errMissing) }
