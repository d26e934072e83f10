// Package propose brings this node's proposals to the leader: durable first, in
// order, again and again under the same number until somebody has answered.
package propose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// ErrFenced is returned by Run when another run of this node's identity has
// started a later session: two daemons have one key, and this one must halt.
var ErrFenced = errors.New("another daemon with this node's identity has taken over: one of the two is a copy; stop it, or make it a new node")

// Sender proposes to the leader, wherever it is. The outcome may come from a
// state machine that is ahead of this node's own; it is not acted upon. An error
// means unknown.
type Sender interface {
	Propose(ctx context.Context, env meta.Envelope, body meta.Body) (meta.Outcome, error)
}

const (
	// sendTimeout bounds one attempt: longer than an election takes.
	sendTimeout = 10 * time.Second
	// minBackoff and maxBackoff bound the pause after an attempt that failed. The
	// upper end delays the first commit after an outage by as much.
	minBackoff = 10 * time.Millisecond
	maxBackoff = 250 * time.Millisecond
	// warnAfter is how long a start may take before the log says that it does: some
	// elections.
	warnAfter = 30 * time.Second
)

// Options of New; all but Log are required.
type Options struct {
	Self    id.Node
	Local   *local.DB
	Machine *meta.Machine
	Sender  Sender
	Log     *slog.Logger
}

// Proposer sends the proposals of one run of this node.
type Proposer struct {
	o       Options
	log     *slog.Logger
	session id.Session
	ready   chan struct{} // closed once the session is committed
	cluster sync.Mutex    // one Do at a time
	more    chan struct{} // there are lanes for Run to serve; capacity 1

	refused atomic.Bool // the cluster said that this node is no member

	mu    sync.Mutex // guards what follows
	lanes map[id.Folder]*Lane
	fresh []*Lane // those that Run has not begun to serve
}

// New returns a proposer; nothing is sent before Run.
func New(o Options) *Proposer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Proposer{
		o: o, log: o.Log.With("component", "propose"), session: id.NewSession(),
		ready: make(chan struct{}), more: make(chan struct{}, 1), lanes: make(map[id.Folder]*Lane),
	}
}

// Run commits the session and serves the lanes until ctx ends: those that were
// asked for, and those that have something in the queue.
func (p *Proposer) Run(ctx context.Context) error {
	queued, err := p.o.Local.Lanes()
	if err != nil {
		return fmt.Errorf("list the queue's lanes: %w", err)
	}
	for _, f := range queued {
		if _, err := p.lane(f); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.begin(ctx) })
	g.Go(func() error { return p.guard(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-p.more:
			}
			p.mu.Lock()
			fresh := p.fresh
			p.fresh = nil
			p.mu.Unlock()
			for _, l := range fresh {
				g.Go(func() error { return l.run(ctx) })
			}
		}
	})
	return g.Wait()
}

// begin commits the session.
func (p *Proposer) begin(ctx context.Context) error {
	body, err := meta.EncodeCommand(meta.Session{})
	if err != nil {
		return err
	}
	env := meta.Envelope{Node: p.o.Self, Session: p.session}
	began, warned := time.Now(), false
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		out, err := p.attempt(ctx, env, body)
		if err == nil {
			err = refusal(out)
		}
		if err == nil {
			close(p.ready)
			if warned {
				p.log.Info("the cluster takes this node's changes again")
			}
			return nil
		}
		p.log.Debug("begin a session", "error", err)
		if !warned && time.Since(began) > warnAfter && ctx.Err() == nil {
			warned = true
			p.log.Warn("the cluster has not taken this node's changes since its start: they are queued; too few voters are online, they cannot be reached, or this node was removed", "error", err)
		}
		p.note(out)
		if !sleep(ctx, pause, nil) {
			return nil
		}
	}
}

func (p *Proposer) attempt(ctx context.Context, env meta.Envelope, body meta.Body) (meta.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return p.o.Sender.Propose(ctx, env, body)
}

// note remembers, and says once, that the cluster does not know this node. It is
// asked again all the same: nothing else tells when it does.
func (p *Proposer) note(out meta.Outcome) {
	if out.Kind == meta.Refused && out.Reason == meta.ReasonNotMember && !p.refused.Swap(true) {
		p.log.Error("the cluster refuses this node's changes: it is not a member any more; its files stay as they are; to go on, make a new home and join with a new token")
	}
}

// NotMember reports whether the cluster refuses this node as no member.
func (p *Proposer) NotMember() bool { return p.refused.Load() }

// guard watches for a later session of this node's own identity.
func (p *Proposer) guard(ctx context.Context) error {
	changed, stop := p.o.Machine.Watch()
	defer stop()
	mine := false
	for {
		v := p.o.Machine.View()
		lane, err := v.Lane(p.o.Self, id.Folder{})
		if cerr := v.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		switch {
		case lane.Session == p.session:
			mine = true
		case mine && lane.Session.IsZero():
			// The cluster has removed this node, and its sessions with it.
			p.note(meta.Outcome{Kind: meta.Refused, Reason: meta.ReasonNotMember})
		case mine:
			return ErrFenced
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Lane returns the lane of a folder for the folder's engine, which takes the
// entries out of the queue, until Release.
func (p *Proposer) Lane(folder id.Folder) (*Lane, error) {
	l, err := p.lane(folder)
	if err == nil {
		l.owned.Store(true)
	}
	return l, err
}

// Release ends an engine's ownership: the lane itself takes its entries out of the
// queue, once this node's own state machine has decided on them.
func (p *Proposer) Release(folder id.Folder) {
	p.mu.Lock()
	l := p.lanes[folder]
	p.mu.Unlock()
	if l == nil {
		return
	}
	l.owned.Store(false)
	l.rewind.Store(true) // those that were sent already are in the queue, too
	l.wake()
}

func (p *Proposer) lane(folder id.Folder) (*Lane, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.lanes[folder]; ok {
		return l, nil
	}
	l := &Lane{p: p, folder: folder, kick: make(chan struct{}, 1)}
	last, err := p.o.Local.LastSequence(folder)
	if err != nil {
		return nil, err
	}
	v := p.o.Machine.View()
	defer v.Close()
	lane, err := v.Lane(p.o.Self, folder)
	if err != nil {
		return nil, err
	}
	l.last = max(last, lane.Last)
	p.lanes[folder] = l
	p.fresh = append(p.fresh, l)
	select {
	case p.more <- struct{}{}:
	default:
	}
	return l, nil
}

// Do proposes a command in the cluster's lane and returns its outcome from this
// node's own state machine. Without a quorum it waits until ctx ends; the command
// may still be committed later.
func (p *Proposer) Do(ctx context.Context, cmd meta.Command) (meta.Outcome, error) {
	l, err := p.lane(id.Folder{})
	if err != nil {
		return meta.Outcome{}, err
	}
	p.cluster.Lock()
	tx := l.Begin()
	err = tx.Commit(p.o.Local.NewBatch(), cmd)
	p.cluster.Unlock()
	if err != nil {
		return meta.Outcome{}, err
	}
	return p.await(ctx, id.Folder{}, tx.Sequence())
}

// await returns the outcome once this node's own state machine has it.
func (p *Proposer) await(ctx context.Context, lane id.Folder, seq id.Sequence) (out meta.Outcome, err error) {
	err = p.until(ctx, func(v *meta.View) (ok bool, err error) {
		out, ok, err = v.Outcome(p.o.Self, lane, seq)
		return ok, err
	})
	return out, err
}

// decided returns once this node's own state machine has decided on a proposal: its
// outcome may be forgotten by then.
func (p *Proposer) decided(ctx context.Context, lane id.Folder, seq id.Sequence) error {
	return p.until(ctx, func(v *meta.View) (bool, error) {
		l, err := v.Lane(p.o.Self, lane)
		return l.Last >= seq, err
	})
}

// until asks the newest state whenever it has changed, until the answer is yes.
func (p *Proposer) until(ctx context.Context, ask func(*meta.View) (bool, error)) error {
	changed, stop := p.o.Machine.Watch()
	defer stop()
	for {
		v := p.o.Machine.View()
		ok, err := ask(v)
		if cerr := v.Close(); err == nil {
			err = cerr
		}
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// Decode reads a queue entry's body.
func Decode(body []byte) (meta.Command, error) {
	b, err := meta.UnmarshalBody(body)
	if err != nil {
		return nil, err
	}
	return b.Command()
}

// sleep pauses; false means that ctx ended. wake, if not nil, ends it early.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return true
}

func laneError(folder id.Folder, seq id.Sequence, err error) error {
	return fmt.Errorf("send proposal %d of lane %s: %w", seq, folder, err)
}
