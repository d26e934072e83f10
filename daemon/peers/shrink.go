package peers

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
)

const (
	// A measurement ends after so many bytes, or so much time of waiting for them: enough that what the kernel's buffers
	// take at once does not count, nor a moment in which others had the CPU.
	inflowBytes = 4 << 20
	inflowTime  = time.Second
	shrinkBytes = 256 << 10
	// shrinkRest is how many times as long as it took nothing is compressed only to see
	// what it costs: two percent of one CPU. On a slow link that is each object.
	shrinkRest = 50
	// shrinkMargin is how many times over compressing has to pay: the other side has
	// work with it too, and while compressing bounds the rate, which is then about twice
	// its cost, that must not look like a slow link.
	shrinkMargin = 4
)

// inflow measures how fast objects come from a member, over all connections together, in
// the time in which at least one request waits for bytes. Only who receives can tell: on
// a slow link an answer is small and vanishes at once in the sender's buffers. The zero
// one is ready.
type inflow struct {
	rate atomic.Int64 // bytes a second of the last measurement; 0: none yet

	mu      sync.Mutex // guards all below
	waiting int
	since   time.Time // when the first of them began, or time was last counted
	busy    time.Duration
	bytes   int64
}

// begin notes that a read begins; end follows.
func (f *inflow) begin(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting++; f.waiting == 1 {
		f.since = now
	}
}

// end notes that a read has ended, and that n bytes came.
func (f *inflow) end(now time.Time, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	f.busy += now.Sub(f.since)
	f.since = now
	f.bytes += int64(n)
	if f.bytes >= inflowBytes || f.bytes > 0 && f.busy >= inflowTime {
		f.rate.Store(max(int64(float64(f.bytes)/max(f.busy, time.Microsecond).Seconds()), 1))
		f.busy, f.bytes = 0, 0
	}
}

// told is the rate in bytes a second that is told to the member, 0 if it is not known.
func (f *inflow) told(limit *throttle) int64 {
	rate := f.rate.Load()
	if limit != nil && (rate == 0 || rate > int64(limit.rate)) {
		return int64(limit.rate)
	}
	return rate
}

// shrinker decides which objects that lie uncompressed in files are sent compressed:
// all while that takes less time than it saves on the way to the member, by what it
// took of late and by the rate that the member told, else one now and then to know what it would take. All is a ratio: on a
// busy machine everything is slow. The zero one is ready.
type shrinker struct {
	rest atomic.Int64 // until then (Unix ns) nothing is tried only to see
	cost atomic.Int64 // of the last measurement: picoseconds for each byte that was saved; 0: none yet

	mu    sync.Mutex // guards all below
	took  time.Duration
	tried int64
	saved int64
}

// pays reports whether compressing is worth its time for a member that gets rate bytes a
// second, 0 if that is not known.
func (s *shrinker) pays(rate int64) bool {
	cost := s.cost.Load()
	return rate > 0 && cost > 0 && float64(shrinkMargin*cost)*float64(rate) < 1e12
}

// curious reports whether it is time to compress something only to see what it costs.
func (s *shrinker) curious(now time.Time) bool {
	return s.cost.Load() == 0 || now.UnixNano() >= s.rest.Load()
}

// shrink returns data in the shorter form, if it is to be sent like that.
func (s *shrinker) shrink(data []byte, always bool, rate int64) ([]byte, bool) {
	begin := time.Now()
	if chunks.Dense(data) || !always && !s.pays(rate) && !s.curious(begin) {
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
		s.cost.Store(max(s.took.Nanoseconds()*1000/max(s.saved, 1), 1))
		s.took, s.tried, s.saved = 0, 0, 0
	}
}
