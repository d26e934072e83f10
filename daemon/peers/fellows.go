package peers

import (
	"encoding/binary"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// Members that get the same head at the same time are fellows. Each of them has a
// part of the chunks to fetch first from who has all, and takes the rest from the
// others: of n readers each fetches about an nth from the author. Who is to fetch
// what follows from the IDs alone, so nothing is agreed on; where two see different
// fellows, some chunks travel more often than they need to, and no harm is done.
//
// A fellow is a hint only. What it has not got when nothing else is left to be done
// is taken back: nobody waits for a slower one.

const (
	// nobody: whoever has it may be asked.
	nobody = -1
	// shareBytes is the size from which a pull is shared: below it asking around
	// takes longer than it saves.
	shareBytes = 4 << 20
	// fellowStreams bounds a pull's requests to one fellow, most of which say "not yet".
	fellowStreams = 2
	// A fellow that had nothing yet is asked again after minPause, doubling to maxPause.
	minPause = 20 * time.Millisecond
	maxPause = 320 * time.Millisecond
	// maxAsked is how often a fellow is asked for what it does not even expect, and
	// maxWaits for what it expects and nobody else has.
	maxAsked = 4
	maxWaits = 10
	// A fellow from which wants were taken back maxLate times while it had given less
	// than one in tardiness of its part is tardy: no pull leaves any to it for tardyTime.
	maxLate   = 2
	tardiness = 4
	tardyTime = 20 * time.Second
	// Tiers after those of ranks 0 and 1.
	tierSlow   = 2
	tierOthers = 4
)

// sharing is what a pull knows of its fellows' part.
type sharing struct {
	owner []int8      // for each want the fellow that is to fetch it, or nobody
	again []time.Time // when to ask a fellow again that had it not
	asked []uint8     // how often one had it not
	wake  time.Time   // the earliest of again, zero if there is none
	idle  time.Time   // since when there was nothing but to wait for fellows
}

// share is how much member n of all is to fetch object d: the highest does.
func share(n id.Node, d id.Digest) uint64 {
	x := binary.BigEndian.Uint64(n[:]) ^ binary.BigEndian.Uint64(d[:])
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9 // splitmix64's finalizer
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// assign leaves the wants to the fellows and this node, if the pull is large enough
// and there is somebody who has all.
func (l *pull) assign() {
	size, seeds, fellows := 0, 0, 0
	for _, w := range l.want {
		size += w.Len
	}
	for i := range l.owner {
		l.owner[i] = nobody
	}
	for m := range l.members {
		switch c := &l.members[m]; {
		case c.rests: // it has what it had, and will not have more
		case c.behind:
			fellows++
		default:
			seeds++
		}
	}
	if size < shareBytes || seeds == 0 || fellows == 0 {
		return
	}
	now := time.Now().UnixNano()
	var able []int // to take a part
	for m := range l.members {
		c := &l.members[m]
		c.fellow, c.pause = c.behind && !c.rests, minPause
		if c.fellow && now >= c.link.tardy.Load() {
			able = append(able, m)
		}
	}
	self := l.p.transport.Self()
	for i, w := range l.want {
		if w.Kind != chunks.Chunk {
			continue
		}
		most := share(self, w.ID)
		for _, m := range able {
			if s := share(l.members[m].link.node, w.ID); s > most {
				most, l.owner[i] = s, int8(m)
			}
		}
		if o := l.owner[i]; o != nobody {
			l.members[o].part++
		}
	}
}

// tier orders the members to be asked for want i, lower first; -1: not now.
func (l *pull) tier(i, m int, now time.Time) int {
	c := &l.members[m]
	if c.dead || l.tried[i]&(1<<m) != 0 || c.busy >= streamsPerMember {
		return -1
	}
	owner := int(l.owner[i])
	if !c.fellow {
		switch {
		case owner != nobody:
			return -1
		case c.slow:
			return c.rank + tierSlow
		}
		return c.rank
	}
	if c.busy >= fellowStreams || now.Before(l.again[i]) {
		return -1
	}
	switch {
	case owner == m:
		return 0
	case owner != nobody || l.seedLeft(i):
		return -1
	}
	return tierOthers
}

// seedLeft reports whether somebody who is no fellow may have want i.
func (l *pull) seedLeft(i int) bool {
	for m := range l.members {
		if c := &l.members[m]; !c.fellow && !c.dead && l.tried[i]&(1<<m) == 0 {
			return true
		}
	}
	return false
}

// landFellow takes in what a fellow had and had not.
func (l *pull) landFellow(f *flight, now time.Time) {
	c := &l.members[f.member]
	if f.got > 0 {
		c.gave, c.pause = now, minPause
		c.given += f.got
	} else {
		c.pause = min(2*c.pause, maxPause)
	}
	later := func(i, most int) {
		if l.asked[i]++; int(l.asked[i]) >= most {
			l.giveUp(i, f.member)
			l.asked[i] = 0
			return
		}
		l.again[i] = now.Add(c.pause)
	}
	waiting := !l.idle.IsZero() // then nothing is gained by asking again
	for _, i := range f.missing {
		if waiting {
			l.giveUp(i, f.member)
			continue
		}
		later(i, maxAsked)
	}
	for _, i := range f.soon {
		if l.seedLeft(i) {
			l.again[i] = now.Add(c.pause) // takeBack bounds it
			continue
		}
		later(i, maxWaits)
	}
	if f.err != nil {
		for _, i := range f.mine {
			if int(l.owner[i]) == f.member {
				l.owner[i] = nobody
			}
		}
	}
}

// takeBack ends the wait for fellows that are too slow, once there is nothing else to
// do: those that gave nothing for a time, and those that would take much longer for
// the rest than everything took so far.
func (l *pull) takeBack(now time.Time) {
	owed := make(map[int][]int)
	for _, i := range l.pending {
		if l.state[i].Load() != wantOpen {
			continue
		}
		if o := int(l.owner[i]); o != nobody {
			owed[o] = append(owed[o], i)
		} else if l.seedLeft(i) {
			l.idle = time.Time{}
			return
		}
	}
	for f := range l.flights {
		if !l.members[f.member].fellow {
			l.idle = time.Time{}
			return
		}
	}
	if len(owed) == 0 {
		l.idle = time.Time{}
		return
	}
	if l.idle.IsZero() {
		l.idle = now
	}
	for m, wants := range owed {
		c := &l.members[m]
		silent := now.Sub(l.idle)
		if c.gave.After(l.idle) {
			silent = now.Sub(c.gave)
		}
		took := now.Sub(l.begun)
		left := time.Duration(float64(took) * float64(len(wants)) / float64(max(c.given, 1)))
		switch {
		case c.dead || silent > l.p.hedgeAfter:
		case now.Sub(l.idle) > l.p.hedgeAfter/3 && left > max(l.p.hedgeAfter, took/4):
			wants = wants[len(wants)/2:] // it comes to them last
		default:
			continue
		}
		// A busy machine makes all slow: what counts is that it is slower than we are.
		if c.late++; c.late >= maxLate && tardiness*c.given < c.part {
			c.link.tardy.Store(now.Add(tardyTime).UnixNano())
		}
		for _, i := range wants {
			l.owner[i] = nobody
		}
	}
}

// batch is how many bytes one request asks a member for: about a second's worth, so
// that a slow one never owes much.
func (l *link) batch() int {
	rate := l.rate.Load()
	if rate == 0 {
		return batchBytes / 4
	}
	return int(min(max(rate, batchBytes/64), batchBytes))
}

// observe learns how fast a member is.
func (l *link) observe(bytes int64, took time.Duration) {
	if bytes < batchBytes/64 || took <= 0 {
		return // too little to tell
	}
	now := int64(float64(bytes) / took.Seconds())
	if old := l.rate.Load(); old > 0 {
		now = (old + now) / 2
	}
	l.rate.Store(max(now, 1))
}
