package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/fields"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
)

// Placement is what is about to be brought to one path. It is durable before the
// disk is touched, so that after a crash in between what is there is known for
// what it is, and not taken for the user's.
type Placement struct {
	Path id.Path
	// Version is the base of what is brought, Want its entry; Absent: a deletion.
	Version meta.Base
	Want    meta.Entry
	// Ino is the inode that will be at the path; 0 where there will be none.
	Ino uint64
	// From is where that inode is before, if it is moved from another path.
	From id.Path
	// Was is the base of what is recorded at the path before, none if nothing is.
	Was meta.Base
}

// placementVersion is the first byte of an encoded Placement.
const placementVersion = 1

// errPlacement is wrapped by every refusal to decode a placement.
var errPlacement = errors.New("damaged placement in the local index")

func (p Placement) encode() []byte {
	row := Row{Base: p.Version, Entry: p.Want}.encode()
	b := make([]byte, 0, len(row)+len(p.From)+32)
	b = append(b, placementVersion)
	b = fields.AppendText(b, string(row))
	b = binary.AppendUvarint(b, p.Ino)
	b = fields.AppendText(b, string(p.From))
	b = binary.AppendUvarint(b, uint64(p.Was.Own))
	b = binary.AppendUvarint(b, uint64(p.Was.Revision))
	return append(b, p.Was.Hash[:]...)
}

// maxRow bounds an encoded row: the fixed fields and a symlink's target.
const maxRow = 512 + id.MaxPath

func decodePlacement(path id.Path, b []byte) (Placement, error) {
	d := fields.NewReader(b)
	if v := d.Byte(); v != placementVersion {
		return Placement{}, fmt.Errorf("%w: version %d", errPlacement, v)
	}
	row, err := decodeRow([]byte(d.Text(maxRow)))
	if err != nil {
		return Placement{}, fmt.Errorf("%w: %w", errPlacement, err)
	}
	p := Placement{Path: path, Version: row.Base, Want: row.Entry}
	p.Ino = d.Uvarint()
	p.From = id.Path(d.Text(id.MaxPath))
	p.Was.Own = id.Sequence(d.Uvarint())
	p.Was.Revision = id.Revision(d.Uvarint())
	d.Copy(p.Was.Hash[:])
	if !d.Done() {
		return Placement{}, fmt.Errorf("%w: %d bytes", errPlacement, len(b))
	}
	return p, nil
}

// Placements returns what was about to be brought, in path order: a directory
// comes before what is in it.
func (d *DB) Placements(f id.Folder) (out []Placement, err error) {
	prefix := folderKey(keyPlace, f)
	it, err := d.kv.Iter(prefix, kv.PrefixEnd(prefix))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		path := id.Path(it.Key()[len(prefix):])
		p, err := decodePlacement(path, it.Value())
		if err != nil {
			return nil, fmt.Errorf("%q: %w", string(path), err)
		}
		out = append(out, p)
	}
	return out, nil
}
