package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// version is what a version row holds beside Version.
type version struct {
	Version
	// moved: the entry came here by a move and is the one that was at From.
	moved bool
	// unseen: the author of the commit had not seen this content, because it was
	// merged into or carried along by its change.
	unseen bool
	// copied: it is at a path that the author did not choose: a conflict copy, or a
	// directory of such.
	copied bool
}

func (v version) live() bool { return v.Entry.Kind != Absent }

// versionRow is the first byte of a version row.
const versionRow = 1

const (
	flagManifest = 1 << iota
	flagContent
	flagFrom
	flagTo
	flagMoved
	flagUnseen
	flagTarget
	flagCopied
)

// encode returns the row's value; path and revision are in the key.
func (v version) encode() []byte {
	b := make([]byte, 0, 96+len(v.Entry.Target)+len(v.From)+len(v.To))
	var flags byte
	set := func(f byte, on bool) {
		if on {
			flags |= f
		}
	}
	set(flagManifest, !v.Entry.Manifest.IsZero())
	set(flagContent, !v.Entry.Content.IsZero())
	set(flagFrom, v.From != "")
	set(flagTo, v.To != "")
	set(flagMoved, v.moved)
	set(flagUnseen, v.unseen)
	set(flagCopied, v.copied)
	set(flagTarget, v.Entry.Target != "")
	b = append(b, versionRow, flags, byte(v.Entry.Kind))
	b = binary.AppendUvarint(b, uint64(v.Entry.Mode))
	b = binary.AppendVarint(b, v.Entry.MTime)
	b = binary.AppendVarint(b, v.Entry.Size)
	if flags&flagContent != 0 {
		b = append(b, v.Entry.Content[:]...)
	}
	if flags&flagManifest != 0 {
		b = append(b, v.Entry.Manifest[:]...)
	}
	for _, s := range []string{v.Entry.Target, string(v.From), string(v.To)} {
		if s != "" {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// decodeVersion reads what encode wrote.
func decodeVersion(p id.Path, r id.Revision, b []byte) (version, error) {
	if len(b) < 3 {
		return version{}, fmt.Errorf("%w: version row of %d bytes", ErrDamaged, len(b))
	}
	if b[0] != versionRow {
		return version{}, fmt.Errorf("version row %d: %w", b[0], ErrNewer)
	}
	flags := b[1]
	v := version{Version: Version{Path: p, Revision: r}, moved: flags&flagMoved != 0, unseen: flags&flagUnseen != 0, copied: flags&flagCopied != 0}
	v.Entry.Kind = Kind(b[2])
	d := decoder{b: b[3:]}
	v.Entry.Mode = uint32(d.uvarint())
	v.Entry.MTime = d.varint()
	v.Entry.Size = d.varint()
	if flags&flagContent != 0 {
		copy(v.Entry.Content[:], d.take(32))
	}
	if flags&flagManifest != 0 {
		copy(v.Entry.Manifest[:], d.take(32))
	}
	if flags&flagTarget != 0 {
		v.Entry.Target = string(d.text())
	}
	if flags&flagFrom != 0 {
		v.From = id.Path(d.text())
	}
	if flags&flagTo != 0 {
		v.To = id.Path(d.text())
	}
	if d.bad || len(d.b) != 0 || v.Entry.Kind > Symlink {
		return version{}, fmt.Errorf("%w: version row of %d bytes", ErrDamaged, len(b))
	}
	return v, nil
}

// decoder reads fields off a slice; after the first that does not fit, bad is set
// and every read gives zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// text reads a length and that many bytes, at most a path's.
func (d *decoder) text() []byte {
	n := d.uvarint()
	if n > id.MaxPath {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}
