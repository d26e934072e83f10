package peers

import (
	"context"
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
		members: p.candidates(prefer),
		results: make(chan *flight),
	}
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
}

// candidate is a member as one pull sees it.
type candidate struct {
	link *link
	rank int // lower is asked first
	busy int // requests of this pull in progress
	fail int
	lies int
	dead bool
}

// flight is one request in progress, or its result.
type flight struct {
	member  int
	index   []int // into want
	mine    []int // those that go back to pending if they did not come
	started time.Time
	stop    context.CancelCauseFunc
	tried   []int // result: not there, or wrong bytes came
	lies    int   // result: how many of them were wrong
	err     error // result
}

func (l *pull) run(ctx context.Context) {
	l.flights = make(map[*flight]struct{})
	l.pending = make([]int, len(l.want))
	for i := range l.pending {
		l.pending[i] = i
	}
	tick := time.NewTicker(l.p.hedgeAfter / 2)
	defer tick.Stop()
	done := ctx.Done()
	for {
		if ctx.Err() == nil {
			l.dispatch(ctx)
		}
		if len(l.flights) == 0 {
			return
		}
		select {
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
			done = nil
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
}

// next picks the member for the first pending want that has one, and fills the
// request with other wants that this member can be asked for.
func (l *pull) next() *flight {
	var f *flight
	size := 0
	rest := l.pending[:0]
	for _, i := range l.pending {
		if l.state[i].Load() != wantOpen {
			continue
		}
		if f == nil {
			if m := l.pick(i); m >= 0 {
				f = &flight{member: m, started: time.Now()}
			}
		}
		if f != nil && l.tried[i]&(1<<f.member) == 0 && len(f.index) < batchObjects && (size == 0 || size+l.want[i].need() <= batchBytes) {
			f.index = append(f.index, i)
			size += l.want[i].need()
			continue
		}
		rest = append(rest, i)
	}
	l.pending = rest
	return f
}

// land takes in a request's result.
func (l *pull) land(f *flight, ended bool) {
	c := &l.members[f.member]
	c.busy--
	for _, i := range f.tried {
		l.tried[i] |= 1 << f.member
	}
	if c.lies += f.lies; c.lies > maxLies {
		c.dead = true
	}
	switch {
	case ended: // an error then says nothing about the member
	case f.err == nil:
		c.fail = 0
		l.p.succeeded(c.link)
	default:
		l.p.log.Debug("pull failed", "node", c.link.node, "err", f.err)
		if c.fail++; c.fail >= maxFails {
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

// hedge asks others for what a slow member owes, once nothing else is left to ask
// for. Whoever is first wins.
func (l *pull) hedge() {
	for _, i := range l.pending {
		if l.state[i].Load() == wantOpen && l.pick(i) >= 0 {
			return
		}
	}
	for f := range l.flights {
		if time.Since(f.started) < l.p.hedgeAfter {
			continue
		}
		keep := f.mine[:0]
		for _, i := range f.mine {
			was := l.tried[i]
			l.tried[i] |= 1 << f.member
			if l.state[i].Load() == wantOpen && l.pick(i) >= 0 {
				l.pending = append(l.pending, i)
				continue
			}
			l.tried[i] = was
			keep = append(keep, i)
		}
		f.mine = keep
	}
}

// pick returns the member to ask for want i: the best rank, then the one with the
// fewest requests in progress, of all pulls; -1 if none is free.
func (l *pull) pick(i int) int {
	best, bestRank, bestLoad := -1, 0, int32(0)
	for m := range l.members {
		c := &l.members[m]
		if c.dead || l.tried[i]&(1<<m) != 0 || c.busy >= streamsPerMember {
			continue
		}
		load := c.link.flying.Load()
		if best < 0 || c.rank < bestRank || c.rank == bestRank && load < bestLoad {
			best, bestRank, bestLoad = m, c.rank, load
		}
	}
	return best
}
