package propose

import (
	"context"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Series proposes n commands, one right after the other, in the lane of a folder that
// no engine owns, and returns their outcomes from this node's own state machine. Each
// is made knowing the sequence of the one before it, 0 for the first. All are durable
// before it waits: when ctx ends they may still be committed.
func (p *Proposer) Series(ctx context.Context, folder id.Folder, n int, command func(i int, before id.Sequence) meta.Command) ([]meta.Outcome, error) {
	l, err := p.lane(folder)
	if err != nil {
		return nil, err
	}
	var seqs []id.Sequence
	for i := range n {
		var before id.Sequence
		if i > 0 {
			before = seqs[i-1]
		}
		tx := l.Begin()
		if err := tx.Commit(p.o.Local.NewBatch(), command(i, before)); err != nil {
			return nil, fmt.Errorf("queue command %d of %d: %w", i+1, n, err)
		}
		seqs = append(seqs, tx.Sequence())
	}
	out := make([]meta.Outcome, n)
	for i, seq := range seqs {
		if out[i], err = p.await(ctx, folder, seq); err != nil {
			return nil, err
		}
	}
	return out, nil
}
