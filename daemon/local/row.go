package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Row is the record of one path: the version whose bytes the disk is known to
// hold and the file's stat when that was so.
type Row struct {
	// Base is what a change made from these bytes names.
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
	b = binary.AppendUvarint(b, uint64(len(r.Entry.Target)))
	b = append(b, r.Entry.Target...)
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
	d := decoder{b: b}
	if v := d.byte(); v != rowVersion {
		return r, fmt.Errorf("%w: version %d", errRow, v)
	}
	flags := d.byte()
	r.Firm = flags&1 != 0
	r.Unpacked = flags&8 != 0
	r.Base.Own = id.Sequence(d.uvarint())
	r.Base.Revision = id.Revision(d.uvarint())
	copy(r.Base.Hash[:], d.bytes(8))
	r.Entry.Kind = meta.Kind(d.byte())
	r.Entry.Mode = uint32(d.uvarint())
	r.Entry.MTime = d.varint()
	r.Entry.Size = d.varint()
	if flags&4 != 0 {
		copy(r.Entry.Content[:], d.bytes(32))
	}
	if flags&2 != 0 {
		copy(r.Entry.Manifest[:], d.bytes(32))
	}
	r.Entry.Target = string(d.bytes(d.length(id.MaxPath)))
	r.Stat.Kind = vfs.Kind(d.byte())
	r.Stat.Mode = uint32(d.uvarint())
	r.Stat.Size = d.varint()
	r.Stat.MTime = d.varint()
	r.Stat.CTime = d.varint()
	r.Stat.Ino = d.uvarint()
	r.Stat.Dev = d.uvarint()
	r.File = d.uvarint()
	if d.bad || len(d.b) != 0 {
		return Row{}, fmt.Errorf("%w: %d bytes", errRow, len(b))
	}
	return r, nil
}

// decoder reads fields off a slice; after the first that does not fit, bad is
// set and every read gives zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if v := d.bytes(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

func (d *decoder) bytes(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) length(limit int) int {
	n := d.uvarint()
	if n > uint64(limit) {
		d.bad = true
		return 0
	}
	return int(n)
}
