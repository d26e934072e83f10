package folder

import (
	"maps"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// ended is what the outcomes of own proposals leave to do.
type ended struct {
	// plain are revisions that hold exactly what this disk proposed since the engine's
	// start: nothing of them is to be brought here.
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
		if out.Entry != e.flight[seq].hash {
			// The sequence was used by a state of this node that the local store has
			// lost: what became of that says nothing of these bytes.
			out = meta.Outcome{Kind: meta.Refused, Reason: "this node has proposed something else under the same number before: its home is an older copy; join as a new node"}
		}
		if err := e.outcome(s, b, &end, seq, out); err != nil {
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
func (e *Engine) outcome(s *snap, b *local.Batch, end *ended, seq id.Sequence, out meta.Outcome) error {
	changes := e.flight[seq].changes
	if out.Kind == meta.Refused {
		e.log.Error("own proposal was refused", "sequence", uint64(seq), "reason", out.Reason, "changes", len(changes))
		return e.refused(b, seq, changes, out.Reason)
	}
	e.refusals = 0
	r := rebasing{b: b, end: end, seq: seq, base: meta.Base{Revision: out.Revision, Hash: out.Hash}, special: make(map[id.Path]meta.ChangeOutcome, len(out.Changes))}
	for _, c := range out.Changes {
		r.special[c.Proposed] = c
		end.look = append(end.look, c.Proposed)
		if c.Path != "" && c.Path != c.Proposed {
			end.look = append(end.look, c.Path)
		}
	}
	if len(out.Changes) == 0 && out.Revision != 0 && len(changes) > 0 && !e.flight[seq].before {
		end.plain[out.Revision] = true
	}
	for _, c := range changes {
		e.trace.Mark(c.Path, trace.Outcome)
		if c.Op == meta.OpDelete {
			if len(out.Changes) > 0 {
				// What survived of a directory has its directories too, and none of them is
				// named here.
				e.compareAll = true
			}
			continue
		}
		row, ok, err := e.o.Local.Get(e.o.ID, c.Path)
		if err != nil {
			return err
		}
		if ok {
			e.rebaseRow(r, c.Path, row)
		}
		if c.Op != meta.OpMove {
			continue
		}
		if len(out.Changes) > 0 {
			// A directory's move that did not happen as proposed leaves everything
			// below it elsewhere than on this disk: compare it all.
			e.compareAll = true
		}
		err = e.o.Local.Below(e.o.ID, c.Path, func(p id.Path, row local.Row) error {
			e.rebaseRow(r, p, row)
			v, err := s.version(p)
			if err == nil && v.Entry.Kind == meta.Absent {
				end.look = append(end.look, p) // somebody deleted it before the directory moved
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rebasing is what rebaseRow needs of one outcome.
type rebasing struct {
	b       *local.Batch
	end     *ended
	seq     id.Sequence
	base    meta.Base // of what was accepted as proposed
	special map[id.Path]meta.ChangeOutcome
}

// rebaseRow gives a row that named the own sequence the revision it became. A
// version that went to another path, itself or with a directory above it, keeps
// its sequence: what the user builds on it goes the same way.
func (e *Engine) rebaseRow(x rebasing, p id.Path, r local.Row) {
	if r.Base.Own != x.seq {
		return
	}
	old := r
	r.Base = x.base
	for q := p; q != ""; q = q.Dir() {
		c, ok := x.special[q]
		if !ok {
			continue
		}
		if c.Kind == meta.Refused {
			x.b.Delete(e.o.ID, p, old) // not in history: the bytes count as new
			e.watch.Requeue(p)
			return
		}
		moved := c.Path != "" && c.Path != q || c.BasePath != "" && c.BasePath != q
		if moved || q != p && (c.Kind == meta.Dropped || c.Kind == meta.Unchanged) {
			r.Base = meta.Base{}
		} else if q == p && !c.Base.IsNone() {
			r.Base = c.Base
		}
		break
	}
	if r.Base.Revision == 0 {
		e.st.addLineage(p, x.seq)
		x.end.look = append(x.end.look, p)
		return
	}
	x.b.Put(e.o.ID, p, r, &old)
}

// refused forgets what was recorded of a refused proposal: the bytes are the
// user's and not in history, so they must not count as known. They are proposed
// again; what was deleted or moved away comes back. mu is held.
func (e *Engine) refused(b *local.Batch, seq id.Sequence, changes []touched, reason string) error {
	if len(changes) == 0 {
		return nil // a command of the user's, who is told
	}
	e.refusals++
	e.compareAll = true
	d := postponed{why: "the cluster refused it: " + reason}
	if e.refusals > 1 {
		d.blocked, d.at = d.why, time.Now().Add(retryBlocked)
	}
	drop := func(p id.Path, r local.Row) error {
		if r.Base.Own == seq {
			b.Delete(e.o.ID, p, r)
			e.st.postpone(p, d)
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
