package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/atomicfile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// folders runs an engine for each folder of this node.
type folders struct {
	n     *Node
	start chan *running

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
	return &folders{n: n, start: make(chan *running), live: make(map[id.Folder]*running)}
}

// Run keeps the mapped folders until ctx ends. A folder that halts does not end
// the others.
func (fs *folders) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return fs.noteCommitted(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case r := <-fs.start:
				g.Go(func() error {
					defer close(r.done)
					ectx, cancel := context.WithCancel(ctx)
					defer cancel()
					defer context.AfterFunc(r.ctx, cancel)()
					fs.keep(ectx, r)
					return nil
				})
			}
		}
	})
	maps, err := fs.n.local.Folders()
	if err != nil {
		return err
	}
	for _, m := range maps {
		if _, err := fs.open(ctx, m.ID, m.Root); err != nil {
			return errors.Join(err, g.Wait())
		}
	}
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
		_ = e.Run(ctx) // it has logged why it ended, and status says it
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if folder.CheckRoot(r.root, r.id) == nil {
				break
			}
		}
		fs.mu.Lock()
		if fs.live[r.id] == r {
			r.engine = folder.New(r.options)
		}
		fs.mu.Unlock()
	}
}

// open starts the engine of a folder.
func (fs *folders) open(ctx context.Context, f id.Folder, root string) (*folder.Engine, error) {
	lane, err := fs.n.propose.Lane(f)
	if err != nil {
		return nil, err
	}
	wake, unwatch := fs.n.peers.Watch()
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	cancel := func() { unwatch(); stop() }
	o := folder.Options{
		ID: f, Root: root, Self: fs.n.self, Machine: fs.n.machine, Local: fs.n.local, Chunks: fs.n.chunks,
		Lane: lane, Peers: fs.n.peers, Wake: wake, Caught: fs.caught, Moved: fs.n.peers.Kick, Log: fs.n.log,
	}
	e := folder.New(o)
	r := &running{id: f, options: o, engine: e, root: root, cancel: cancel, ctx: rctx, done: make(chan struct{})}
	fs.mu.Lock()
	fs.live[f] = r
	fs.mu.Unlock()
	fs.n.peers.Kick() // the others learn that this node keeps it
	select {
	case fs.start <- r:
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
	return e, nil
}

// close ends the engine of a folder and waits for it.
func (fs *folders) close(f id.Folder) {
	fs.mu.Lock()
	r := fs.live[f]
	delete(fs.live, f)
	fs.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
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

// states is how far each folder is, for the heartbeat.
func (fs *folders) states() []peers.FolderState {
	var out []peers.FolderState
	for f, e := range fs.all() {
		head, onDisk, err := e.Progress()
		if err != nil {
			continue
		}
		out = append(out, peers.FolderState{Folder: f, Revision: head.Revision, Hash: head.Hash, Applied: onDisk})
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
		if err := fs.remove(f, e.Root()); err != nil {
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

// checkRoot says why a directory cannot be a folder's root, nil if it can.
func (fs *folders) checkRoot(root string) error {
	st, err := os.Stat(root)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s does not exist; make the directory first", root)
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", root)
	}
	homeDir, err := filepath.EvalSymlinks(string(fs.n.home))
	if err != nil {
		return err
	}
	if within(homeDir, root) || within(root, homeDir) {
		return fmt.Errorf("%s and the node's home %s are inside one another; a folder must not hold a node's home", root, homeDir)
	}
	maps, err := fs.n.local.Folders()
	if err != nil {
		return err
	}
	for _, m := range maps {
		switch {
		case m.Root == root:
			return fmt.Errorf("%s is a synced folder already", root)
		case within(root, m.Root):
			return fmt.Errorf("%s is inside the synced folder %s; a folder cannot be inside another", root, m.Root)
		case within(m.Root, root):
			return fmt.Errorf("the synced folder %s is inside %s; a folder cannot be inside another", m.Root, root)
		}
	}
	// A folder of another node's, or of an earlier subscription, above this one.
	for dir := filepath.Dir(root); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(folder.MarkerPath(dir)); err == nil {
			return fmt.Errorf("%s is inside %s, which is marked as a synced folder; a folder cannot be inside another", root, dir)
		}
	}
	return nil
}

// within reports whether the absolute clean path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// errMarked is for a root that belongs to another folder.
var errMarked = errors.New("is marked as another folder")

// mark writes the marker that says that root is this folder.
func mark(root string, f id.Folder) error {
	// Another folder's history must not be mixed with this directory unasked.
	if data, err := os.ReadFile(folder.MarkerPath(root)); err == nil {
		if other := strings.TrimSpace(string(data)); other != f.String() {
			return fmt.Errorf("%s %w (%s); if that folder is no longer kept there, remove %s and add it again", root, errMarked, other, folder.MarkerPath(root))
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the folder's marker: %w", err)
	}
	dir := filepath.Join(root, id.ReservedName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mark the folder's root: %w", err)
	}
	return atomicfile.Write(folder.MarkerPath(root), []byte(f.String()+"\n"), 0o600)
}

// add makes this node keep a folder at root.
func (fs *folders) add(ctx context.Context, f id.Folder, root string) (*folder.Engine, error) {
	if err := mark(root, f); err != nil {
		return nil, err
	}
	b := fs.n.local.NewBatch()
	b.SetFolder(local.Folder{ID: f, Root: root})
	if err := b.Commit(true); err != nil {
		return nil, err
	}
	return fs.open(ctx, f, root)
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

// remove ends a folder on this node: the user's files stay, the marker goes, so
// that the directory can be added again.
func (fs *folders) remove(f id.Folder, root string) error {
	fs.close(f)
	if err := folder.Forget(fs.n.local, f); err != nil {
		return err
	}
	if err := os.Remove(folder.MarkerPath(root)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the folder's marker: %w", err)
	}
	return nil
}

// reached reports whether a member has said that a revision is on its disk. A
// member that does not keep the folder is not waited for.
func reached(p *peers.Peers, m id.Node, f id.Folder, rev id.Revision) bool {
	h, ok := p.Last(m)
	if !ok {
		return false
	}
	for _, st := range h.Folders {
		if st.Folder == f {
			return st.Applied >= rev
		}
	}
	return true
}
