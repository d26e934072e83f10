package folder

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// ended is what the outcomes of own proposals leave to do.
type ended struct {
	// plain are revisions that hold exactly what this disk proposed: nothing of
	// them is to be brought here.
	plain map[id.Revision]bool
	// look are paths to compare again.
	look []id.Path
}

// outcomes takes the outcomes of this node's own proposals from its own state
// machine: rows get the revision that their version became, the queue forgets
// the entry. mu is held.
func (e *Engine) outcomes(s *snap) (ended, error) {
	end := ended{plain: make(map[id.Revision]bool)}
	if len(e.flight) == 0 {
		return end, nil
	}
	b := e.o.Local.NewBatch()
	defer func() {
		if b != nil {
			b.Discard()
		}
	}()
	var landed []id.Sequence
	for _, seq := range slices.Sorted(maps.Keys(e.flight)) {
		out, ok, err := s.view.Outcome(e.o.Self, e.o.ID, seq)
		if err != nil {
			return end, err
		}
		if !ok {
			break
		}
		if err := e.outcome(b, &end, seq, out); err != nil {
			return end, err
		}
		b.Dequeue(e.o.ID, seq)
		landed = append(landed, seq)
		// Later proposals may rest on rows that this one changes: one batch each.
		c := b
		b = e.o.Local.NewBatch()
		if err := c.Commit(false); err != nil {
			return end, err
		}
	}
	for _, seq := range landed {
		e.landed(seq)
	}
	if len(landed) > 0 {
		e.st.touch()
	}
	return end, nil
}

// outcome takes one. mu is held.
func (e *Engine) outcome(b *local.Batch, end *ended, seq id.Sequence, out meta.Outcome) error {
	changes := e.flight[seq]
	if out.Kind == meta.Refused {
		e.log.Error("own proposal was refused", "sequence", seq, "reason", out.Reason, "changes", len(changes))
		return e.refused(b, seq, changes, out.Reason)
	}
	base := meta.Base{Revision: out.Revision, Hash: out.Hash}
	special := make(map[id.Path]meta.ChangeOutcome, len(out.Changes))
	for _, c := range out.Changes {
		special[c.Proposed] = c
		end.look = append(end.look, c.Proposed)
		if c.Path != "" && c.Path != c.Proposed {
			end.look = append(end.look, c.Path)
		}
	}
	if len(out.Changes) == 0 && out.Revision != 0 && len(changes) > 0 {
		end.plain[out.Revision] = true
	}
	for _, c := range changes {
		e.trace.Mark(c.Path, trace.Outcome)
		switch c.Op {
		case meta.OpPut:
			if err := e.rebase(b, c.Path, seq, special, base); err != nil {
				return err
			}
		case meta.OpMove:
			if err := e.rebase(b, c.Path, seq, special, base); err != nil {
				return err
			}
			err := e.o.Local.Below(e.o.ID, c.Path, func(p id.Path, r local.Row) error {
				return e.rebaseRow(b, p, r, seq, special, base)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) rebase(b *local.Batch, p id.Path, seq id.Sequence, special map[id.Path]meta.ChangeOutcome, base meta.Base) error {
	r, ok, err := e.o.Local.Get(e.o.ID, p)
	if err != nil || !ok {
		return err
	}
	return e.rebaseRow(b, p, r, seq, special, base)
}

// rebaseRow gives a row that named the own sequence the revision it became. A
// version that went to another path keeps its sequence: what the user builds on
// it goes the same way.
func (e *Engine) rebaseRow(b *local.Batch, p id.Path, r local.Row, seq id.Sequence, special map[id.Path]meta.ChangeOutcome, base meta.Base) error {
	if r.Base.Own != seq {
		return nil
	}
	next := base
	if c, ok := special[p]; ok {
		if c.Path != "" && c.Path != p {
			e.st.addLineage(p, seq)
			return nil
		}
		if !c.Base.IsNone() {
			next = c.Base
		}
	}
	if next.Revision == 0 {
		return fmt.Errorf("outcome of sequence %d names no revision for %q", seq, string(p))
	}
	old := r
	r.Base = next
	b.Put(e.o.ID, p, r, &old)
	return nil
}

// refused forgets what was recorded of a refused proposal: the bytes are the
// user's and not in history, so they must not count as known.
func (e *Engine) refused(b *local.Batch, seq id.Sequence, changes []meta.Change, reason string) error {
	drop := func(p id.Path, r local.Row) error {
		if r.Base.Own == seq {
			b.Delete(e.o.ID, p, r)
			e.st.block(p, "the cluster refused it: "+reason)
		}
		return nil
	}
	for _, c := range changes {
		r, ok, err := e.o.Local.Get(e.o.ID, c.Path)
		if err != nil {
			return err
		}
		if ok {
			if err := drop(c.Path, r); err != nil {
				return err
			}
		}
		if c.Op == meta.OpMove {
			if err := e.o.Local.Below(e.o.ID, c.Path, drop); err != nil {
				return err
			}
		}
	}
	return nil
}
