package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// NotForgettableError says why a path's tracking cannot be ended, and what would help.
type NotForgettableError struct{ Why, Hint string }

// Error implements error.
func (e *NotForgettableError) Error() string { return e.Why }

// QueuedError says that a change is stored here and will be committed, and why its
// outcome is not known yet.
type QueuedError struct{ Err error }

// Error implements error.
func (e *QueuedError) Error() string { return "queued: " + e.Err.Error() }

// Unwrap returns why.
func (e *QueuedError) Unwrap() error { return e.Err }

// maxRollbacks bounds the walk from a rollback of a rollback to what it restored.
const maxRollbacks = 16

// forgotten reports whether a path's absence came from ending its tracking, directly
// or by a rollback to a revision where it had: then nobody's file goes.
func (s *snap) forgotten(v meta.Version) (bool, error) {
	for range maxRollbacks {
		if v.Entry.Kind != meta.Absent || v.Revision == 0 {
			return false, nil
		}
		c, ok := s.commit, s.commit.Revision == v.Revision
		if !ok {
			var err error
			if c, ok, err = s.view.Commit(s.e.o.ID, v.Revision); err != nil || !ok {
				return false, err
			}
			s.commit = c
		}
		if c.Origin != meta.OriginRollback {
			return c.Origin == meta.OriginForget, nil
		}
		var err error
		if v, ok, err = s.view.At(s.e.o.ID, v.Path, c.Target); err != nil || !ok {
			return false, err
		}
	}
	return false, nil
}

// letsGo reports whether what is recorded at a path was forgotten: there, or at its old
// path before this node's rename of a directory came, which took nothing along then.
func (s *snap) letsGo(p id.Path, v meta.Version, row local.Row) (bool, error) {
	if is, err := s.forgotten(v); err != nil || is || v.Entry.Kind != meta.Absent || v.Revision >= row.Base.Revision {
		return is, err
	}
	for q := p.Dir(); q != ""; q = q.Dir() {
		dir, ok, err := s.view.At(s.e.o.ID, q, row.Base.Revision)
		if err != nil {
			return false, err
		}
		if !ok || dir.Revision != row.Base.Revision || dir.From == "" {
			continue
		}
		was, _, err := s.view.At(s.e.o.ID, p.Rebase(q, dir.From), row.Base.Revision)
		if err != nil {
			return false, err
		}
		return s.forgotten(was)
	}
	return false, nil
}

// letGoPaths bounds what is let go as one: the decision lock is held for it.
const letGoPaths = 1000

// letGo drops the records of those of the paths that the head forgot, and returns the
// others. What history has only in such a file is packed first.
func (e *Engine) letGo(ctx context.Context, s *snap, paths []id.Path) (others []id.Path, err error) {
	var gone []id.Path
	for _, p := range paths {
		v, err := s.version(p)
		if err != nil {
			return nil, err
		}
		if v.Entry.Kind != meta.Absent {
			others = append(others, p)
			continue
		}
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err != nil {
			return nil, err
		}
		is := false
		if had && !e.isUnderWay(row.Base.Own) { // a lost version keeps its sequence for good
			is, err = s.letsGo(p, v, row)
			if err != nil {
				return nil, err
			}
		}
		if is {
			gone = append(gone, p)
		} else {
			others = append(others, p)
		}
	}
	if len(gone) == 0 {
		return others, nil
	}
	f, err := e.openFS()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for page := range slices.Chunk(gone, letGoPaths) {
		left, err := e.letPageGo(ctx, s, f, page)
		if err != nil {
			return nil, err
		}
		others = append(others, left...)
	}
	slices.Sort(others)
	return others, nil
}

// isUnderWay reports whether an own sequence is that of a proposal under way.
func (e *Engine) isUnderWay(seq id.Sequence) bool {
	if seq == 0 {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, is := e.flight[seq]
	return is
}

// letPageGo returns the paths that are to be decided on like any other.
func (e *Engine) letPageGo(ctx context.Context, s *snap, f vfs.FS, paths []id.Path) (others []id.Path, err error) {
	var ready []id.Path
	fresh := make(map[id.Path]bool) // directories of which the rules were read anew
	for _, p := range paths {
		row, had, err := e.o.Local.Get(e.o.ID, p)
		if err != nil {
			return nil, err
		}
		if st, serr := lstat(f, p); serr != nil || !had || !st.Same(row.Stat) {
			others = append(others, p) // gone, or an edit, which wins
			continue
		}
		if wait, err := e.awaitsRule(s, f, p, row, fresh); err != nil {
			return nil, err
		} else if wait { // let go now, it would be proposed as new
			e.st.postpone(p, postponed{why: "the rule that ignores it is not here yet", letGo: true, at: time.Now().Add(retryLocal)})
			continue
		}
		if err := e.packKept(ctx, f, p, row); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			e.log.Warn("pack a file that is not tracked any more", "path", p, "error", err)
			e.st.postpone(p, postponed{why: "what history has of it is being packed", letGo: true, at: time.Now().Add(retryBusy)})
			continue
		}
		ready = append(ready, p)
	}
	if err := e.o.Chunks.Sync(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.o.Local.NewBatch()
	for _, p := range ready {
		c, err := e.decide(s, f, p, look(f, p))
		if err != nil {
			b.Discard()
			return nil, err
		}
		if c.Action != reconcile.LetGo {
			others = append(others, p)
			continue
		}
		e.dropRow(b, p, c.row)
		e.st.settle(p)
		if !e.watch.Rule(p, c.row.Stat.Kind == vfs.Dir).Ignored() {
			e.watch.Requeue(p) // the rules changed since: it is new again
		}
	}
	return others, b.Commit(false)
}

// awaitsRule reports whether a forgotten path is not ignored here, and may be once the
// rule files are on this disk as the head has them.
func (e *Engine) awaitsRule(s *snap, f vfs.FS, p id.Path, row local.Row, fresh map[id.Path]bool) (bool, error) {
	if d := p.Dir(); !fresh[d] {
		e.watch.Refresh(f, p)
		fresh[d] = true
	}
	if e.watch.Rule(p, row.Stat.Kind == vfs.Dir).Ignored() {
		return false, nil
	}
	return e.rulesBehind(s, p)
}

// rulesBehind reports whether a rule file at or above the path's directory is not on
// this disk as the head has it.
func (e *Engine) rulesBehind(s *snap, p id.Path) (bool, error) {
	for d := p; d != ""; {
		d = d.Dir()
		q := d.Join(ignore.Name)
		v, err := s.version(q)
		if err != nil {
			return false, err
		}
		row, had, err := e.o.Local.Get(e.o.ID, q)
		if err != nil {
			return false, err
		}
		live := v.Entry.Kind != meta.Absent
		if !live && had {
			// One that was forgotten itself stays, and waits for nothing.
			if had, err = s.forgotten(v); err != nil {
				return false, err
			}
			if had {
				continue
			}
			return true, nil
		}
		if live && (!had || row.Entry != v.Entry) {
			return true, nil
		}
	}
	return false, nil
}

// packKept packs what history needs of the file at p, which is the user's own from now
// on. The chunks are durable after a Sync.
func (e *Engine) packKept(ctx context.Context, f vfs.FS, p id.Path, row local.Row) error {
	if row.File == 0 || row.Entry.Kind != meta.File {
		return nil
	}
	h, err := f.Open(p)
	if err != nil {
		return err
	}
	defer h.Close()
	return e.o.Chunks.PackFile(ctx, fileOf(row.Entry), &spared{ReaderAt: h, room: e.o.Room})
}

// Forget ends the tracking of what is at a path, a directory's with all below it: one
// commit removes it from the head, and everybody's files stay. The path must be
// ignored by rules that all members have, for else it would be new again at once. It
// returns the revision, and how many paths it was; with dryRun only the latter. Local
// changes are committed first. A *NotForgettableError says what is to be done before.
func (e *Engine) Forget(ctx context.Context, p id.Path, dryRun bool) (rev id.Revision, n int, err error) {
	if _, err := e.Wait(ctx); err != nil {
		return 0, 0, err
	}
	f, err := e.openFS()
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	rows, err := e.forgettable(f, p)
	if err != nil || dryRun {
		return 0, len(rows), err
	}
	for q, row := range rows {
		if err := e.packKept(ctx, f, q, row); err != nil {
			return 0, 0, fmt.Errorf("keep the history of %q: %w", string(q), err)
		}
	}
	if err := e.o.Chunks.Sync(ctx); err != nil {
		return 0, 0, err
	}
	seq, err := e.enqueueForget(f, p, rows)
	if err != nil {
		return 0, 0, err
	}
	defer e.heard(seq)
	out, err := e.outcomeIn(ctx, seq)
	switch {
	case err != nil:
		return 0, 0, &QueuedError{err}
	case out.Kind == meta.Refused:
		return 0, 0, errors.New(out.Reason)
	}
	for _, c := range out.Changes {
		if c.Proposed == p && c.Kind == meta.Dropped && c.Path != p {
			return 0, 0, &NotForgettableError{fmt.Sprintf("another node has moved it to %q meanwhile", string(c.Path)), "forget that, if its rule ignores it there too"}
		}
	}
	return out.Revision, len(rows), nil
}

// forgettable returns the records of a path and of all below it, if its tracking can be
// ended.
func (e *Engine) forgettable(f vfs.FS, p id.Path) (map[id.Path]local.Row, error) {
	rows := make(map[id.Path]local.Row)
	row, had, err := e.o.Local.Get(e.o.ID, p)
	if err != nil {
		return nil, err
	}
	if !had && !e.o.Only.Keeps(p, true) {
		return nil, &NotForgettableError{notKept + "only=" + e.o.Only.String(), "run the command on a node that keeps it"}
	}
	if !had {
		return nil, &NotForgettableError{"it is not tracked: nothing of it is in the folder's history now", ""}
	}
	e.watch.Refresh(f, p)
	m := e.watch.Rule(p, row.Stat.Kind == vfs.Dir)
	if !m.Ignored() || m.Rule.Unusable() {
		line := "/" + escape(p)
		if row.Stat.Kind == vfs.Dir {
			line += "/"
		}
		return nil, &NotForgettableError{"no ignore rule matches it, so every node would take it for new again",
			fmt.Sprintf("add the line %s to %s at the folder's root first", line, ignore.Name)}
	}
	file := m.Dir.Join(ignore.Name)
	s, err := e.snap()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if whole, err := e.whollyKept(s, p); err != nil {
		return nil, err
	} else if !whole {
		return nil, &NotForgettableError{"this node keeps only a part of it", "run the command on a node that keeps all of it"}
	}
	v, err := s.version(file)
	if err != nil {
		return nil, err
	}
	rules, had, err := e.o.Local.Get(e.o.ID, file)
	if err != nil {
		return nil, err
	}
	if !had || rules.Entry != v.Entry {
		return nil, &NotForgettableError{fmt.Sprintf("the rule that ignores it, in %q, is not in the folder's history, so that others do not have it", string(file)),
			"let that file be synced first"}
	}
	rows[p] = row
	return rows, e.o.Local.Below(e.o.ID, p, func(q id.Path, r local.Row) error {
		rows[q] = r
		return nil
	})
}

// escape writes a path as a pattern that matches it alone; a line end in it, which no
// pattern can hold, as any character.
func escape(p id.Path) string {
	out := make([]byte, 0, len(p))
	for i := range len(p) {
		switch c := p[i]; c {
		case '\n', '\r':
			out = append(out, '?')
		case '*', '?', '[', '\\', ' ':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// enqueueForget queues the commit, if everything is still as it was found.
func (e *Engine) enqueueForget(f vfs.FS, p id.Path, rows map[id.Path]local.Row) (id.Sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.over(); err != nil { // packing may have taken long
		return 0, err
	}
	busy := &NotForgettableError{"it is changing, here or at another node", "try again"}
	s, err := e.snap()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	base := rows[p].Base
	if rows[p].Stat.Kind == vfs.Dir {
		if whole, err := e.covered(s, p); err != nil || !whole {
			return 0, errors.Join(err, busy)
		}
		base = e.sure.Base()
	}
	if held, err := s.holds(base); err != nil || !held || e.pendingSeq(p) != 0 {
		return 0, errors.Join(err, busy)
	}
	for q, was := range rows {
		row, had, err := e.o.Local.Get(e.o.ID, q)
		st, serr := lstat(f, q)
		if errors.Is(serr, fs.ErrNotExist) {
			serr = nil
		}
		if err := errors.Join(err, serr); err != nil || !had || row != was || !st.Same(row.Stat) {
			return 0, errors.Join(err, busy)
		}
	}
	b := e.o.Local.NewBatch()
	for q, row := range rows {
		e.dropRow(b, q, row)
	}
	tx := e.o.Lane.Begin()
	defer tx.Abort()
	changes := []meta.Change{{Op: meta.OpDelete, Path: p, Base: base}}
	cmd := meta.CommitCmd{Folder: e.o.ID, Origin: meta.OriginForget, Changes: changes, Acked: e.acked(tx.Sequence()), Seen: e.sure.Base()}
	if err := tx.Commit(b, cmd); err != nil {
		return 0, err
	}
	e.underWay(tx.Sequence(), flight{hash: tx.Hash(), changes: touches(changes), at: time.Now()})
	e.awaited[tx.Sequence()] = struct{}{}
	e.st.touch()
	return tx.Sequence(), nil
}
