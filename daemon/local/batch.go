package local

import (
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// Batch collects changes that become visible, and durable if asked, together.
type Batch struct {
	d       *DB
	b       *kv.Batch
	maxFile uint64
	inodes  map[uint64]id.Path // inode rows that this batch has set
}

// NewBatch starts a batch; end it with Commit or Discard.
func (d *DB) NewBatch() *Batch {
	return &Batch{d: d, b: d.kv.NewBatch(), inodes: make(map[uint64]id.Path)}
}

// Put records a path. old is the record it replaces, nil if there is none.
func (b *Batch) Put(f id.Folder, p id.Path, r Row, old *Row) {
	if old != nil && hasInode(old.Stat) && old.Stat.Ino != r.Stat.Ino {
		b.dropInode(f, p, old.Stat.Ino)
	}
	b.b.Set(rowKey(f, p), r.encode())
	if hasInode(r.Stat) {
		b.b.Set(inodeKey(f, r.Stat.Ino), []byte(p))
		b.inodes[r.Stat.Ino] = p
	}
	if r.File != 0 {
		b.setFile(f, p, r.File)
	}
}

// Delete drops the record of a path.
func (b *Batch) Delete(f id.Folder, p id.Path, old Row) {
	b.b.Delete(rowKey(f, p))
	if hasInode(old.Stat) {
		b.dropInode(f, p, old.Stat.Ino)
	}
}

// dropInode removes the inode's row unless it names another path by now, in this
// batch too: a move may put its new path before it drops the old one. A row that
// another batch wrote meanwhile cannot be: the folder's lock is held.
func (b *Batch) dropInode(f id.Folder, p id.Path, ino uint64) {
	if at, ok := b.inodes[ino]; ok && at != p {
		return
	}
	if at, ok, err := b.d.ByInode(f, ino); err == nil && ok && at == p {
		b.b.Delete(inodeKey(f, ino))
	}
}

// Kept notes that the file with a number was displaced to a kept path.
func (b *Batch) Kept(f id.Folder, kept id.Path, file uint64) {
	b.b.Set(keptKey(f, kept), binary.BigEndian.AppendUint64(nil, file))
	b.setFile(f, kept, file)
}

// DropKept forgets a displaced file and its number.
func (b *Batch) DropKept(f id.Folder, kept id.Path, file uint64) {
	b.b.Delete(keptKey(f, kept))
	if file != 0 {
		b.DropFile(file)
	}
}

// GivenBack notes that the bytes of a displaced file were queued as a change.
func (b *Batch) GivenBack(f id.Folder, kept id.Path, content id.Digest) {
	b.b.Set(backKey(f, kept), content[:])
}

// DropGivenBack forgets all of that but for the displaced files in keep.
func (b *Batch) DropGivenBack(f id.Folder, keep map[id.Path]bool) (err error) {
	prefix := folderKey(keyBack, f)
	it, err := b.d.kv.Iter(prefix, kv.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		if p := id.Path(it.Key()[len(prefix):]); !keep[p] {
			b.b.Delete(backKey(f, p))
		}
	}
	return nil
}

// DropFile forgets where the file with a number is.
func (b *Batch) DropFile(file uint64) { b.b.Delete(fileKey(file)) }

// SetFilePath notes where the file with a number is, before a row names it.
func (b *Batch) SetFilePath(f id.Folder, p id.Path, file uint64) { b.setFile(f, p, file) }

func (b *Batch) setFile(f id.Folder, p id.Path, file uint64) {
	b.b.Set(fileKey(file), append(append(make([]byte, 0, 16+len(p)), f[:]...), p...))
	b.maxFile = max(b.maxFile, file)
}

// Place keeps what is about to be brought to a path.
func (b *Batch) Place(f id.Folder, p id.Path, pl Placement) { b.b.Set(placeKey(f, p), pl.encode()) }

// DropPlacement forgets what was to be brought to a path: it is recorded, or was not
// done.
func (b *Batch) DropPlacement(f id.Folder, p id.Path) { b.b.Delete(placeKey(f, p)) }

// Committed keeps, for a folder, a log index that is committed. See DB.Committed.
func (b *Batch) Committed(f id.Folder, n uint64) {
	b.b.Set(committedKey(f), binary.BigEndian.AppendUint64(nil, n))
}

// Enqueue adds a proposal to the queue; its sequence is used up for good.
func (b *Batch) Enqueue(it Item) {
	b.b.Set(queueKey(it.Lane, it.Sequence), it.Body)
	b.b.Set(laneKey(it.Lane), binary.BigEndian.AppendUint64(nil, uint64(it.Sequence)))
}

// Dequeue removes a proposal whose outcome this node has applied.
func (b *Batch) Dequeue(lane id.Folder, s id.Sequence) { b.b.Delete(queueKey(lane, s)) }

// SetFolder keeps the mapping of a folder.
func (b *Batch) SetFolder(f Folder) {
	v, err := json.Marshal(f)
	if err != nil {
		panic("local: encode a folder's mapping: " + err.Error()) // no field can fail
	}
	b.b.Set(folderKey(keyFolder, f.ID), v)
}

// DropFolder forgets a folder: its mapping and every record of its paths. The
// queue stays, for what was proposed is under way.
func (b *Batch) DropFolder(f id.Folder) {
	for _, kind := range []byte{keyFolder, keyRow, keyInode, keyKept, keyPlace, keyBack, keySettings, keyHeld} {
		prefix := folderKey(kind, f)
		b.b.DeleteRange(prefix, kv.PrefixEnd(prefix))
	}
	b.b.Delete(committedKey(f))
}

// Empty reports whether nothing was written.
func (b *Batch) Empty() bool { return b.b.Empty() }

// Commit makes the batch visible, and with sync durable.
func (b *Batch) Commit(sync bool) error {
	if b.maxFile != 0 {
		b.b.Set(miscKey("last-file"), binary.BigEndian.AppendUint64(nil, max(b.maxFile, b.d.nextFile.Load())))
	}
	return b.b.Commit(sync)
}

// Discard drops the batch.
func (b *Batch) Discard() { b.b.Discard() }

// hasInode leaves out symlinks and what a system without inode numbers says:
// only files and directories are recognised when they move.
func hasInode(s vfs.Stat) bool { return s.Ino != 0 && (s.Kind == vfs.File || s.Kind == vfs.Dir) }
