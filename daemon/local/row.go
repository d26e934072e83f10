package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/fields"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Row is the record of one path: the version whose bytes the disk is known to
// hold and the file's stat when that was so.
type Row struct {
	// Base is what a change made from these bytes names: none where history has them
	// elsewhere and the user has seen no version of the path.
	Base meta.Base
	// Entry is that version.
	Entry meta.Entry
	Stat  vfs.Stat
	// Firm: the file was synced after it was hashed or staged.
	Firm bool
	// File is the number under which chunk locations name this file, 0 if none do.
	File uint64
	// Unpacked: File is the only place here of the version's bytes until they are
	// packed; see chunks.LocateBytes.
	Unpacked bool
}

// rowVersion is the first byte of an encoded Row.
const rowVersion = 1

// errRow is wrapped by every refusal to decode a row.
var errRow = errors.New("damaged row of the local index")

func (r Row) encode() []byte {
	b := make([]byte, 0, 192)
	b = append(b, rowVersion)
	var flags byte
	if r.Firm {
		flags |= 1
	}
	if !r.Entry.Manifest.IsZero() {
		flags |= 2
	}
	if !r.Entry.Content.IsZero() {
		flags |= 4
	}
	if r.Unpacked {
		flags |= 8
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(r.Base.Own))
	b = binary.AppendUvarint(b, uint64(r.Base.Revision))
	b = append(b, r.Base.Hash[:]...)
	b = append(b, byte(r.Entry.Kind))
	b = binary.AppendUvarint(b, uint64(r.Entry.Mode))
	b = binary.AppendVarint(b, r.Entry.MTime)
	b = binary.AppendVarint(b, r.Entry.Size)
	if flags&4 != 0 {
		b = append(b, r.Entry.Content[:]...)
	}
	if flags&2 != 0 {
		b = append(b, r.Entry.Manifest[:]...)
	}
	b = fields.AppendText(b, r.Entry.Target)
	b = append(b, byte(r.Stat.Kind))
	b = binary.AppendUvarint(b, uint64(r.Stat.Mode))
	b = binary.AppendVarint(b, r.Stat.Size)
	b = binary.AppendVarint(b, r.Stat.MTime)
	b = binary.AppendVarint(b, r.Stat.CTime)
	b = binary.AppendUvarint(b, r.Stat.Ino)
	b = binary.AppendUvarint(b, r.Stat.Dev)
	b = binary.AppendUvarint(b, r.File)
	return b
}

func decodeRow(b []byte) (r Row, err error) {
	d := fields.NewReader(b)
	if v := d.Byte(); v != rowVersion {
		return r, fmt.Errorf("%w: version %d", errRow, v)
	}
	flags := d.Byte()
	r.Firm = flags&1 != 0
	r.Unpacked = flags&8 != 0
	r.Base.Own = id.Sequence(d.Uvarint())
	r.Base.Revision = id.Revision(d.Uvarint())
	d.Copy(r.Base.Hash[:])
	r.Entry.Kind = meta.Kind(d.Byte())
	r.Entry.Mode = uint32(d.Uvarint())
	r.Entry.MTime = d.Varint()
	r.Entry.Size = d.Varint()
	if flags&4 != 0 {
		d.Copy(r.Entry.Content[:])
	}
	if flags&2 != 0 {
		d.Copy(r.Entry.Manifest[:])
	}
	r.Entry.Target = d.Text(id.MaxPath)
	r.Stat.Kind = vfs.Kind(d.Byte())
	r.Stat.Mode = uint32(d.Uvarint())
	r.Stat.Size = d.Varint()
	r.Stat.MTime = d.Varint()
	r.Stat.CTime = d.Varint()
	r.Stat.Ino = d.Uvarint()
	r.Stat.Dev = d.Uvarint()
	r.File = d.Uvarint()
	if !d.Done() {
		return Row{}, fmt.Errorf("%w: %d bytes", errRow, len(b))
	}
	return r, nil
}
