package peers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// batchObjects and batchBytes bound one request of a pull: enough that the
	// round trip does not count, little enough that several members share the work.
	batchObjects = 64
	batchBytes   = 4 << 20
	// maxFlights bounds the requests of one pull in progress.
	maxFlights = 8
	// maxLies is how many wrong objects of one member a pull puts up with.
	maxLies = 3
	// maxFails is how many failed requests of one member a pull puts up with.
	maxFails = 2
)

// Pull gets objects from other members. got is called once for each object that
// came, verified against its ID, from several goroutines; data is valid only
// during the call. An error of got ends the pull and is returned. The members in
// prefer are asked first, then the others that are online; one that fails, lacks
// an object or sends wrong bytes is passed over for the next.
//
// missing lists, in order, what no member that is online could give. When ctx
// ends, Pull returns its error as soon as running calls of got have returned.
func (p *Peers) Pull(ctx context.Context, folder id.Folder, prefer []id.Node, want []Want, got func(i int, data []byte) error) (missing []int, err error) {
	if len(want) == 0 {
		return nil, ctx.Err()
	}
	for _, w := range want {
		if w.Kind.MaxLen() == 0 || w.Len < 0 || w.Len > w.Kind.MaxLen() {
			return nil, fmt.Errorf("pull %s %s: length %d", w.Kind, w.ID.Short(), w.Len)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &pull{
		p: p, folder: folder, want: want, got: got, cancel: cancel, meter: p.counters(folder),
		state:   make([]atomic.Uint32, len(want)),
		tried:   make([]uint64, len(want)),
		members: p.candidates(folder, prefer),
		results: make(chan *flight),
		begun:   time.Now(),
		sharing: sharing{owner: make([]int8, len(want)), again: make([]time.Time, len(want)), asked: make([]uint8, len(want))},
	}
	l.assign()
	l.meter.begin(want)
	defer l.meter.end(want, l.state)
	l.run(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i := range want {
		if l.state[i].Load() != wantDone {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// The states of a want: a request that has its verified bytes claims it, and only
// the claimer calls got.
const (
	wantOpen    = 0
	wantClaimed = 1
	wantDone    = 2
)

// pull is one Pull. Its own goroutine decides; flights only set states and send
// themselves to results when they end.
type pull struct {
	p      *Peers
	folder id.Folder
	want   []Want
	got    func(int, []byte) error
	cancel context.CancelCauseFunc
	meter  *counters

	state   []atomic.Uint32
	results chan *flight

	// The rest is the dispatcher's alone.
	tried   []uint64 // members (bits) that need not be asked again
	members []candidate
	pending []int // wants to be asked for; may hold done ones
	flights map[*flight]struct{}
	begun   time.Time
	sharing // see fellows.go
}

// candidate is a member as one pull sees it.
type candidate struct {
	link *link
	rank int // lower is asked first
	busy int // requests of this pull in progress
	fail int
	lies int
	dead bool
	slow bool // what it owed was taken from it: it comes last
	// behind: it has not got the head either. If the pull is shared it is a fellow, but
	// where it rests: it is not getting the head now, so nothing is left to it.
	behind, rests, fellow bool
	gave                  time.Time     // when an object last came from a fellow
	given                 int           // how many did
	part                  int           // how many wants were left to it
	late                  int           // how often some were taken back
	pause                 time.Duration // before it is asked again for what it had not
}

// flight is one request in progress, or its result.
type flight struct {
	member  int
	index   []int // into want
	mine    []int // those that go back to pending if they did not come
	started time.Time
	stop    context.CancelCauseFunc
	// begun and waiting are Unix ns: when the request was sent, 0 before, and since when
	// the other node's next bytes are waited for, 0 while they are not. bytes are those
	// that came.
	begun, waiting, bytes atomic.Int64
	got                   int   // result: the objects that came
	missing, soon         []int // result: not there, and not there yet
	tried                 []int // result: there, but wrong bytes came or none
	lies                  int   // result: how many of them were wrong
	err                   error // result
}

func (l *pull) run(ctx context.Context) {
	l.flights = make(map[*flight]struct{})
	l.pending = make([]int, len(l.want))
	for i := range l.pending {
		l.pending[i] = i
	}
	tick := time.NewTicker(l.p.hedgeAfter / 2)
	defer tick.Stop()
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	done := ctx.Done()
	for {
		if ctx.Err() == nil {
			l.takeBack(time.Now())
			l.dispatch(ctx)
		}
		if len(l.flights) == 0 && (l.wake.IsZero() || ctx.Err() != nil) {
			return
		}
		if !l.wake.IsZero() {
			wake.Reset(time.Until(l.wake))
		}
		select {
		case <-wake.C:
		case f := <-l.results:
			delete(l.flights, f)
			l.land(f, ctx.Err() != nil)
			if l.complete() {
				l.drain()
				return
			}
		case <-tick.C:
			l.hedge()
		case <-done:
			done, l.wake = nil, time.Time{}
		}
	}
}

// complete reports whether every want is done.
func (l *pull) complete() bool {
	for i := range l.state {
		if l.state[i].Load() != wantDone {
			return false
		}
	}
	return true
}

// drain ends the flights that are left, the losers of a race: their objects came
// from elsewhere. It waits, so that no goroutine outlives the pull.
func (l *pull) drain() {
	for f := range l.flights {
		f.stop(errOvertaken)
	}
	for len(l.flights) > 0 {
		delete(l.flights, <-l.results)
	}
}

// dispatch starts requests as long as there is something to ask and someone free.
func (l *pull) dispatch(ctx context.Context) {
	for len(l.flights) < maxFlights {
		f := l.next()
		if f == nil {
			return
		}
		l.flights[f] = struct{}{}
		c := &l.members[f.member]
		c.busy++
		c.link.flying.Add(1)
		f.mine = append([]int(nil), f.index...)
		fctx, stop := context.WithCancelCause(ctx)
		f.stop = stop
		go func() {
			f.err = l.fly(fctx, f, c.link)
			stop(nil)
			c.link.flying.Add(-1)
			l.results <- f
		}()
	}
	l.wake = time.Time{} // nothing is asked for before one of them ends
}

// next picks the member for the first pending want that has one, and fills the
// request with other wants that this member is to be asked for.
func (l *pull) next() *flight {
	var f *flight
	size, limit := 0, 0
	now := time.Now()
	l.wake = time.Time{}
	rest := l.pending[:0]
	for _, i := range l.pending {
		if l.state[i].Load() != wantOpen {
			continue
		}
		if f == nil {
			if m := l.pick(i, now, -1); m >= 0 {
				f, limit = &flight{member: m, started: now}, l.members[m].link.batch()
			}
		}
		if f != nil && len(f.index) < batchObjects && (size == 0 || size+l.want[i].need() <= limit) && l.tier(i, f.member, now) >= 0 {
			f.index = append(f.index, i)
			size += l.want[i].need()
			continue
		}
		rest = append(rest, i)
		if l.again[i].After(now) && (l.wake.IsZero() || l.again[i].Before(l.wake)) {
			l.wake = l.again[i]
		}
	}
	l.pending = rest
	return f
}

// land takes in a request's result.
func (l *pull) land(f *flight, ended bool) {
	c := &l.members[f.member]
	c.busy--
	for _, i := range f.tried {
		l.giveUp(i, f.member)
	}
	if c.fellow {
		l.landFellow(f, time.Now())
	} else {
		for _, i := range append(f.missing, f.soon...) {
			l.tried[i] |= 1 << f.member
		}
	}
	if c.lies += f.lies; f.lies > 0 {
		l.p.lied(c.link)
		c.dead = c.dead || c.lies > maxLies
	}
	if since := f.begun.Load(); since > 0 {
		c.link.observe(f.bytes.Load(), time.Since(time.Unix(0, since)))
	}
	switch {
	case ended: // an error then says nothing about the member
	case f.err == nil:
		c.fail = 0
		if f.lies == 0 {
			l.p.succeeded(c.link)
		}
	case errors.Is(f.err, errOvertaken): // nor then
	default:
		l.p.log.Debug("pull failed", "node", c.link.node, "err", f.err)
		if c.fail++; c.fail >= maxFails || c.fellow {
			c.dead = true
		}
		l.p.failed(c.link, f.err)
	}
	for _, i := range f.mine {
		if l.state[i].Load() == wantOpen {
			l.pending = append(l.pending, i)
		}
	}
}

// giveUp notes that member m need not be asked for want i again.
func (l *pull) giveUp(i, m int) {
	l.tried[i] |= 1 << m
	if int(l.owner[i]) == m {
		l.owner[i] = nobody
	}
}

// hedge takes from slow members what they owe, once nothing else is left to ask for,
// and asks others for it. Whoever is first wins.
func (l *pull) hedge() {
	now := time.Now()
	for _, i := range l.pending {
		if l.state[i].Load() == wantOpen && l.pick(i, now, -1) >= 0 {
			return
		}
	}
	for f := range l.flights {
		if !l.overdue(f, now) {
			continue
		}
		c := &l.members[f.member]
		var keep, moved []int
		for _, i := range f.mine {
			if l.state[i].Load() == wantDone {
				continue
			}
			if int(l.owner[i]) == f.member {
				l.owner[i] = nobody
			}
			if m := l.pick(i, now, f.member); m >= 0 && !l.members[m].slow {
				moved = append(moved, i)
			} else {
				keep = append(keep, i)
			}
		}
		if len(moved) == 0 {
			continue
		}
		c.slow = true
		f.mine = keep
		l.pending = append(l.pending, moved...)
		if len(keep) == 0 {
			f.stop(errOvertaken)
		}
	}
}

// overdue reports whether a request has stalled, or takes so long for what it still
// owes that somebody who has nothing to do would be faster.
func (l *pull) overdue(f *flight, now time.Time) bool {
	patience := l.p.hedgeAfter
	if since := f.waiting.Load(); since > 0 && now.Sub(time.Unix(0, since)) >= patience {
		return true
	}
	if l.p.down != nil {
		return false // it may be for our own limit
	}
	begun := f.begun.Load()
	if begun == 0 {
		return now.Sub(f.started) >= patience
	}
	took := now.Sub(time.Unix(0, begun))
	if took < patience {
		return false
	}
	left, rate := 0, float64(f.bytes.Load())/took.Seconds()
	for _, i := range f.mine {
		if l.state[i].Load() == wantOpen {
			left += l.want[i].need()
		}
	}
	if float64(left) <= rate*patience.Seconds() {
		return false
	}
	for m := range l.members {
		c := &l.members[m]
		if r := c.link.rate.Load(); m != f.member && !c.dead && !c.slow && !c.fellow && c.link.flying.Load() == 0 && (r == 0 || float64(r) > 2*rate) {
			return true
		}
	}
	return false
}

// pick returns the member to ask for want i: the best tier, then the one with the
// fewest requests in progress, of all pulls; -1 if there is none now. except is left
// out.
func (l *pull) pick(i int, now time.Time, except int) int {
	best, bestTier, bestLoad := -1, 0, int32(0)
	for m := range l.members {
		t := l.tier(i, m, now)
		if t < 0 || m == except {
			continue
		}
		load := l.members[m].link.flying.Load()
		if best < 0 || t < bestTier || t == bestTier && load < bestLoad {
			best, bestTier, bestLoad = m, t, load
		}
	}
	return best
}
