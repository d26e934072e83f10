package folder

import "time"

const (
	// rateWindow is over how long the rate is measured: long enough that it does not
	// jump, short enough that it follows a line that gets slower.
	rateWindow = 10
	// rateFirst is how many seconds pass before there is a rate: a guess from less, from
	// what lay in buffers say, would be wrong by far.
	rateFirst = 3
)

// rate measures bytes a second over the last whole seconds. The zero rate measures
// nothing yet. It is a value: time comes from outside.
type rate struct {
	begun int64 // the second in which it began, 0 before
	last  int64 // the newest second that is counted
	bytes [rateWindow + 1]int64
}

// start begins anew.
func (r *rate) start(now time.Time) { *r = rate{begun: now.Unix(), last: now.Unix()} }

// add counts n bytes.
func (r *rate) add(now time.Time, n int64) {
	if r.begun == 0 {
		return
	}
	r.to(now.Unix())
	r.bytes[r.last%int64(len(r.bytes))] += n
}

// to empties the seconds up to this one.
func (r *rate) to(sec int64) {
	r.last = max(r.last, sec-int64(len(r.bytes)))
	for r.last < sec {
		r.last++
		r.bytes[r.last%int64(len(r.bytes))] = 0
	}
}

// perSecond is the mean over the whole seconds of the window, the running one and
// the first, which were not whole, left out; 0 where there are too few.
func (r *rate) perSecond(now time.Time) int64 {
	sec := now.Unix()
	n := min(sec-r.begun-1, rateWindow)
	if r.begun == 0 || n < rateFirst {
		return 0
	}
	r.to(sec)
	sum := int64(0)
	for s := sec - n; s < sec; s++ {
		sum += r.bytes[s%int64(len(r.bytes))]
	}
	return sum / n
}
