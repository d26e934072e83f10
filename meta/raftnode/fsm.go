package raftnode

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/store"
)

var (
	// errReplaying is returned for a snapshot while raft still replays entries that
	// the store held already at start: the snapshot would hold more than its index
	// says.
	errReplaying = errors.New("no snapshot before the log is replayed")
	// errForeign is returned for a snapshot that does not come from our store.
	errForeign = errors.New("snapshot is not from this node's snapshot store")
)

// fsm is the metadata state machine as raft sees it. raft calls Apply, ApplyBatch,
// Snapshot and Restore from one goroutine.
type fsm struct {
	m     machine
	store *store.Store
	fs    vfs.FS
	// scratch is where checkpoints are made before a snapshot takes them in.
	scratch string
	log     *slog.Logger
	// fail reports an error after which the node must stop. Nothing is applied
	// after it.
	fail func(error)
	// applied is told of each batch: the last index in it that the followers wait for
	// (of anything but an empty command), 0 if there is none.
	applied func(wanted uint64)

	// seen is the last index that raft has given or restored since the start.
	seen uint64
	// durable is the applied index up to which the store is flushed, at least.
	durable atomic.Uint64
	// restored is the index of the snapshot that was restored last.
	restored atomic.Uint64

	// mu guards broken.
	mu     sync.Mutex
	broken error
}

var _ raft.BatchingFSM = (*fsm)(nil)

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: one commit of the store for the batch.
// Configuration entries and empty commands only move the index. Entries that the
// store holds already (it is durable ahead of the newest snapshot) are skipped.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	if err := f.err(); err != nil {
		for i := range answers {
			answers[i] = err
		}
		return answers
	}
	have := f.m.AppliedIndex()
	entries := make([]meta.IndexedEntry, 0, len(logs))
	wanted := uint64(0)
	for _, l := range logs {
		if l.Type != raft.LogCommand || len(l.Data) > 0 {
			wanted = l.Index
		}
		if l.Index <= have {
			continue
		}
		e := meta.IndexedEntry{Index: l.Index}
		if l.Type == raft.LogCommand {
			e.Data = l.Data
		}
		entries = append(entries, e)
	}
	last := logs[len(logs)-1]
	if len(entries) > 0 {
		if err := f.m.ApplyBatch(entries); err != nil {
			f.stop(fmt.Errorf("apply log entries %d to %d: %w", entries[0].Index, last.Index, err))
			return f.ApplyBatch(logs)
		}
	}
	f.seen = last.Index
	f.applied(wanted)
	return answers
}

func (f *fsm) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

func (f *fsm) stop(err error) {
	f.mu.Lock()
	if f.broken == nil {
		f.broken = err
	}
	f.mu.Unlock()
	f.fail(err)
}

// Snapshot implements raft.FSM. The checkpoint is made here, while nothing is
// applied, so that it holds exactly the state at the snapshot's index; the trigger
// has flushed just before, so little is left to write.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	applied := f.m.AppliedIndex()
	if applied > f.seen {
		return nil, fmt.Errorf("%w: applied %d, replayed to %d", errReplaying, applied, f.seen)
	}
	dir := f.fs.PathJoin(f.scratch, fmt.Sprintf("%scheckpoint-%020d", tempPrefix, applied))
	if err := f.fs.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := f.store.Checkpoint(dir); err != nil {
		return nil, err
	}
	f.flushedTo(applied)
	return &checkpoint{f: f, dir: dir, applied: applied}, nil
}

// flushedTo records that the store is durable up to index.
func (f *fsm) flushedTo(index uint64) {
	for {
		old := f.durable.Load()
		if index <= old || f.durable.CompareAndSwap(old, index) {
			return
		}
	}
}

// flush makes the store durable up to what is applied now. It runs beside apply.
func (f *fsm) flush() error {
	applied := f.m.AppliedIndex()
	if err := f.store.Flush(); err != nil {
		return err
	}
	f.flushedTo(applied)
	return nil
}

// Restore implements raft.FSM: the store becomes the snapshot's state.
func (f *fsm) Restore(rc io.ReadCloser) error {
	var in any = rc
	if w, ok := rc.(raft.ReadCloserWrapper); ok {
		in = w.WrappedReadCloser()
	}
	o, ok := in.(*opened)
	if !ok {
		return errForeign
	}
	return f.restore(o.snap)
}

// restore installs a verified snapshot.
func (f *fsm) restore(snap *snapshot) error {
	if err := f.store.Restore(f.fs.PathJoin(snap.dir, stateName)); err != nil {
		return err
	}
	// From here the store is the new state, so an error leaves nothing to go on with.
	if err := f.adoptState(snap.m.Index); err != nil {
		err = fmt.Errorf("restore snapshot of index %d: %w", snap.m.Index, err)
		f.stop(err)
		return err
	}
	return nil
}

// adoptState makes the machine read the restored store and stores the snapshot's
// raft index as applied: the last entries before it may have been raft's own.
func (f *fsm) adoptState(index uint64) error {
	if err := f.m.Reload(); err != nil {
		return err
	}
	switch applied := f.m.AppliedIndex(); {
	case applied > index:
		return fmt.Errorf("%w: its state is of index %d", ErrDamaged, applied)
	case applied < index:
		if err := f.m.ApplyBatch([]meta.IndexedEntry{{Index: index}}); err != nil {
			return err
		}
		if err := f.store.Flush(); err != nil {
			return err
		}
	}
	f.seen = index
	f.restored.Store(index)
	f.flushedTo(index)
	f.applied(0)
	f.log.Info("metadata restored from a snapshot", "index", index)
	return nil
}

// checkpoint is a snapshot that waits to be persisted.
type checkpoint struct {
	f       *fsm
	dir     string
	applied uint64
}

// Persist implements raft.FSMSnapshot. It runs beside apply.
func (c *checkpoint) Persist(s raft.SnapshotSink) error {
	k, ok := s.(*sink)
	if !ok {
		return errForeign
	}
	if c.applied > k.m.Index {
		return fmt.Errorf("persist snapshot: holds index %d, is called %d", c.applied, k.m.Index)
	}
	if err := k.adopt(c.dir); err != nil {
		return errors.Join(fmt.Errorf("persist snapshot: %w", err), k.Cancel())
	}
	return k.Close()
}

// Release implements raft.FSMSnapshot.
func (c *checkpoint) Release() {
	if err := c.f.fs.RemoveAll(c.dir); err != nil {
		c.f.log.Error("remove checkpoint", "error", err)
	}
}
