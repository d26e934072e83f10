package chunks

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The manifest of a file is a tree of rows. A leaf's row is a chunk and its
// length, an inner node's row a child node and the bytes below it:
//
//	node:      version u8 = 1, level u8, rows
//	level 0:   chunk ID [32], length u32
//	level 1…7: node ID [32], bytes u64
//
// Numbers are little-endian. Nodes are cut by content: a node ends behind a row
// whose ID begins with eight zero bits once it has 64 rows, and at 1024 rows at
// the latest, so that an insertion changes a node or two a level. All of this is
// part of the format: equal content must give equal manifests.
const (
	nodeVersion  = 1
	nodeHeader   = 2
	leafRow      = 36
	innerRow     = 40
	minNodeRows  = 64
	maxNodeRows  = 1024
	maxNodeLevel = 7
)

// NodeRow is one row of a decoded manifest node.
type NodeRow struct {
	ID  id.Digest // of a chunk at level 0, else of a node one level below
	Len int64     // bytes of the file below this row
}

// DecodedNode is a manifest node.
type DecodedNode struct {
	Level int
	Rows  []NodeRow
	Total int64 // bytes of the file below this node
}

// DecodeNode reads a node's encoding. Every error matches ErrCorrupt.
func DecodeNode(b []byte) (DecodedNode, error) {
	if len(b) < nodeHeader || len(b) > MaxNode {
		return DecodedNode{}, fmt.Errorf("manifest node: %w: %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != nodeVersion || b[1] > maxNodeLevel {
		return DecodedNode{}, fmt.Errorf("manifest node: %w: version %d, level %d", ErrCorrupt, b[0], b[1])
	}
	n := DecodedNode{Level: int(b[1])}
	size, most := leafRow, uint64(MaxChunk)
	if n.Level > 0 {
		size, most = innerRow, 1<<62
	}
	count := (len(b) - nodeHeader) / size
	if count < 1 || count > maxNodeRows || nodeHeader+count*size != len(b) {
		return DecodedNode{}, fmt.Errorf("manifest node: %w: %d bytes at level %d", ErrCorrupt, len(b), n.Level)
	}
	n.Rows = make([]NodeRow, count)
	for i := range n.Rows {
		r := b[nodeHeader+i*size:]
		v := uint64(binary.LittleEndian.Uint32(r[32:]))
		if n.Level > 0 {
			v = binary.LittleEndian.Uint64(r[32:])
		}
		if v == 0 || v > most || uint64(n.Total)+v > 1<<62 {
			return DecodedNode{}, fmt.Errorf("manifest node: %w: row %d of %d bytes", ErrCorrupt, i, v)
		}
		n.Rows[i] = NodeRow{ID: id.Digest(r[:32]), Len: int64(v)}
		n.Total += int64(v)
	}
	return n, nil
}

// treeBuilder makes the manifest of rows given in order, with memory for one
// node a level.
type treeBuilder struct {
	// put stores a node and returns its ID; b is the builder's.
	put    func(b []byte) (id.Digest, error)
	levels []*treeLevel
}

type treeLevel struct {
	buf   []byte
	count int
	total int64
}

// add appends a chunk.
func (t *treeBuilder) add(d id.Digest, n int) error { return t.push(0, NodeRow{d, int64(n)}) }

func (t *treeBuilder) push(level int, r NodeRow) error {
	if level == len(t.levels) {
		if level > maxNodeLevel {
			return fmt.Errorf("manifest deeper than %d levels", maxNodeLevel)
		}
		t.levels = append(t.levels, &treeLevel{buf: append(make([]byte, 0, 4<<10), nodeVersion, byte(level))})
	}
	l := t.levels[level]
	l.buf = append(l.buf, r.ID[:]...)
	if level == 0 {
		l.buf = binary.LittleEndian.AppendUint32(l.buf, uint32(r.Len))
	} else {
		l.buf = binary.LittleEndian.AppendUint64(l.buf, uint64(r.Len))
	}
	l.count++
	l.total += r.Len
	if l.count == maxNodeRows || l.count >= minNodeRows && r.ID[0] == 0 {
		return t.flush(level)
	}
	return nil
}

// flush stores the node under construction and hands it to the level above.
func (t *treeBuilder) flush(level int) error {
	l := t.levels[level]
	d, err := t.put(l.buf)
	if err != nil {
		return err
	}
	row := NodeRow{d, l.total}
	l.buf, l.count, l.total = l.buf[:nodeHeader], 0, 0
	return t.push(level+1, row)
}

// finish stores what is left and returns the root. Rows were added.
func (t *treeBuilder) finish() (id.Digest, error) {
	for level := 0; ; level++ {
		l := t.levels[level]
		if level == len(t.levels)-1 {
			if level > 0 && l.count == 1 {
				// A node with one child is left out: the child is the root.
				return id.Digest(l.buf[nodeHeader : nodeHeader+32]), nil
			}
			return t.put(l.buf)
		}
		if l.count > 0 {
			if err := t.flush(level); err != nil {
				return id.Digest{}, err
			}
		}
	}
}
