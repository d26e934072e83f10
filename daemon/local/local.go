// Package local is a node's own store: the local index (what each path on the
// disk was last known to hold), the durable queue of its proposals, where chunk
// locations' files are, and which folders it keeps where.
//
// A DB is safe for concurrent use. A Batch is not. Reads see committed batches
// only, so whoever decides from a row and then writes it holds the folder's lock.
package local

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// DB is the open local store.
type DB struct {
	kv       *kv.DB
	nextFile atomic.Uint64
}

// Options of Open.
type Options struct {
	InMemory bool // for tests
	Log      *slog.Logger
	Fatal    func(error) // see kv.Options
}

// Open opens the store in dir and makes it if there is none.
func Open(dir string, o Options) (*DB, error) {
	k, err := kv.Open(dir, kv.Options{InMemory: o.InMemory, Log: o.Log, Fatal: o.Fatal})
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	d := &DB{kv: k}
	last, err := d.lastFile()
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	d.nextFile.Store(last)
	return d, nil
}

// KV is the store itself, for the chunk index beside the rows of this package.
func (d *DB) KV() *kv.DB { return d.kv }

// Close closes the store.
func (d *DB) Close() error { return d.kv.Close() }

// NewFile returns a file number that was never used before.
func (d *DB) NewFile() uint64 { return d.nextFile.Add(1) }

// lastFile is the highest file number handed out and kept. Numbers that were
// handed out and never kept name nothing, so they may come again.
func (d *DB) lastFile() (uint64, error) {
	v, ok, err := d.kv.Get(miscKey("last-file"))
	if err != nil || !ok || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Get returns the record of one path.
func (d *DB) Get(f id.Folder, p id.Path) (Row, bool, error) {
	v, ok, err := d.kv.Get(rowKey(f, p))
	if err != nil || !ok {
		return Row{}, false, err
	}
	r, err := decodeRow(v)
	return r, err == nil, err
}

// Children calls fn with the records in the directory dir, in byte order.
func (d *DB) Children(f id.Folder, dir id.Path, fn func(name string, r Row) error) error {
	prefix := append(append(folderKey(keyRow, f), dir...), 0)
	return d.rows(prefix, kv.PrefixEnd(prefix), func(p id.Path, r Row) error { return fn(p.Base(), r) })
}

// Below calls fn with the records strictly below dir ("" is the whole folder),
// directory by directory; parents come before their children.
func (d *DB) Below(f id.Folder, dir id.Path, fn func(p id.Path, r Row) error) error {
	if dir == "" {
		prefix := folderKey(keyRow, f)
		return d.rows(prefix, kv.PrefixEnd(prefix), fn)
	}
	direct := append(append(folderKey(keyRow, f), dir...), 0)
	if err := d.rows(direct, kv.PrefixEnd(direct), fn); err != nil {
		return err
	}
	deeper := append(append(folderKey(keyRow, f), dir...), '/')
	return d.rows(deeper, kv.PrefixEnd(deeper), fn)
}

func (d *DB) rows(lo, hi []byte, fn func(p id.Path, r Row) error) (err error) {
	it, err := d.kv.Iter(lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		p := rowPath(it.Key())
		r, err := decodeRow(it.Value())
		if err != nil {
			return fmt.Errorf("%q: %w", string(p), err)
		}
		if err := fn(p, r); err != nil {
			return err
		}
	}
	return nil
}

// ByInode returns the path whose record has the inode number.
func (d *DB) ByInode(f id.Folder, ino uint64) (id.Path, bool, error) {
	v, ok, err := d.kv.Get(inodeKey(f, ino))
	return id.Path(v), ok, err
}

// FilePath returns where the file with a number is: a path in a folder, or below
// the folder's reserved directory for a displaced file.
func (d *DB) FilePath(n uint64) (id.Folder, id.Path, bool, error) {
	v, ok, err := d.kv.Get(fileKey(n))
	if err != nil || !ok || len(v) < 17 {
		return id.Folder{}, "", false, err
	}
	return id.Folder(v[:16]), id.Path(v[16:]), true, nil
}

// KeptFile returns the number of the displaced file at a kept path, 0 if it has none.
func (d *DB) KeptFile(f id.Folder, kept id.Path) (uint64, error) {
	v, ok, err := d.kv.Get(keptKey(f, kept))
	if err != nil || !ok || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// KeptFiles returns the numbers of the folder's displaced files, by their kept paths.
func (d *DB) KeptFiles(f id.Folder) (out map[id.Path]uint64, err error) {
	prefix := folderKey(keyKept, f)
	it, err := d.kv.Iter(prefix, kv.PrefixEnd(prefix))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	out = make(map[id.Path]uint64)
	for it.Next() {
		if v := it.Value(); len(v) == 8 {
			out[id.Path(it.Key()[len(prefix):])] = binary.BigEndian.Uint64(v)
		}
	}
	return out, nil
}

// GivenBack returns what of a displaced file was queued as a change last, the zero
// digest if nothing was.
func (d *DB) GivenBack(f id.Folder, kept id.Path) (content id.Digest, err error) {
	v, ok, err := d.kv.Get(backKey(f, kept))
	if err == nil && ok && len(v) == len(content) {
		copy(content[:], v)
	}
	return content, err
}

// Item is one proposal of the durable queue.
type Item struct {
	Lane     id.Folder
	Sequence id.Sequence
	// Body is the marshalled meta.Body, sent as it is.
	Body []byte
}

// Queue calls fn with the lane's proposals from the given sequence on, in order.
func (d *DB) Queue(lane id.Folder, from id.Sequence, fn func(Item) error) (err error) {
	prefix := folderKey(keyQueue, lane)
	it, err := d.kv.Iter(queueKey(lane, from), kv.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		seq := id.Sequence(binary.BigEndian.Uint64(it.Key()[17:]))
		if err := fn(Item{Lane: lane, Sequence: seq, Body: append([]byte(nil), it.Value()...)}); err != nil {
			return err
		}
	}
	return nil
}

// Lanes returns the lanes that have proposals in the queue.
func (d *DB) Lanes() (out []id.Folder, err error) {
	lo := []byte{keyQueue}
	for {
		it, err := d.kv.Iter(lo, []byte{keyQueue + 1})
		if err != nil {
			return nil, err
		}
		found := it.Next()
		if found {
			out = append(out, id.Folder(it.Key()[1:17]))
		}
		if err := it.Close(); err != nil || !found {
			return out, err
		}
		// Past the lane's own entries, however many they are.
		lo = kv.PrefixEnd(folderKey(keyQueue, out[len(out)-1]))
	}
}

// LastSequence is the highest sequence that was ever queued in the lane.
func (d *DB) LastSequence(lane id.Folder) (id.Sequence, error) {
	v, ok, err := d.kv.Get(laneKey(lane))
	if err != nil || !ok || len(v) != 8 {
		return 0, err
	}
	return id.Sequence(binary.BigEndian.Uint64(v)), nil
}

// Folder is this node's mapping of one folder.
type Folder struct {
	ID   id.Folder `json:"id"`
	Root string    `json:"root"` // absolute path on this machine
	// Seen is the newest revision that was compared with the whole disk; Behind
	// says that paths of it were left for later, so that a restart compares all.
	Seen   id.Revision `json:"seen"`
	Hash   id.Digest   `json:"hash"`
	Behind bool        `json:"behind"`
	// Moved: the user says that the root has moved here, and the records have not been
	// made right for that yet.
	Moved bool `json:"moved,omitempty"`
	// Kept are the patterns of what was kept here before: what they leave out and is
	// kept now has not been compared with history yet. The newest comes last.
	Kept []string `json:"kept,omitempty"`
}

// Folders returns the mappings.
func (d *DB) Folders() (out []Folder, err error) {
	it, err := d.kv.Iter([]byte{keyFolder}, []byte{keyFolder + 1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		var f Folder
		if err := json.Unmarshal(it.Value(), &f); err != nil {
			return nil, fmt.Errorf("decode the mapping of a folder: %w", err)
		}
		out = append(out, f)
	}
	return out, nil
}

// Members returns what SetMembers kept.
func (d *DB) Members() ([]byte, error) {
	v, _, err := d.kv.Get(miscKey("members"))
	return v, err
}

// SetMembers keeps the cluster's members as the caller encodes them: they must be
// known at a start before the replicated state is, or nobody could send that.
func (d *DB) SetMembers(data []byte) error {
	b := d.kv.NewBatch()
	b.Set(miscKey("members"), data)
	return b.Commit(true)
}

// Committed returns the highest log index that this node knows to be committed, 0
// if it knows none.
func (d *DB) Committed() (last uint64, err error) {
	it, err := d.kv.Iter(miscKey(committedName), kv.PrefixEnd(miscKey(committedName)))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		if v := it.Value(); len(v) == 8 {
			last = max(last, binary.BigEndian.Uint64(v))
		}
	}
	return last, nil
}

// SetCommitted keeps a log index that is committed, durable with the next synced
// batch. One goroutine calls it, with growing numbers.
func (d *DB) SetCommitted(n uint64) error {
	b := d.kv.NewBatch()
	b.Set(miscKey(committedName), binary.BigEndian.AppendUint64(nil, n))
	return b.Commit(false)
}
