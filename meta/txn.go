package meta

import (
	"encoding/binary"
	"errors"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// maxBatch is the largest batch of effects in bytes. What a commit of any size
// holds in memory is a small multiple of it.
const maxBatch = 4 << 20

// txn collects what log entries write and shows it to the entries that follow.
// The rows of complete entries are in batch, those of the entry under way in cur,
// so that a flush in the middle of an entry writes complete entries only, with
// their applied index.
type txn struct {
	db      *kv.DB
	batch   *kv.Batch
	applied uint64
	// rows are the point rows of the batch; a nil value is a deleted row.
	rows map[string][]byte
	// newest are the newest versions of paths that the batch holds.
	newest map[id.Folder]map[id.Path]*version
	// cur are the point rows of the entry under way, in order; last says where the newest
	// of a key is.
	cur  []pointRow
	last map[string]int
	// its are iterators over the versions of folders, good until the next flush.
	its map[id.Folder]*kv.Iter
	// limit is maxBatch, but for tests.
	limit int
	// key and value are scratch.
	key, value []byte
}

type pointRow struct {
	key   string
	value []byte // nil: delete
}

func newTxn(db *kv.DB, limit int) *txn {
	return &txn{db: db, limit: limit, batch: db.NewBatch(), rows: make(map[string][]byte), last: make(map[string]int),
		newest: make(map[id.Folder]map[id.Path]*version), its: make(map[id.Folder]*kv.Iter)}
}

// Get implements kv.Reader: the store as the entry under way sees it, point rows
// only.
func (t *txn) Get(key []byte) ([]byte, bool, error) {
	if i, ok := t.last[string(key)]; ok {
		return t.cur[i].value, t.cur[i].value != nil, nil
	}
	if v, ok := t.rows[string(key)]; ok {
		return v, v != nil, nil
	}
	return t.db.Get(key)
}

// Iter implements kv.Reader. It sees complete entries and spilled effects, not the
// point rows of the entry under way.
func (t *txn) Iter(lo, hi []byte) (*kv.Iter, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return t.db.Iter(lo, hi)
}

func (t *txn) set(key, value []byte) {
	t.last[string(key)] = len(t.cur)
	t.cur = append(t.cur, pointRow{string(key), value})
}

func (t *txn) delete(key []byte) { t.set(key, nil) }

// endEntry makes the entry under way complete.
func (t *txn) endEntry(index uint64) {
	for _, r := range t.cur {
		if r.value == nil {
			t.batch.Delete([]byte(r.key))
		} else {
			t.batch.Set([]byte(r.key), r.value)
		}
		t.rows[r.key] = r.value
	}
	t.cur = t.cur[:0]
	clear(t.last)
	t.applied = index
}

// writeVersion adds a version to a batch, which copies what it is given.
func (t *txn) writeVersion(b *kv.Batch, f id.Folder, v *version) {
	t.key = appendUint64(appendVersionPrefix(t.key[:0], f, v.Path), ^uint64(v.Revision))
	t.value = v.appendRow(t.value[:0])
	b.Set(t.key, t.value)
	t.key = append(appendUint64(appendFolderKey(t.key[:0], keyRevision, f), uint64(v.Revision)), v.Path...)
	b.Set(t.key, nil)
}

func eraseVersion(b *kv.Batch, f id.Folder, p id.Path, r id.Revision) {
	b.Delete(versionKey(f, p, r))
	b.Delete(revisionKey(f, r, p))
}

// flush writes the complete entries.
func (t *txn) flush() error {
	if t.applied == 0 && t.batch.Empty() {
		return nil
	}
	if t.applied != 0 {
		t.batch.Set([]byte{keyApplied}, binary.BigEndian.AppendUint64(nil, t.applied))
	}
	b := t.batch
	t.batch, t.applied = t.db.NewBatch(), 0
	clear(t.rows)
	clear(t.newest)
	if err := b.Commit(false); err != nil {
		return err
	}
	return t.dropIters()
}

// dropIters closes the iterators, which do not see what was written since.
func (t *txn) dropIters() (err error) {
	for f, it := range t.its {
		err = errors.Join(err, it.Close())
		delete(t.its, f)
	}
	return err
}

// close ends the transaction without writing.
func (t *txn) close() error {
	t.batch.Discard()
	return t.dropIters()
}

// head returns the newest version of p: of complete entries, and of spilled
// effects of the one under way.
func (t *txn) head(f id.Folder, p id.Path) (version, bool, error) {
	if v, ok := t.newest[f][p]; ok {
		return *v, true, nil
	}
	it := t.its[f]
	if it == nil {
		var err error
		prefix := folderKey(keyVersion, f)
		if it, err = t.db.Iter(prefix, kv.PrefixEnd(prefix)); err != nil {
			return version{}, false, err
		}
		t.its[f] = it
	}
	t.key = appendVersionPrefix(t.key[:0], f, p)
	prefix := t.key
	it.Seek(prefix)
	if !it.Next() {
		return version{}, false, it.Err()
	}
	if k := it.Key(); len(k) != len(prefix)+8 || string(k[:len(prefix)]) != string(prefix) {
		return version{}, false, nil
	}
	v, err := decodeVersionAt(it)
	return v, err == nil, err
}

// note makes a version written to the batch visible to the entries that follow. v must
// not change any more.
func (t *txn) note(f id.Folder, v *version) {
	m := t.newest[f]
	if m == nil {
		m = make(map[id.Path]*version)
		t.newest[f] = m
	}
	m[v.Path] = v
}
