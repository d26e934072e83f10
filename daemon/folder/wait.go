package folder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
)

// BlockedError says which paths a wait cannot wait for.
type BlockedError struct{ Paths []Blocked }

// Error implements error.
func (e *BlockedError) Error() string {
	if len(e.Paths) == 1 {
		return fmt.Sprintf("%q is blocked: %s", string(e.Paths[0].Path), e.Paths[0].Reason)
	}
	return fmt.Sprintf("%d paths are blocked, the first %q: %s", len(e.Paths), string(e.Paths[0].Path), e.Paths[0].Reason)
}

// Flush returns when every change that was on this disk at the time of the call
// is in the history of this node's own state machine (a conflict copy counts).
// Files that a program holds open for writing are left out.
func (e *Engine) Flush(ctx context.Context) error {
	if err := e.running(ctx); err != nil {
		return err
	}
	if err := e.watch.Flush(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	var last id.Sequence
	for seq := range e.flight {
		last = max(last, seq)
	}
	e.mu.Unlock()
	return e.applied(ctx, func() (bool, error) {
		e.mu.Lock()
		_, under := e.flight[last]
		e.mu.Unlock()
		if !under {
			return true, nil
		}
		_, ok, err := e.outcomeOf(last)
		return ok, err
	})
}

// outcomeOf reads an own proposal's outcome from the state machine itself: the
// follower, which takes the outcomes, may be busy with something large.
func (e *Engine) outcomeOf(seq id.Sequence) (meta.Outcome, bool, error) {
	v := e.o.Machine.View()
	defer v.Close()
	return v.Outcome(e.o.Self, e.o.ID, seq)
}

// Wait is Flush, then returns when that revision, or a later one, is on the disk.
// It returns the revision. What time cannot mend ends it with a *BlockedError.
func (e *Engine) Wait(ctx context.Context) (id.Revision, error) {
	if err := e.Flush(ctx); err != nil {
		return 0, err
	}
	s, err := e.snap()
	if err != nil {
		return 0, err
	}
	want := s.head.Revision
	s.Close()
	if err := e.WaitFor(ctx, want); err != nil {
		return want, err
	}
	e.lookAtBrought(ctx)
	return want, nil
}

// broughtTime bounds how long lookAtBrought waits.
const broughtTime = 250 * time.Millisecond

// lookAtBrought has the watcher look at what was brought just now, so that its events
// are not shown as changes of this disk. It is for the eye alone.
func (e *Engine) lookAtBrought(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, broughtTime)
	defer cancel()
	_ = e.watch.Flush(ctx)
}

// WaitFor returns when the revision, or a later one, is on the disk.
func (e *Engine) WaitFor(ctx context.Context, want id.Revision) error {
	if err := e.Stopped(); err != nil {
		return err
	}
	e.recheckBlocked()
	pass := e.st.askPass() // what was blocked before may not be any more
	e.lookAgain()
	var unreadable []Blocked
	for _, b := range e.watch.Blocked() {
		if !neverSynced(b) {
			unreadable = append(unreadable, Blocked{b.Path, b.Reason})
		}
	}
	return e.until(ctx, func() (bool, error) {
		e.st.mu.Lock()
		defer e.st.mu.Unlock()
		if h := e.st.held; h != nil {
			return false, &HeldError{*h}
		}
		if e.st.head.Revision < want || e.st.passDone < pass {
			return false, nil
		}
		blocked := slices.Clone(unreadable)
		waiting := false
		for p, d := range e.st.later {
			if d.kept || d.skipped {
				continue // told of below, or not this node's to have
			}
			if d.blocked != "" {
				blocked = append(blocked, Blocked{Path: p, Reason: d.blocked})
			} else {
				waiting = true
			}
		}
		for p, reason := range e.st.blocked {
			blocked = append(blocked, Blocked{Path: p, Reason: reason})
		}
		for p, k := range e.st.kept {
			blocked = append(blocked, Blocked{p, keptReason(k)})
		}
		if len(blocked) > 0 {
			sortBlocked(blocked)
			return false, &BlockedError{blocked}
		}
		return !waiting && e.st.onDisk >= want, nil
	})
}

// recheckBlocked forgets local paths that could not be read and are gone by now:
// where nothing was recorded, nobody reports that nothing is there.
func (e *Engine) recheckBlocked() {
	paths := append(e.st.blockedPaths(), e.st.keptFiles()...)
	if len(paths) == 0 {
		return
	}
	f, err := e.openFS()
	if err != nil {
		return
	}
	defer f.Close()
	for _, p := range paths {
		if st, err := lstat(f, p); err == nil && st.Kind == vfs.Absent {
			e.st.unblock(p)
			if _, had, err := e.o.Local.Get(e.o.ID, p); err == nil && !had {
				e.st.unkeep(p)
			}
		}
	}
}

// Compared waits until the records are right for the first scan: what this node keeps
// since the last engine has its own, and of what it does not all is let go. It returns an
// error where the folder halts, and ErrPaused where it is paused.
func (e *Engine) Compared(ctx context.Context) error { return e.running(ctx) }

// running waits until the engine works, or says why it does not.
func (e *Engine) running(ctx context.Context) error {
	if e.o.Paused {
		return ErrPaused
	}
	return e.until(ctx, func() (bool, error) {
		e.st.mu.Lock()
		defer e.st.mu.Unlock()
		if e.st.err != nil {
			return false, e.st.err
		}
		return e.st.phase == StateScanning || e.st.phase == StateRunning, nil
	})
}

// applied is until for what the state machine says.
func (e *Engine) applied(ctx context.Context, done func() (bool, error)) error {
	news, stop := e.o.Machine.Watch()
	defer stop()
	return e.untilOr(ctx, news, done)
}

// until asks done again whenever something changed, until it says yes or fails.
func (e *Engine) until(ctx context.Context, done func() (bool, error)) error {
	return e.untilOr(ctx, nil, done)
}

func (e *Engine) untilOr(ctx context.Context, news <-chan struct{}, done func() (bool, error)) error {
	for {
		e.st.mu.Lock()
		changed, halted, ended := e.st.changed, e.st.err, e.st.ended
		e.st.mu.Unlock()
		if err := cmp.Or(halted, ended); err != nil {
			return err
		}
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-news:
		}
	}
}

// Submit queues a command of this folder's lane, a rollback say, and returns its
// outcome from this node's own state machine.
func (e *Engine) Submit(ctx context.Context, cmd meta.Command) (meta.Outcome, error) {
	if err := e.running(ctx); err != nil {
		return meta.Outcome{}, err
	}
	seq, err := e.enqueue(cmd)
	if err != nil {
		return meta.Outcome{}, err
	}
	defer e.heard(seq)
	return e.outcomeIn(ctx, seq)
}

// heard says that nobody waits for an outcome any more.
func (e *Engine) heard(seq id.Sequence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.awaited, seq)
}

// outcomeIn waits for an own proposal's outcome.
func (e *Engine) outcomeIn(ctx context.Context, seq id.Sequence) (out meta.Outcome, err error) {
	err = e.applied(ctx, func() (ok bool, err error) {
		out, ok, err = e.outcomeOf(seq)
		return ok, err
	})
	return out, err
}

func (e *Engine) enqueue(cmd meta.Command) (id.Sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.over(); err != nil {
		return 0, err
	}
	tx := e.o.Lane.Begin()
	defer tx.Abort()
	if err := tx.Commit(e.o.Local.NewBatch(), cmd); err != nil {
		return 0, err
	}
	e.flight[tx.Sequence()] = flight{hash: tx.Hash(), at: time.Now()}
	e.awaited[tx.Sequence()] = struct{}{}
	return tx.Sequence(), nil
}

// Trace returns the times of the steps of a path's way.
func (e *Engine) Trace(p id.Path) []trace.Step { return e.trace.Steps(p) }

// Root is the folder's path on this machine.
func (e *Engine) Root() string { return e.o.Root }

// NeverSynced lists what is in the folder and of a kind that is never synced.
func (e *Engine) NeverSynced() (out []Blocked) {
	for _, b := range e.watch.Blocked() {
		if neverSynced(b) {
			out = append(out, Blocked{b.Path, b.Reason})
		}
	}
	return out
}

// neverSynced tells kinds that are never synced from what cannot be read.
func neverSynced(b watcher.BlockedPath) bool { return watcher.NeverSynced(b.Reason) }

// Blocked is a path that is not in sync, and why time alone will not mend it.
type Blocked struct {
	Path   id.Path
	Reason string
}

// Info is what status shows of a folder on this node.
type Info struct {
	ID    id.Folder
	Root  string
	Phase Phase
	Err   error // why it halted
	// Head is the newest revision of this node's history; OnDisk the newest whose
	// every path is on the disk.
	Head   meta.Commit
	OnDisk id.Revision
	// LocalChanges counts paths on this disk that are not committed yet.
	LocalChanges int
	// PendingFiles and PendingBytes are what this disk lacks of the head.
	PendingFiles     int
	PendingBytes     int64
	ReceiveRate      int64 // bytes a second of PendingBytes, 0 if it is not known
	Blocked          []Blocked
	Waiting          []Blocked // what time or another node will mend
	UnprotectedBytes int64
	Mode             Mode
	Only             string // the patterns of what is kept here, "" for everything
	// Kept are changes on this disk that are not proposed, for the node only receives.
	Kept []Blocked
	// Held are deletions that wait for the user, nil if there are none.
	Held *local.Held
	// Left counts paths whose head is not brought over what is kept or held here;
	// Skipped counts paths whose head is not brought, for the node only sends.
	Left, Skipped int
}

// Progress returns the newest revision of this node's history, and the newest
// whose every path is on the disk.
func (e *Engine) Progress() (head meta.Commit, onDisk id.Revision, err error) {
	v := e.o.Machine.View()
	head, err = v.Head(e.o.ID)
	if cerr := v.Close(); err == nil {
		err = cerr
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	return head, e.st.onDisk, err
}

// Lacking returns how many paths are not on the disk for reasons that time alone will
// not mend: blocked ones, with which a revision counts as on the disk, and others that
// keep it from counting so.
func (e *Engine) Lacking() (blocked, keeping int) {
	if e.o.Paused {
		return 0, 1
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	for _, d := range e.st.later {
		switch {
		case d.skipped:
		case d.lacking:
			keeping++
		case d.blocked != "":
			blocked++
		}
	}
	return blocked, keeping
}

// Part reports whether the disk may lack something of the revision that counts as on it,
// and Lacking does not count that: it keeps a part, or not what others made of a path.
func (e *Engine) Part() bool {
	if e.o.Only != nil {
		return true
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	for _, d := range e.st.later {
		if d.skipped {
			return true
		}
	}
	return len(e.st.kept) > 0
}

// Info returns what status shows. It does not wait for the engine's work.
func (e *Engine) Info() (Info, error) {
	e.recheckBlocked()
	v := e.o.Machine.View()
	head, err := v.Head(e.o.ID)
	if cerr := v.Close(); err == nil {
		err = cerr
	}
	ws := e.watch.Status()
	in := Info{ID: e.o.ID, Root: e.o.Root, Head: head, LocalChanges: int(e.changes.Load()) + ws.Dirty}
	unseen := e.watch.Blocked()
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	in.Mode, in.Only = e.o.Mode, e.o.Only.String()
	for _, p := range slices.Sorted(maps.Keys(e.st.kept)) {
		in.Kept = append(in.Kept, Blocked{p, keptReason(e.st.kept[p])})
	}
	in.LocalChanges += len(in.Kept)
	if e.st.held != nil {
		h := *e.st.held
		in.Held = &h
		in.LocalChanges += h.Deletes
	}
	for _, b := range unseen {
		if e.st.later[b.Path].blocked == "" { // else it is listed below, with what that means here
			in.Blocked = append(in.Blocked, Blocked{b.Path, b.Reason})
		}
	}
	in.Phase, in.Err, in.OnDisk = e.st.phase, e.st.err, e.st.onDisk
	if in.Phase == StateScanning && !ws.LastScan.IsZero() {
		in.Phase = StateRunning
	}
	in.LocalChanges += len(e.st.blocked)
	in.PendingBytes = e.st.ahead.bytes
	own := 0 // that wait for the log to take this node's change
	in.ReceiveRate = e.st.rate.perSecond(time.Now())
	in.UnprotectedBytes = e.st.unprotected
	for _, p := range slices.Sorted(maps.Keys(e.st.later)) {
		d := e.st.later[p]
		if d.skipped {
			in.Skipped++
			continue
		}
		if d.kept {
			in.Left++
			continue
		}
		if d.why == whyOutcome {
			own++
		}
		if d.blocked != "" {
			in.Blocked = append(in.Blocked, Blocked{p, d.blocked})
		} else {
			in.Waiting = append(in.Waiting, Blocked{p, d.why})
		}
		if e.st.ahead.files == 0 {
			in.PendingBytes += d.size
		}
	}
	in.PendingFiles = max(e.st.ahead.files-e.st.ahead.done, len(e.st.later)-in.Skipped-in.Left-own)
	for p, reason := range e.st.blocked {
		in.Blocked = append(in.Blocked, Blocked{p, reason})
	}
	sortBlocked(in.Blocked)
	return in, err
}

func sortBlocked(b []Blocked) {
	slices.SortFunc(b, func(x, y Blocked) int {
		if x.Path != y.Path {
			if x.Path < y.Path {
				return -1
			}
			return 1
		}
		return 0
	})
}
