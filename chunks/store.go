// Package chunks is content-addressed storage: it cuts files into chunks by
// content, names each by its BLAKE3 hash, and keeps every chunk once, in
// append-only packs or where it lies in a file of a work tree.
//
// Order of use: Ingest (any number, at once), Sync, and only then is a version
// committed that names what was ingested. Everything is readable at once; it is
// durable when Sync returned. Bytes are verified each time they are read.
package chunks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// defaultPackBytes is where a pack is full: large enough that a terabyte is some
// thousands of files, small enough to be rewritten by a collection.
const defaultPackBytes = 256 << 20

// maxPackBytes keeps offsets within 32 bits.
const maxPackBytes = 1 << 30

// maxFresh bounds the objects that wait for a Sync in memory, about 100 bytes
// each; the writer that reaches it pays for a Sync.
const maxFresh = 1 << 16

// Store is one node's chunk store. It is safe for concurrent use. The directory
// belongs to one Store at a time; the daemon's lock file sees to that.
type Store struct {
	o     Options
	log   *slog.Logger
	kv    *kv.DB
	app   appender
	read  handles
	known verified

	// rowMu orders the writers of C p rows, so that a row is only dropped while it
	// says what the dropper saw.
	rowMu sync.Mutex

	// mu guards what follows. Lock order: app.mu, rowMu, mu.
	mu sync.RWMutex
	// fresh are objects written and not synced; syncing those that the running
	// Sync makes durable. Invariant: an object that was written is in fresh, in
	// syncing or has a row, at every moment.
	fresh, syncing map[key]place
	// retiring counts, by file number, the calls of Retire that run.
	retiring map[uint64]int
	// recent are places of the newest rows.
	recent map[key]place
	// unsyncedRows: location rows were written that are not durable yet.
	unsyncedRows bool
	broken       error // after a failed fsync
	closed       bool

	group syncGroup
}

// Open opens the store in o.Dir, makes it if there is none, and brings the index
// up to date with the packs: what a crash left behind the last synced record of
// each is indexed, and a torn tail is cut off.
func Open(o Options) (*Store, error) {
	if o.KV == nil {
		return nil, errors.New("open chunk store: no key-value store given")
	}
	if o.PackBytes == 0 {
		o.PackBytes = defaultPackBytes
	}
	if o.PackBytes > maxPackBytes {
		o.PackBytes = maxPackBytes
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open chunk store: %w", err)
	}
	s := &Store{
		o: o, log: o.Log, kv: o.KV,
		app:   appender{dir: o.Dir, fs: o.fs, rollAt: o.PackBytes, next: 1},
		read:  handles{dir: o.Dir, fs: o.fs, open: make(map[uint32]*handle)},
		fresh: make(map[key]place), recent: make(map[key]place), retiring: make(map[uint64]int),
	}
	s.known.init()
	if err := s.recover(context.Background()); err != nil {
		return nil, fmt.Errorf("open chunk store %q: %w", o.Dir, err)
	}
	return s, nil
}

// Close syncs what is not durable and releases the files. The caller has ended
// all other calls.
func (s *Store) Close() error {
	err := s.Sync(context.Background())
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	for _, w := range append(s.app.sealed, s.app.active) {
		if w != nil {
			err = errors.Join(err, w.f.Close())
		}
	}
	s.app.sealed, s.app.active = nil, nil
	s.read.closeAll()
	return err
}

// writable reports why nothing can be written.
func (s *Store) writable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.broken != nil:
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	return nil
}

// object is one record to be written: its bytes are in a batch's buffer.
type object struct {
	key
	place // off is relative to the batch
}

// batch collects records that are written at once.
type batch struct {
	buf  []byte
	objs []object
}

func (b *batch) reset() { b.buf, b.objs = b.buf[:0], b.objs[:0] }

// has reports whether the batch holds the object: within one it is a few dozen
// at most.
func (b *batch) has(k key) bool {
	for i := range b.objs {
		if b.objs[i].key == k {
			return true
		}
	}
	return false
}

// add appends the record of one object; g may be nil.
func (b *batch) add(k key, data []byte, g *gauge) {
	start := len(b.buf)
	var hdr [pack.RecordHeaderLen]byte
	b.buf = append(b.buf, hdr[:]...)
	shrunk := false
	if g.try() {
		b.buf, shrunk = compress(b.buf, data)
		g.saw(shrunk)
	}
	rec := pack.Record{Kind: uint8(k.kind), Raw: uint32(len(data)), ID: k.id}
	if shrunk {
		rec.Flags = pack.FlagZstd
	} else {
		b.buf = append(b.buf, data...)
	}
	payload := b.buf[start+pack.RecordHeaderLen:]
	rec.Stored, rec.Sum = uint32(len(payload)), pack.Checksum(payload)
	rec.Put(b.buf[start:])
	b.objs = append(b.objs, object{k, place{off: uint32(start), stored: rec.Stored, raw: rec.Raw, flags: rec.Flags}})
}

// flush writes the batch's records and empties it.
func (s *Store) flush(ctx context.Context, b *batch) error {
	if len(b.objs) == 0 {
		return nil
	}
	if err := s.writable(); err != nil {
		return err
	}
	waiting := 0
	full, err := s.app.write(b.buf, func(n uint32, off int64) {
		s.mu.Lock()
		for _, o := range b.objs {
			o.pack, o.off = n, o.off+uint32(off)
			s.fresh[o.key] = o.place
		}
		waiting = len(s.fresh)
		s.mu.Unlock()
		for _, o := range b.objs {
			s.known.add(o.key)
		}
	})
	b.reset()
	if err == nil && (full || waiting >= maxFresh) {
		err = s.Sync(ctx)
	}
	return err
}
