// Package folder keeps one folder of this node at the committed version: it
// takes settled changes from the watcher, hashes and proposes them, follows the
// history that the state machine applies, and brings it to the disk.
package folder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/daemon/propose"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// Options of New; all but Log, Moved, Room and Mode, and what pauses, are required.
type Options struct {
	ID      id.Folder
	Root    string // absolute path on this machine
	Self    id.Node
	Machine *meta.Machine
	Local   *local.DB
	Chunks  *chunks.Store
	Lane    *propose.Lane
	Peers   fetch.Puller
	// Share, if not nil, lets other nodes have what is on its way to the disk.
	Share *fetch.Share
	// Wake yields when another node came online or has news, so that missing
	// chunks are asked for again.
	Wake <-chan struct{}
	// Moved is told when the revision on the disk has changed.
	Moved func()
	// Caught blocks until the log is applied as far as this node knew it to be
	// committed before it was stopped.
	Caught func(ctx context.Context) error
	// Room, if not nil, says why nothing can be kept in the node's home any more. It is
	// asked before anything is hashed or brought.
	Room func() error
	// Mode is which way changes go; "" is ModeBoth.
	Mode Mode
	// Only is what of the folder this node keeps; nil is everything.
	Only *ignore.Only
	// Paused: nothing is proposed and nothing is brought. OnDisk is then the revision
	// that was on the disk when it was paused.
	Paused bool
	OnDisk id.Revision
	// ScanEvery is the shortest time between two timed scans; 0 is the watcher's.
	ScanEvery time.Duration
	Log       *slog.Logger
}

// Engine keeps one folder. Run it once; the other methods may be called from any
// goroutine while it runs.
type Engine struct {
	o     Options
	log   *slog.Logger
	watch *watcher.Watcher
	exec  *materialize.Executor
	fill  *fetch.Filler
	trace *trace.Log
	kick  chan struct{} // asks the follower to look again; capacity 1
	pack  chan struct{} // asks the packer to look again; capacity 1

	// tick is how old a ctime must be before the file is hashed; set by prepare.
	tick time.Duration

	// mu is the folder's decision lock: its holder may decide from rows, queue and
	// disk, and move files. Lock order: mu, then the lane's, then st.mu.
	mu sync.Mutex
	// pending is the newest own change under way of a path, trees of a whole
	// subtree, flight the changes by sequence. Guarded by mu.
	pending map[id.Path]id.Sequence
	trees   map[id.Path]id.Sequence
	flight  map[id.Sequence]flight
	// ajar are directories that are open until all below them is there. Guarded by mu.
	ajar map[id.Path]bool
	// changes is the length of pending, for who must not wait for mu: its holder may
	// be moving a whole page of files.
	changes atomic.Int64
	// awaited are sequences whose outcome Submit will read. Guarded by mu.
	awaited map[id.Sequence]struct{}
	// refusals counts the own proposals refused in a row. Guarded by mu.
	refusals int
	// seen is the newest revision that was compared with the whole disk. Guarded by mu.
	seen meta.Commit
	// sure is the newest revision with which the whole disk was equal, nothing being
	// postponed: what the user saw of every path. Guarded by mu.
	sure meta.Commit
	// compareAll asks for a comparison of the whole head. Guarded by mu.
	compareAll bool
	// leaving is what will be kept here once an engine with less takes over, nil if none
	// will; unsaid are paths whose deletion is not proposed for it. Guarded by mu.
	leaving *ignore.Only
	unsaid  []id.Path

	// brake holds mass deletions. Guarded by mu.
	brake   brake
	least   int           // how many deletions are held at least; set by New
	calm    time.Duration // brakeCalm; set by New
	recount chan struct{} // asks for a count of what is held; capacity 1

	// haste cuts stages short for commits that need not wait for them.
	haste haste

	// commitMax is commitBytes; set by New.
	commitMax int

	// page is pagePaths and firstPage firstPagePaths; set by New.
	page, firstPage int

	// hashing and staging are the files that are being read and written, for why.
	hashing, staging works

	st state
}

// New returns the engine of a folder. It touches nothing before Run.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		o: o, log: o.Log.With("component", "folder", "folder", o.ID),
		trace: trace.New(), kick: make(chan struct{}, 1), pack: make(chan struct{}, 1), recount: make(chan struct{}, 1),
		pending: make(map[id.Path]id.Sequence), trees: make(map[id.Path]id.Sequence), ajar: make(map[id.Path]bool),
		flight: make(map[id.Sequence]flight), awaited: make(map[id.Sequence]struct{}), compareAll: true, least: brakeLeast, calm: brakeCalm, haste: haste{least: orderBytes, after: overtakeAfter, share: prepareShare},
		commitMax: commitBytes, page: pagePaths, firstPage: firstPagePaths,
	}
	if o.Moved == nil {
		e.o.Moved = func() {}
	}
	if o.Mode == "" {
		e.o.Mode = ModeBoth
	}
	if o.Room == nil {
		e.o.Room = func() error { return nil }
	}
	e.st.init()
	if o.Paused {
		e.st.phase, e.st.onDisk = StatePaused, o.OnDisk
	}
	e.fill = &fetch.Filler{Folder: o.ID, Store: o.Chunks, Peers: o.Peers, Prefer: e.st.preferred, Progress: e.progress, Share: o.Share}
	e.exec = materialize.New(materialize.Options{FS: e.openFS, Content: content{e}, Keeper: keeper{e}, Settle: e.settlePlacements, Ended: e.placed, Log: o.Log})
	e.watch = watcher.New(watcher.Options{FS: e.openFS, Root: o.Root, Folder: o.ID, Known: known{e}, Head: headOf{e}, Only: o.Only, ScanEvery: o.ScanEvery, Log: o.Log})
	return e
}

// MarkerPath is where a folder's root is marked with the folder's ID.
func MarkerPath(root string) string { return filepath.Join(root, id.ReservedName, "folder") }

// CheckRoot returns nil when the folder's root is there and marked as this folder.
func CheckRoot(root string, f id.Folder) error { return watcher.CheckMarker(root, f) }

// openFS opens the root and checks its marker: without it, an unmounted disk or
// another directory, nothing may be taken for what the user did.
func (e *Engine) openFS() (vfs.FS, error) {
	f, err := vfs.OpenReal(e.o.Root)
	if err != nil {
		return nil, err
	}
	if err := watcher.CheckOpened(f, e.o.ID); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Run keeps the folder until ctx ends, and then returns nil. An error means that the folder
// has halted; nothing of it is reported as deleted, and Status says why.
func (e *Engine) Run(ctx context.Context) error {
	err := e.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		err = explain(e.o.Root, e.o.ID, err)
		e.st.halt(err)
		e.log.Error("folder halted", "root", e.o.Root, "error", err)
	}
	return err
}

func (e *Engine) run(ctx context.Context) error {
	if e.o.Paused {
		return e.rest(ctx)
	}
	if err := e.prepare(ctx); err != nil {
		return err
	}
	changed, stop := e.o.Machine.Watch()
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.watch.Run(ctx) })
	g.Go(func() error { return e.localLoop(ctx) })
	g.Go(func() error { return e.followLoop(ctx, changed) })
	g.Go(func() error { return e.sweepLoop(ctx) })
	g.Go(func() error { return e.packLoop(ctx) })
	g.Go(func() error { return e.brakeLoop(ctx) })
	return g.Wait()
}

// prepare makes the disk and the queue's memory right before anything is decided.
func (e *Engine) prepare(ctx context.Context) error {
	if err := watcher.CheckMarker(e.o.Root, e.o.ID); err != nil {
		return err
	}
	if err := e.leftBehindPlacements(); err != nil {
		return fmt.Errorf("compare the moved root %q: %w", e.o.Root, err)
	}
	if err := e.exec.Recover(ctx); err != nil {
		return fmt.Errorf("finish interrupted changes of %q: %w", e.o.Root, err)
	}
	if err := e.settleMoved(); err != nil {
		return fmt.Errorf("compare the moved root %q: %w", e.o.Root, err)
	}
	e.measureClock()
	if err := e.loadQueue(); err != nil {
		return err
	}
	if err := e.loadHeld(); err != nil {
		return err
	}
	e.st.set(StateWaitingForLog)
	if err := e.o.Caught(ctx); err != nil {
		return err
	}
	if err := e.letOutsideGo(ctx); err != nil {
		return err
	}
	if err := e.surveyWidened(ctx); err != nil {
		return fmt.Errorf("compare what is kept here from now on: %w", err)
	}
	if err := e.findComing(); err != nil {
		return err
	}
	e.st.set(StateScanning)
	return nil
}

// loadQueue rebuilds the memory of the own changes under way.
func (e *Engine) loadQueue() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.o.Local.Queue(e.o.ID, 1, func(it local.Item) error {
		body, err := meta.UnmarshalBody(it.Body)
		if err != nil {
			return fmt.Errorf("read the queue of %q at sequence %d: %w", e.o.Root, it.Sequence, err)
		}
		cmd, err := body.Command()
		if err != nil {
			return fmt.Errorf("read the queue of %q at sequence %d: %w", e.o.Root, it.Sequence, err)
		}
		var changes []touched
		if c, ok := cmd.(meta.CommitCmd); ok {
			changes = touches(c.Changes)
		}
		e.underWay(it.Sequence, flight{hash: body.Hash, changes: changes, before: true})
		return nil
	})
	if err != nil {
		return err
	}
	// Rows that name an own sequence for good: its outcome must not be forgotten.
	return e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		if _, under := e.flight[r.Base.Own]; r.Base.Own != 0 && !under {
			e.st.addLineage(p, r.Base.Own)
		}
		return nil
	})
}

// flight is an own proposal whose outcome this node has not taken yet.
type flight struct {
	hash    id.Digest // of the body; the outcome has the same
	changes []touched
	at      time.Time // when it was queued; zero: before the start
	// before: an earlier engine queued it. Its records may have been let go since.
	before bool
}

// touched is what is remembered of a change while it is under way: hundreds of thousands
// may be.
type touched struct {
	Op         meta.Op
	Path, From id.Path
}

func touches(changes []meta.Change) []touched {
	out := make([]touched, len(changes))
	for i, c := range changes {
		out[i] = touched{c.Op, c.Path, c.From}
	}
	return out
}

// underWay notes a proposal of this node. mu is held.
func (e *Engine) underWay(seq id.Sequence, fl flight) {
	e.flight[seq] = fl
	for _, c := range fl.changes {
		e.pending[c.Path] = seq
		if c.Op == meta.OpMove {
			e.pending[c.From] = seq
			e.trees[c.From], e.trees[c.Path] = seq, seq
		}
		if c.Op == meta.OpDelete {
			e.trees[c.Path] = seq
		}
	}
	e.changes.Store(int64(len(e.pending)))
}

// landed forgets a proposal that this node's state machine has applied. mu is held.
func (e *Engine) landed(seq id.Sequence) {
	for _, c := range e.flight[seq].changes {
		for _, p := range []id.Path{c.Path, c.From} {
			if e.pending[p] == seq {
				delete(e.pending, p)
			}
			if e.trees[p] == seq {
				delete(e.trees, p)
			}
		}
	}
	delete(e.flight, seq)
	e.changes.Store(int64(len(e.pending)))
}

// pendingSeq is the newest own change under way that touches the path. mu is held.
func (e *Engine) pendingSeq(p id.Path) id.Sequence {
	seq := e.pending[p]
	if len(e.trees) == 0 {
		return seq
	}
	for at := p; at != ""; at = at.Dir() {
		seq = max(seq, e.trees[at])
	}
	return seq
}

// lookAgain asks the follower to run.
func (e *Engine) lookAgain() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// leftoverTime is how long after the start what an earlier run had staged is kept,
// once nothing is missing: after a kill the log tells only by and by what it was for.
const leftoverTime = 10 * time.Minute

func (e *Engine) sweepLoop(ctx context.Context) error {
	begun := time.Now()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		s, err := e.exec.Sweep(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, vfs.ErrMount) {
			e.log.Warn("sweep of displaced files", "error", err)
		}
		if time.Since(begun) > leftoverTime && e.st.nothingAhead() {
			if err := e.exec.DropLeftovers(); err != nil && ctx.Err() == nil {
				e.log.Warn("remove what an earlier run had staged", "error", err)
			}
		}
		next := 2 * time.Second
		if s.Next.IsZero() {
			next = 10 * time.Second
		} else if d := time.Until(s.Next); d > next {
			next = min(d, time.Minute)
		}
		t.Reset(next)
	}
}
