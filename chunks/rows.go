package chunks

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// fetchAhead is how many missing nodes are asked for at once.
const fetchAhead = 64

// Rows walks the chunks of f in order, reading the manifest from the store with
// memory for one node a level. Missing nodes are asked of fetch, a batch at a
// time; without one, or when it does not bring them, the walk ends with a
// *MissingError. A manifest that does not fit f ends it with ErrCorrupt. An error
// is the last pair.
func (s *Store) Rows(ctx context.Context, f File, fetch Fetch) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if f.Size == 0 {
			return
		}
		if f.Manifest.IsZero() {
			if f.Size < 0 || f.Size > MaxChunk {
				yield(Row{}, fmt.Errorf("file %s: %w: %d bytes without a manifest", f.Content.Short(), ErrCorrupt, f.Size))
				return
			}
			yield(Row{ID: f.Content, Len: int(f.Size)}, nil)
			return
		}
		w := walker{s: s, fetch: fetch, yield: yield}
		if err := w.node(ctx, f.Manifest, -1, f.Size); err != nil && !errors.Is(err, errStop) {
			yield(Row{}, err)
		}
	}
}

// errStop ends a walk whose consumer has enough.
var errStop = errors.New("stop")

type walker struct {
	s     *Store
	fetch Fetch
	yield func(Row, error) bool
	off   int64
}

// node walks the subtree of node d, which must be of the level (-1: any) and of
// total bytes.
func (w *walker) node(ctx context.Context, d id.Digest, level int, total int64) error {
	n, err := w.load(ctx, d)
	if err != nil {
		return err
	}
	if level >= 0 && n.Level != level || n.Total != total {
		return fmt.Errorf("manifest node %s: %w: level %d with %d bytes, want level %d with %d",
			d.Short(), ErrCorrupt, n.Level, n.Total, level, total)
	}
	ahead := 0 // rows before it were seen to be here or fetched
	for i, r := range n.Rows {
		if n.Level == 0 {
			if !w.yield(Row{ID: r.ID, Offset: w.off, Len: int(r.Len)}, nil) {
				return errStop
			}
			w.off += r.Len
			continue
		}
		if w.fetch != nil && i >= ahead {
			ahead = min(i+fetchAhead, len(n.Rows))
			if err := w.fetchMissing(ctx, n.Rows[i:ahead]); err != nil {
				return err
			}
		}
		if err := w.node(ctx, r.ID, n.Level-1, r.Len); err != nil {
			return err
		}
	}
	return nil
}

// load reads a node, with the help of fetch.
func (w *walker) load(ctx context.Context, d id.Digest) (DecodedNode, error) {
	b, err := w.s.Get(ctx, d, Node, nil)
	if errors.Is(err, ErrMissing) && w.fetch != nil {
		if err := w.fetch(ctx, []id.Digest{d}); err != nil {
			return DecodedNode{}, fmt.Errorf("fetch manifest node %s: %w", d.Short(), err)
		}
		b, err = w.s.Get(ctx, d, Node, nil)
	}
	if err != nil {
		return DecodedNode{}, err
	}
	n, err := DecodeNode(b)
	if err != nil {
		return DecodedNode{}, fmt.Errorf("%s: %w", d.Short(), err)
	}
	return n, nil
}

func (w *walker) fetchMissing(ctx context.Context, rows []NodeRow) error {
	var ids []id.Digest
	for _, r := range rows {
		if !w.s.has(key{Node, r.ID}) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := w.fetch(ctx, ids); err != nil {
		return fmt.Errorf("fetch %d manifest nodes: %w", len(ids), err)
	}
	return nil
}

// Assemble is Rows with what is known here of each chunk: what a receiver copies
// locally, leaves as a hole, or pulls.
func (s *Store) Assemble(ctx context.Context, f File, fetch Fetch) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		for r, err := range s.Rows(ctx, f, fetch) {
			p := Piece{Row: r}
			if err == nil {
				p.Zero = IsZero(r.ID, r.Len)
				p.Local = p.Zero || s.has(key{Chunk, r.ID})
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Unpacked returns how many bytes of f are in no pack here: what is lost when
// the file that holds them is. The manifest must be here.
func (s *Store) Unpacked(ctx context.Context, f File) (int64, error) {
	var n int64
	for r, err := range s.Rows(ctx, f, nil) {
		if err != nil {
			return 0, err
		}
		if IsZero(r.ID, r.Len) {
			continue
		}
		if _, ok, err := s.lookup(key{Chunk, r.ID}); err != nil {
			return 0, err
		} else if !ok {
			n += int64(r.Len)
		}
	}
	return n, nil
}
