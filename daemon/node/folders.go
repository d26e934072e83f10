package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// folders runs an engine for each folder of this node. Lock order: change, then mu.
type folders struct {
	n     *Node
	start chan *running
	ended chan struct{} // closed when Run takes no more
	first []*running    // those that were mapped at the start, for Run

	// change is held while this node begins or ends to keep a folder, from the last
	// look at what it keeps to the mapping and the engine. It guards claimed: the
	// roots that an add is under way for.
	change  sync.Mutex
	claimed map[string]struct{}
	joining map[id.Folder]struct{} // guarded by change: see claimID

	mu   sync.Mutex // guards live
	live map[id.Folder]*running
}

// running is one engine and how to end it.
type running struct {
	id      id.Folder
	options folder.Options
	engine  *folder.Engine // guarded by folders.mu
	root    string
	cancel  context.CancelFunc
	ctx     context.Context
	done    chan struct{}
}

func newFolders(n *Node) *folders {
	return &folders{n: n, start: make(chan *running), ended: make(chan struct{}), claimed: make(map[string]struct{}), joining: make(map[id.Folder]struct{}), live: make(map[id.Folder]*running)}
}

// load registers the mapped folders; Run then runs them. It is called before
// anybody can ask: a folder that this node keeps must never seem not to be here,
// neither to a command nor to another node that waits for it.
func (fs *folders) load() error {
	maps, err := fs.n.local.Folders()
	if err != nil {
		return err
	}
	for _, m := range maps {
		r, err := fs.register(m.ID, m.Root)
		if err != nil {
			return err
		}
		fs.first = append(fs.first, r)
	}
	return nil
}

// Run keeps the mapped folders until ctx ends. A folder that halts does not end
// the others.
func (fs *folders) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return fs.noteCommitted(ctx) })
	begin := func(r *running) {
		g.Go(func() error {
			defer close(r.done)
			ectx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(r.ctx, cancel)()
			fs.keep(ectx, r)
			return nil
		})
	}
	for _, r := range fs.first {
		begin(r)
	}
	g.Go(func() error {
		defer close(fs.ended)
		for {
			select {
			case <-ctx.Done():
				return nil
			case r := <-fs.start:
				begin(r)
			}
		}
	})
	return g.Wait()
}

// How often a folder that has halted is tried again: a disk may be mounted again,
// or have space again. Its status says why it halted until it runs.
const (
	minRetry = 2 * time.Second
	maxRetry = time.Minute
)

// keep runs a folder's engine; when it halts, a new one once the root is there.
func (fs *folders) keep(ctx context.Context, r *running) {
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		e := fs.engine(r.id)
		if e == nil {
			return // it was removed
		}
		began := time.Now()
		_ = e.Run(ctx) // it has logged why it ended, and status says it
		if time.Since(began) > maxRetry {
			pause = minRetry // a disk that is unplugged once a day is no failing one
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if err := folder.CheckRoot(r.root, r.id); err != nil {
				e.StillHalted(err)
			} else if fs.n.home.room() == nil {
				break
			}
		}
		fs.mu.Lock()
		if fs.live[r.id] == r {
			r.engine = folder.New(r.options)
		}
		fs.mu.Unlock()
		fs.n.changes.look()
	}
}

// build makes the engine of a folder as this node's settings say.
func (fs *folders) build(f id.Folder, root string) (*running, error) {
	lane, err := fs.n.propose.Lane(f)
	if err != nil {
		return nil, err
	}
	set, err := fs.n.local.Settings(f)
	if err != nil {
		return nil, err
	}
	only, err := ignore.ParseOnly(set.Only)
	if err != nil {
		return nil, fmt.Errorf("read what is kept here of the folder at %q: %w", root, err)
	}
	wake, unwatch := fs.n.peers.Watch()
	ctx, stop := context.WithCancel(context.Background())
	o := folder.Options{
		ID: f, Root: root, Self: fs.n.self, Machine: fs.n.machine, Local: fs.n.local, Chunks: fs.n.chunks,
		Lane: lane, Peers: fs.n.peers, Share: fs.n.share, Wake: wake, Caught: fs.caught, Moved: fs.n.peers.Kick, Room: fs.n.home.room, ScanEvery: fs.n.set.ScanInterval, Log: fs.n.log,
		Mode: folder.Mode(set.Mode), Only: only, Paused: set.Paused, OnDisk: set.OnDisk,
	}
	return &running{
		id: f, options: o, engine: folder.New(o), root: root,
		cancel: func() { unwatch(); stop() }, ctx: ctx, done: make(chan struct{}),
	}, nil
}

// register makes the engine of a folder, which Run has to run.
func (fs *folders) register(f id.Folder, root string) (*running, error) {
	r, err := fs.build(f, root)
	if err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.live[f] != nil {
		r.cancel()
		return nil, fmt.Errorf("folder %s is kept at %s already", f, fs.live[f].root)
	}
	fs.live[f] = r
	return r, nil
}

// errEnding is for a folder that is added while the node ends: it is mapped, and
// runs from the next start on.
var errEnding = errors.New("the node is stopping; the folder is synced from its next start on")

// open starts the engine of a folder. change is held.
func (fs *folders) open(f id.Folder, root string) error {
	r, err := fs.register(f, root)
	if err != nil {
		return err
	}
	return fs.run(r)
}

// run hands a registered folder to Run. change is held.
func (fs *folders) run(r *running) error {
	fs.n.peers.Kick() // the others learn that this node keeps it
	fs.n.changes.look()
	select {
	case fs.start <- r:
		return nil
	case <-fs.ended:
		fs.mu.Lock()
		defer fs.mu.Unlock()
		delete(fs.live, r.id)
		r.cancel()
		return errEnding
	}
}

// errRemoved ends what waits for a folder that is removed from this node.
var errRemoved = errors.New("the folder was removed from this node meanwhile")

// close ends the engine of a folder and waits for it. change is held.
func (fs *folders) close(f id.Folder) {
	fs.mu.Lock()
	r := fs.live[f]
	delete(fs.live, f)
	fs.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
		r.engine.Retire(errRemoved)
		fs.n.changes.look()
	}
}

func (fs *folders) engine(f id.Folder) *folder.Engine {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if r := fs.live[f]; r != nil {
		return r.engine
	}
	return nil
}

// all returns the engines by folder.
func (fs *folders) all() map[id.Folder]*folder.Engine {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out := make(map[id.Folder]*folder.Engine, len(fs.live))
	for f, r := range fs.live {
		out[f] = r.engine
	}
	return out
}

// states is how far each folder is, for the heartbeat. None is left out, for
// nobody waits for a node that does not list it: what is not known yet is 0.
func (fs *folders) states() []peers.FolderState {
	var out []peers.FolderState
	for f, e := range fs.all() {
		head, onDisk, err := e.Progress()
		if err != nil {
			fs.n.log.Warn("read a folder's head for the heartbeat", "folder", f, "error", err)
		}
		st := peers.FolderState{Folder: f, Revision: head.Revision, Hash: head.Hash, Applied: onDisk}
		st.Blocked, st.Lacking = e.Lacking()
		st.Halted, st.Paused, st.Part = e.Halted(), e.Paused(), e.Part()
		out = append(out, st)
	}
	return out
}

// noteCommitted remembers how far the log was applied, so that a start replays it
// without waiting for a leader. What was brought to a disk is remembered durably by
// the folder's engine.
func (fs *folders) noteCommitted(ctx context.Context) error {
	changed, stop := fs.n.machine.Watch()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := fs.n.local.SetCommitted(fs.n.machine.AppliedIndex()); err != nil {
			return err
		}
		if err := fs.dropRemoved(); err != nil {
			return err
		}
	}
}

// dropRemoved ends the folders that were removed from the whole cluster. The user's
// files stay.
func (fs *folders) dropRemoved() error {
	v := fs.n.machine.View()
	defer v.Close()
	for f, e := range fs.all() {
		rec, ok, err := v.Folder(f)
		if err != nil {
			return err
		}
		if !ok || !rec.Removed {
			continue
		}
		fs.n.log.Info("the folder was removed from the cluster; its files stay", "folder", rec.Name, "root", e.Root())
		if _, err := fs.remove(context.Background(), f, true); err != nil {
			fs.n.log.Error("end a removed folder", "folder", rec.Name, "error", err)
		}
	}
	return nil
}

// caught waits until the log is applied as far as this node ever knew.
func (fs *folders) caught(ctx context.Context) error {
	want, err := fs.n.local.Committed()
	if err != nil {
		return err
	}
	changed, stop := fs.n.machine.Watch()
	defer stop()
	for fs.n.machine.AppliedIndex() < want {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
	return nil
}

// add makes this node keep a folder, or what only says of it, at root, which the caller
// has claimed.
func (fs *folders) add(f id.Folder, name, root, only string) error {
	fs.change.Lock()
	defer fs.change.Unlock()
	if e := fs.engine(f); e != nil {
		return addedAlready(name, e.Root())
	}
	if err := fs.checkMapped(root); err != nil { // the directory may have been moved meanwhile
		return control.Errorf(control.CodeFailed, "add folder: %w", err)
	}
	if err := mark(root, f); err != nil {
		return control.Errorf(control.CodeFailed, "add folder: %w", err)
	}
	b := fs.n.local.NewBatch()
	b.SetFolder(local.Folder{ID: f, Root: root})
	if only != "" {
		b.SetSettings(f, local.Settings{Only: only})
	}
	// After a crash the log is applied at least to where the folder was made.
	b.Committed(f, fs.n.machine.AppliedIndex())
	if err := b.Commit(true); err != nil {
		return err
	}
	return fs.open(f, root)
}

// mapped reports whether this node keeps a folder, from its next start on at least.
func (fs *folders) mapped(f id.Folder) bool {
	maps, err := fs.n.local.Folders()
	return err != nil || slices.ContainsFunc(maps, func(m local.Folder) bool { return m.ID == f })
}

// create makes a folder in the cluster, and returns its ID.
func (fs *folders) create(ctx context.Context, name string) (id.Folder, error) {
	f := id.NewFolder()
	out, err := fs.n.propose.Do(ctx, meta.FolderCmd{Op: meta.FolderCreate, ID: f, Name: name})
	if err != nil {
		return f, err
	}
	if out.Kind == meta.Refused {
		return f, errors.New(out.Reason)
	}
	return f, nil
}

// remove ends a folder on this node, if it is kept here: the user's files stay, the
// marker goes, so that the directory can be added again. What history may need of the
// files is packed before, unless the folder has ended everywhere; lost is how many could
// not be read for that. With an error before that is done the folder goes on.
func (fs *folders) remove(ctx context.Context, f id.Folder, ended bool) (lost int, err error) {
	if e := fs.engine(f); e != nil && !ended { // it may take long: others need not wait
		if _, err := e.Rescue(ctx); err != nil {
			return 0, err
		}
	}
	fs.change.Lock()
	defer fs.change.Unlock()
	e := fs.engine(f)
	if e == nil {
		return 0, nil
	}
	fs.close(f)
	if !ended {
		if lost, err = e.Rescue(ctx); err == nil { // what has changed meanwhile
			err = e.RescueKept(ctx)
		}
		if err != nil {
			return 0, errors.Join(err, fs.open(f, e.Root()))
		}
	}
	fs.n.propose.Release(f) // what is under way is still sent
	if err := folder.Forget(fs.n.local, fs.n.chunks, f); err != nil {
		return lost, err
	}
	if err := os.Remove(folder.MarkerPath(e.Root())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return lost, fmt.Errorf("remove the folder's marker: %w", err)
	}
	return lost, nil
}
