package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/fields"
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

// hidden reports whether v is what lost a conflict that made no copy.
func (v version) hidden() bool { return v.Lost.Kind != Absent }

// hide returns v as what lost without a copy. A directory cannot: what is in it needs
// a place.
func (v version) hide() version {
	if v.Entry.Kind == Dir {
		return v
	}
	v.Lost, v.Entry = v.Entry, Entry{}
	return v
}

// held is what the row and the digest hold beside the kind: of a hidden version the
// fields of what lost, whose kind follows from them.
func (v Version) held() Entry {
	if v.Lost.Kind != Absent {
		return v.Lost
	}
	return v.Entry
}

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

// appendRow appends the row's value; path and revision are in the key.
func (v *version) appendRow(b []byte) []byte {
	e := v.held()
	var flags byte
	set := func(f byte, on bool) {
		if on {
			flags |= f
		}
	}
	set(flagManifest, !e.Manifest.IsZero())
	set(flagContent, !e.Content.IsZero())
	set(flagFrom, v.From != "")
	set(flagTo, v.To != "")
	set(flagMoved, v.moved)
	set(flagUnseen, v.unseen)
	set(flagCopied, v.copied)
	set(flagTarget, e.Target != "")
	b = append(b, versionRow, flags, byte(v.Entry.Kind))
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendVarint(b, e.MTime)
	b = binary.AppendVarint(b, e.Size)
	if flags&flagContent != 0 {
		b = append(b, e.Content[:]...)
	}
	if flags&flagManifest != 0 {
		b = append(b, e.Manifest[:]...)
	}
	for _, s := range []string{e.Target, string(v.From), string(v.To)} {
		if s != "" {
			b = fields.AppendText(b, s)
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
	d := fields.NewReader(b[3:])
	v.Entry.Mode = uint32(d.Uvarint())
	v.Entry.MTime = d.Varint()
	v.Entry.Size = d.Varint()
	if flags&flagContent != 0 {
		d.Copy(v.Entry.Content[:])
	}
	if flags&flagManifest != 0 {
		d.Copy(v.Entry.Manifest[:])
	}
	if flags&flagTarget != 0 {
		v.Entry.Target = d.Text(id.MaxPath)
	}
	if flags&flagFrom != 0 {
		v.From = id.Path(d.Text(id.MaxPath))
	}
	if flags&flagTo != 0 {
		v.To = id.Path(d.Text(id.MaxPath))
	}
	if !d.Done() || v.Entry.Kind > Symlink {
		return version{}, fmt.Errorf("%w: version row of %d bytes", ErrDamaged, len(b))
	}
	if v.Entry.Kind == Absent && (v.Entry.Target != "" || !v.Entry.Content.IsZero()) {
		v.Lost, v.Entry = v.Entry, Entry{}
		if v.Lost.Kind = File; v.Lost.Target != "" {
			v.Lost.Kind = Symlink
		}
	}
	return v, nil
}
