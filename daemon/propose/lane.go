package propose

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Lane is the ordered stream of this node's proposals for one folder.
type Lane struct {
	p      *Proposer
	folder id.Folder
	kick   chan struct{} // there is something to send; capacity 1

	owned  atomic.Bool // an engine takes what is decided out of the queue
	rewind atomic.Bool // run begins at the oldest entry again

	mu   sync.Mutex // held from Begin to Commit or Abort; guards last
	last id.Sequence
}

// Tx is the lane's next place, held until Commit or Abort.
type Tx struct {
	l    *Lane
	seq  id.Sequence
	hash id.Digest
	done bool
}

// Begin takes the lane's next place. Others wait for it until the Tx has ended.
func (l *Lane) Begin() *Tx {
	l.mu.Lock()
	return &Tx{l: l, seq: l.last + 1}
}

// Sequence is the number that the proposal will have.
func (t *Tx) Sequence() id.Sequence { return t.seq }

// Hash is the committed proposal's: its outcome names it. Zero before Commit.
func (t *Tx) Hash() id.Digest { return t.hash }

// Commit encodes the command, adds it to the batch and commits that, durably;
// then the proposal is on its way. It consumes the batch. After an error the
// number is still free.
func (t *Tx) Commit(b *local.Batch, cmd meta.Command) error {
	defer t.Abort()
	body, err := meta.EncodeCommand(cmd)
	if err != nil {
		b.Discard()
		return err
	}
	b.Enqueue(local.Item{Lane: t.l.folder, Sequence: t.seq, Body: body.Marshal()})
	if err := b.Commit(true); err != nil {
		return err
	}
	t.l.last, t.hash = t.seq, body.Hash
	t.l.wake()
	return nil
}

func (l *Lane) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Abort gives the place up, unless it was committed.
func (t *Tx) Abort() {
	if !t.done {
		t.done = true
		t.l.mu.Unlock()
	}
}

// errNext ends an iteration over the queue with its first entry.
var errNext = errors.New("next")

// run sends what is in the queue, in order, from the oldest on.
func (l *Lane) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-l.p.ready:
	}
	next := id.Sequence(1)
	for {
		if l.rewind.Swap(false) {
			next = 1
		}
		var it local.Item
		err := l.p.o.Local.Queue(l.folder, next, func(i local.Item) error { it = i; return errNext })
		switch {
		case err == nil: // nothing to send
			select {
			case <-ctx.Done():
				return nil
			case <-l.kick:
			}
			continue
		case !errors.Is(err, errNext):
			return fmt.Errorf("read the queue: %w", err)
		}
		if err := l.send(ctx, it); err != nil {
			if ctx.Err() != nil && !errors.Is(err, ErrFenced) {
				return nil
			}
			return laneError(l.folder, it.Sequence, err)
		}
		next = it.Sequence + 1
		if l.owned.Load() {
			continue
		}
		if err := l.p.decided(ctx, l.folder, it.Sequence); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		// Whoever begins to own the lane meanwhile finds the outcome in the state machine.
		b := l.p.o.Local.NewBatch()
		b.Dequeue(l.folder, it.Sequence)
		if err := b.Commit(false); err != nil {
			return err
		}
	}
}

// errNotTaken is why a proposal that was answered is sent again.
var errNotTaken = errors.New("not taken")

// refusal tells refusals of the envelope, which leave no outcome, from all other
// answers: a later session ends this run; a gap, or a membership that the cluster
// does not know (yet), may mend.
func refusal(out meta.Outcome) error {
	if out.Kind != meta.Refused {
		return nil
	}
	switch out.Reason {
	case meta.ReasonFenced:
		return ErrFenced
	case meta.ReasonGap, meta.ReasonNotMember:
		return fmt.Errorf("%w: %s", errNotTaken, out.Reason)
	}
	return nil
}

// send repeats one proposal until it is answered, by the leader or by this node's
// own state machine.
func (l *Lane) send(ctx context.Context, it local.Item) error {
	body, err := meta.UnmarshalBody(it.Body)
	if err != nil {
		return err
	}
	env := meta.Envelope{Node: l.p.o.Self, Session: l.p.session, Lane: l.folder, Sequence: it.Sequence}
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		out, err := l.p.attempt(ctx, env, body)
		if err == nil {
			err = refusal(out)
		}
		if err == nil || errors.Is(err, ErrFenced) {
			return err
		}
		l.p.log.Debug("propose", "lane", l.folder, "sequence", uint64(it.Sequence), "error", err)
		l.p.note(out)
		if !sleep(ctx, pause, nil) {
			return ctx.Err()
		}
		v := l.p.o.Machine.View()
		_, known, verr := v.Outcome(l.p.o.Self, l.folder, it.Sequence)
		if cerr := v.Close(); verr == nil {
			verr = cerr
		}
		if known || verr != nil {
			return verr
		}
	}
}
