package materialize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/internal/fields"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// A file of intents is
//
//	magic "LSINTENT", version byte 1, uvarint count, count records, BLAKE3-256 of all before
//
// and a record is the op byte followed by the fields in the order of encode:
// strings and paths with a uvarint length, numbers as (u)varints, digests as they are.
// It lies in .lockstep/tmp while its batch is under way; afterwards, if the batch
// displaced anything, it is renamed into .lockstep/kept, where it tells
// what the displaced files were until all of them are swept.
const (
	intentsMagic   = "LSINTENT"
	intentsVersion = 1
	// maxIntents bounds a batch with lifts, which cannot be cut (see batches).
	maxIntents = 1 << 22
	// maxIntentsFile bounds what is read back: four million records of 256 bytes.
	maxIntentsFile = 1 << 30
	minRecord      = 40 // bytes; an encoded record is never shorter
)

// errIntents is wrapped for a file that is damaged or was not written to its end.
var errIntents = errors.New("damaged file of intents")

// intent is a step as it is made durable before it is done.
type intent struct {
	op     op
	lifted bool
	path   id.Path
	from   id.Path
	stage  id.Path  // opPut: the stage; opLift: where the thing is meanwhile
	kept   id.Path  // opPut, opRemove: where what is displaced goes
	expect vfs.Stat // at path (at from for opLift and opMove)
	new    vfs.Stat // opPut: the stage's; opAttr, opDirMode: mode and mtime to be set
	was    meta.Entry
	wasVer meta.Base
}

func encodeIntents(list []intent) []byte {
	b := make([]byte, 0, 64+len(list)*256)
	b = append(b, intentsMagic...)
	b = append(b, intentsVersion)
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = list[i].encode(b)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

func (in *intent) encode(b []byte) []byte {
	b = append(b, byte(in.op), 0)
	if in.lifted {
		b[len(b)-1] = 1
	}
	for _, p := range []id.Path{in.path, in.from, in.stage, in.kept} {
		b = fields.AppendText(b, string(p))
	}
	b = appendStat(appendStat(b, in.expect), in.new)
	w := &in.was
	b = append(b, byte(w.Kind))
	b = binary.AppendUvarint(b, uint64(w.Mode))
	b = binary.AppendVarint(b, w.MTime)
	b = binary.AppendVarint(b, w.Size)
	b = append(b, w.Content[:]...)
	b = append(b, w.Manifest[:]...)
	b = fields.AppendText(b, w.Target)
	b = binary.AppendUvarint(b, uint64(in.wasVer.Own))
	b = binary.AppendUvarint(b, uint64(in.wasVer.Revision))
	return append(b, in.wasVer.Hash[:]...)
}

func appendStat(b []byte, s vfs.Stat) []byte {
	b = append(b, byte(s.Kind))
	b = binary.AppendUvarint(b, uint64(s.Mode))
	b = binary.AppendVarint(b, s.Size)
	b = binary.AppendVarint(b, s.MTime)
	b = binary.AppendVarint(b, s.CTime)
	return binary.AppendUvarint(b, s.Ino)
}

// decodeIntents reads what encodeIntents wrote. Any other bytes are errIntents.
func decodeIntents(b []byte) ([]intent, error) {
	const head, tail = len(intentsMagic) + 1, 32
	if len(b) < head+tail || string(b[:head-1]) != intentsMagic {
		return nil, fmt.Errorf("%w: no magic", errIntents)
	}
	body := b[:len(b)-tail]
	if sum := blake3.Sum256(body); string(sum[:]) != string(b[len(body):]) {
		return nil, fmt.Errorf("%w: checksum", errIntents)
	}
	if v := b[head-1]; v != intentsVersion {
		return nil, fmt.Errorf("intents are of version %d, this program knows %d", v, intentsVersion)
	}
	r := fields.NewReader(body[head:])
	n := r.Uvarint()
	if n > maxIntents || n > uint64(r.Len()/minRecord) {
		return nil, fmt.Errorf("%w: %d records in %d bytes", errIntents, n, len(b))
	}
	list := make([]intent, n)
	for i := range list {
		list[i].decode(r)
	}
	if !r.Done() {
		return nil, fmt.Errorf("%w: records", errIntents)
	}
	return list, nil
}

func (in *intent) decode(r *fields.Reader) {
	in.op = op(r.Byte())
	in.lifted = r.Byte() == 1
	for _, p := range []*id.Path{&in.path, &in.from, &in.stage, &in.kept} {
		*p = id.Path(r.Text(id.MaxPath + 256))
	}
	in.expect, in.new = readStat(r), readStat(r)
	w := &in.was
	w.Kind = meta.Kind(r.Byte())
	w.Mode = uint32(r.Uvarint())
	w.MTime, w.Size = r.Varint(), r.Varint()
	r.Copy(w.Content[:])
	r.Copy(w.Manifest[:])
	w.Target = r.Text(1 << 16)
	in.wasVer.Own = id.Sequence(r.Uvarint())
	in.wasVer.Revision = id.Revision(r.Uvarint())
	r.Copy(in.wasVer.Hash[:])
	if in.op < opRemove || in.op > opDirMode || w.Kind > meta.Symlink || in.path.Check() != nil {
		r.Fail()
	}
}

// readStat reads what appendStat wrote.
func readStat(r *fields.Reader) (s vfs.Stat) {
	s.Kind = vfs.Kind(r.Byte())
	s.Mode = uint32(r.Uvarint())
	s.Size, s.MTime, s.CTime = r.Varint(), r.Varint(), r.Varint()
	s.Ino = r.Uvarint()
	return s
}

// writeIntents makes list durable at p, which must not exist.
func writeIntents(fsys vfs.FS, p id.Path, list []intent) error {
	h, err := fsys.Create(p, 0o600)
	if err != nil {
		return fmt.Errorf("write intents: %w", err)
	}
	_, err = h.WriteAt(encodeIntents(list), 0)
	if err == nil {
		err = h.Sync()
	}
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.SyncDir(p.Dir())
	}
	if err != nil {
		_ = fsys.Unlink(p) // best effort: nothing was done yet, and Recover finds nothing to do
		return fmt.Errorf("write intents: %w", err)
	}
	return nil
}

func readIntents(fsys vfs.FS, p id.Path) ([]intent, error) {
	h, err := fsys.Open(p)
	if err != nil {
		return nil, fmt.Errorf("read intents: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(h, maxIntentsFile+1))
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("read intents %q: %w", p, err)
	}
	list, err := decodeIntents(b)
	if err != nil {
		return nil, fmt.Errorf("read intents %q: %w", p, err)
	}
	return list, nil
}
