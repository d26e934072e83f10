package peers

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
)

const (
	// A measurement ends after so many bytes, or so much time in writing: enough that what the kernel's buffers
	// take at once does not count, nor a moment in which others had the CPU.
	outflowBytes = 4 << 20
	outflowTime  = time.Second
	shrinkBytes  = 256 << 10
	// shrinkRest is how many times as long as it took nothing is compressed only to see
	// what it costs: two percent of one CPU. On a slow link that is each object.
	shrinkRest = 50
	// shrinkMargin is how many times over compressing has to pay: the other side has
	// work with it too, and other streams wait for the same CPU.
	shrinkMargin = 2
)

// outflow measures how long bytes take to a member, over all connections together: the
// time in which at least one answer is being written. The zero one is ready.
type outflow struct {
	cost atomic.Int64 // of the last measurement: picoseconds a byte; 0: none yet

	mu      sync.Mutex // guards all below
	writing int
	since   time.Time // when the first of them began, or time was last counted
	busy    time.Duration
	bytes   int64
}

// begin notes that a write begins; end follows.
func (o *outflow) begin(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing++; o.writing == 1 {
		o.since = now
	}
}

// end notes that a write has ended, and that n bytes are sent.
func (o *outflow) end(now time.Time, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing--
	o.busy += now.Sub(o.since)
	o.since = now
	o.bytes += int64(n)
	if o.bytes >= outflowBytes || o.bytes > 0 && o.busy >= outflowTime {
		o.cost.Store(max(picoseconds(o.busy, o.bytes), 1))
		o.busy, o.bytes = 0, 0
	}
}

func picoseconds(d time.Duration, bytes int64) int64 {
	return int64(float64(d.Nanoseconds()) * 1000 / float64(bytes))
}

// shrinker decides which objects that lie uncompressed in files are sent compressed:
// all while that takes less time than it saves on the way to the member, by what both
// took of late, else one now and then to know what it would take. All is a ratio: on a
// busy machine everything is slow. The zero one is ready.
type shrinker struct {
	rest atomic.Int64 // until then (Unix ns) nothing is tried only to see
	cost atomic.Int64 // of the last measurement: picoseconds for each byte that was saved; 0: none yet

	mu    sync.Mutex // guards all below
	took  time.Duration
	tried int64
	saved int64
}

// pays reports whether compressing is worth its time towards a member.
func (s *shrinker) pays(o *outflow) bool {
	way, cost := o.cost.Load(), s.cost.Load()
	return way > 0 && cost > 0 && shrinkMargin*cost < way
}

// shrink returns data in the shorter form, if it is to be sent like that.
func (s *shrinker) shrink(data []byte, always bool, o *outflow) ([]byte, bool) {
	begin := time.Now()
	if chunks.Dense(data) || !always && !s.pays(o) && begin.UnixNano() < s.rest.Load() {
		return nil, false
	}
	less, ok := chunks.Compress(data)
	if !ok {
		less = data
	}
	took := time.Since(begin)
	s.rest.Store(begin.Add(shrinkRest * took).UnixNano())
	s.learn(took, len(data), len(data)-len(less))
	return less, ok
}

func (s *shrinker) learn(took time.Duration, tried, saved int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took += took
	s.tried += int64(tried)
	s.saved += int64(saved)
	if s.tried >= shrinkBytes {
		s.cost.Store(max(picoseconds(s.took, max(s.saved, 1)), 1))
		s.took, s.tried, s.saved = 0, 0, 0
	}
}
