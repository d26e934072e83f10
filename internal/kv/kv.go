// Package kv is the one way Lockstep uses its embedded ordered key-value store
// (cockroachdb/pebble): a thin wrapper with bounded memory, batches that are
// atomic, prefix iteration, checkpoints by hard links, and an in-memory form for
// tests.
//
// Durability: with Options.NoWAL nothing is durable until Flush (or Checkpoint)
// and what survives a crash is an exact prefix of the committed batches. With a
// WAL, a batch committed with Sync is durable when Commit returns.
//
// A DB and its Snapshots are safe for concurrent use; a Batch is not.
package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrDamaged is wrapped by a read of bytes that do not match their checksum or
// cannot be understood.
var ErrDamaged = errors.New("key-value store is damaged on disk")

// Options of Open. The zero value is a store with a WAL and small caches.
type Options struct {
	// NoWAL leaves durability to Flush: for state that a log can replay.
	NoWAL bool
	// CacheBytes bounds the block cache and the memtables together; 0 means 24 MiB.
	CacheBytes int64
	// MemtableBytes is the size at which a memtable is flushed; 0 means 8 MiB. One that is
	// written to and one that is flushed, or waits to be used again, are taken out of
	// CacheBytes: if they fill it no block is ever found in the cache, and each read takes
	// ten times as long. Smaller ones make writing dearer: with 4 MiB it took a third more CPU.
	MemtableBytes uint64
	// InMemory keeps everything in memory; dir is then only a name. For tests.
	InMemory bool
	// FS replaces the filesystem, for crash tests. InMemory wins over it.
	FS vfs.FS
	// Log receives the store's errors; nil discards them.
	Log *slog.Logger
	// Fatal is told, once, that the store cannot go on, since a write of its own log
	// failed: on a full disk, say. The call that met it never returns, for to carry on
	// would lose data; the process has to end. nil: it panics.
	Fatal func(error)
}

// background is told that a flush or a compaction failed, which pebble tries again at
// once and without end. Where the disk is full or failing that cannot help.
func (o Options) background(err error) {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		if errors.Is(err, e) && o.Fatal != nil {
			o.Fatal(fmt.Errorf("key-value store: %w", err))
			select {}
		}
	}
	logger{l: o.Log}.Errorf("background error: %v", err)
}

// DB is one open store.
type DB struct {
	p     *pebble.DB
	noWAL bool
	cache *pebble.Cache // p keeps it, until it is closed
	bytes int64         // of the cache
}

// Open opens the store in dir and makes it if there is none.
func Open(dir string, o Options) (*DB, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 24 << 20
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 8 << 20
	}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	po := &pebble.Options{
		Cache:              cache,
		DisableWAL:         o.NoWAL,
		MemTableSize:       o.MemtableBytes,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             logger{o.Log, o.Fatal},
		MaxOpenFiles:       256,
		// By default pebble calls Fatalf, though who reads gets the error too and knows
		// better what must stop.
		EventListener: &pebble.EventListener{
			DataCorruption:  func(i pebble.DataCorruptionInfo) { logger{l: o.Log}.Errorf("%v", i) },
			BackgroundError: o.background,
		},
	}
	// Its own scheduler is woken ten times a second for as long as the store is open, to
	// see whether more compactions may run at once. Here it is one at any time: who is
	// refused waits for one that runs, whose end lets the next one run.
	po.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 1 }
	po.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	po.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	po.Levels[0].BlockSize = 16 << 10
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		return pebble.UniformDBCompressionSettings(block.FastestCompression)
	})
	switch {
	case o.InMemory:
		po.FS = vfs.NewMem()
	case o.FS != nil:
		po.FS = o.FS
	}
	p, err := pebble.Open(dir, po)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", dir, damage(err))
	}
	return &DB{p: p, noWAL: o.NoWAL, cache: cache, bytes: o.CacheBytes}, nil
}

// Close closes the store. Without a WAL, what was not flushed is flushed first.
func (d *DB) Close() error {
	var ferr error
	if d.noWAL {
		ferr = d.p.Flush()
	}
	return errors.Join(ferr, d.p.Close())
}

// Flush makes all committed batches durable.
func (d *DB) Flush() error { return d.p.Flush() }

// Rest makes all committed batches durable, and gives back the memory that they and
// cached blocks take: for a store that is not going to be used for a while.
func (d *DB) Rest() error {
	if err := d.p.Flush(); err != nil {
		return err
	}
	d.cache.Reserve(int(d.bytes))() // what is reserved is evicted
	return nil
}

// Checkpoint flushes and writes a consistent copy of the store to dir, by hard
// links where it can. dir must not exist; its parent must.
func (d *DB) Checkpoint(dir string) error {
	if d.noWAL { // the copy would miss what is in memory
		if err := d.p.Flush(); err != nil {
			return err
		}
	}
	return d.p.Checkpoint(dir, pebble.WithFlushedWAL())
}

// Reader is what can be read at one moment: a DB (each call by itself) or a
// Snapshot (all calls alike).
type Reader interface {
	// Get returns a copy of the value, and false where there is none.
	Get(key []byte) ([]byte, bool, error)
	// Iter iterates over lo <= key < hi in order; hi nil means to the end. The
	// caller closes it.
	Iter(lo, hi []byte) (*Iter, error)
}

// Get implements Reader.
func (d *DB) Get(key []byte) ([]byte, bool, error) { return get(d.p, key) }

// Read is Get into dst, if that has the room: for many look-ups in a row.
func (d *DB) Read(key, dst []byte) ([]byte, bool, error) { return read(d.p, key, dst[:0]) }

// Iter implements Reader.
func (d *DB) Iter(lo, hi []byte) (*Iter, error) { return iter(d.p, lo, hi) }

// Snapshot is a frozen view. The caller closes it.
type Snapshot struct{ s *pebble.Snapshot }

// Snapshot returns a view of the committed batches.
func (d *DB) Snapshot() *Snapshot { return &Snapshot{d.p.NewSnapshot()} }

// Get implements Reader.
func (s *Snapshot) Get(key []byte) ([]byte, bool, error) { return get(s.s, key) }

// Iter implements Reader.
func (s *Snapshot) Iter(lo, hi []byte) (*Iter, error) { return iter(s.s, lo, hi) }

// Close releases the view.
func (s *Snapshot) Close() error { return s.s.Close() }

// Iter walks keys in order: for it.Next() { it.Key(); it.Value() }; it.Close().
// After its first error it yields nothing more.
type Iter struct {
	it      *pebble.Iterator
	started bool
	seeked  bool
	err     error // pebble forgets its own at the next seek
}

// Next moves to the next key, the first on the first call. False is the end or an
// error: who takes it for a missing key, and goes on, must look at Err.
func (i *Iter) Next() bool {
	if i.err != nil {
		return false
	}
	if i.seeked {
		i.seeked = false
		return i.it.Valid()
	}
	if !i.started {
		i.started = true
		return i.it.First()
	}
	return i.it.Next()
}

// Seek makes the following Next return the first key >= key.
func (i *Iter) Seek(key []byte) {
	if i.Err() == nil {
		i.started, i.seeked = true, true
		i.it.SeekGE(key)
	}
}

// Err is the first error that the iterator met, nil at the end of the keys.
func (i *Iter) Err() error {
	if i.err == nil {
		i.err = damage(i.it.Error())
	}
	return i.err
}

// Key is valid until the next call of Next or Seek.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value is valid until the next call of Next or Seek.
func (i *Iter) Value() []byte { return i.it.Value() }

// Close releases the iterator and returns the first error it met.
func (i *Iter) Close() error {
	err := i.Err()
	if cerr := i.it.Close(); err == nil {
		err = damage(cerr)
	}
	return err
}

// Batch collects writes that become visible together.
type Batch struct {
	b *pebble.Batch
	d *DB
}

// NewBatch starts a batch. End it with Commit or Discard.
func (d *DB) NewBatch() *Batch { return &Batch{d.p.NewBatch(), d} }

// NewReadBatch starts a batch whose Get and Iter see its own writes too. It is
// slower than NewBatch to write to.
func (d *DB) NewReadBatch() *Batch { return &Batch{d.p.NewIndexedBatch(), d} }

// Set, Delete and DeleteRange only fail on a closed batch, which is a bug.
func (b *Batch) Set(key, value []byte) { must(b.b.Set(key, value, nil)) }

// Delete removes a key; a missing one is no error.
func (b *Batch) Delete(key []byte) { must(b.b.Delete(key, nil)) }

// DeleteRange removes lo <= key < hi.
func (b *Batch) DeleteRange(lo, hi []byte) { must(b.b.DeleteRange(lo, hi, nil)) }

// Get implements Reader on a batch made by NewReadBatch.
func (b *Batch) Get(key []byte) ([]byte, bool, error) { return get(b.b, key) }

// Iter implements Reader on a batch made by NewReadBatch.
func (b *Batch) Iter(lo, hi []byte) (*Iter, error) { return iter(b.b, lo, hi) }

// Len is the batch's size in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Empty reports whether nothing was written.
func (b *Batch) Empty() bool { return b.b.Empty() }

// Commit applies the batch. With sync it is durable on return (given a WAL), and
// so is every batch committed before it; an empty batch writes no record that
// would carry them, so it gets one. After an error the store must not be used
// further: reopen it.
func (b *Batch) Commit(sync bool) error {
	o := pebble.NoSync
	if sync && !b.d.noWAL && b.b.Empty() {
		must(b.b.LogData([]byte{0}, nil))
	}
	if sync && !b.d.noWAL {
		o = pebble.Sync
	}
	err := b.b.Commit(o)
	return errors.Join(err, b.b.Close())
}

// Discard drops the batch.
func (b *Batch) Discard() { _ = b.b.Close() }

// PrefixEnd returns the smallest key greater than every key that starts with
// prefix, nil if there is none: the hi for iterating over a prefix.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

func get(r pebble.Reader, key []byte) ([]byte, bool, error) { return read(r, key, []byte{}) }

// read appends the value to dst.
func read(r pebble.Reader, key, dst []byte) ([]byte, bool, error) {
	v, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, damage(err)
	}
	return append(dst, v...), true, c.Close()
}

func iter(r pebble.Reader, lo, hi []byte) (*Iter, error) {
	if len(lo) == 0 {
		lo = nil // the same, but pebble's assertions want no empty key
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, damage(err)
	}
	return &Iter{it: it}, nil
}

// damage marks pebble's reports of damage as ours.
func damage(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("kv: write to a closed batch: %v", err))
	}
}

// logger passes pebble's errors on and drops its chatter.
type logger struct {
	l     *slog.Logger
	fatal func(error)
}

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(f string, a ...any) {
	if l.l != nil {
		l.l.Error("key-value store", "error", fmt.Sprintf(f, a...))
	}
}

// Fatalf is called when the store cannot go on; pebble requires that this does not
// return.
func (l logger) Fatalf(f string, a ...any) {
	err := fmt.Errorf("key-value store: "+f, a...)
	if l.fatal == nil {
		panic(err.Error())
	}
	l.fatal(err)
	select {}
}
