package chunks

import (
	"hash/maphash"
	"sync"
)

// verified remembers which stored objects were seen to be sound in this run:
// written by it, or read and hashed. It holds 64-bit hashes under a random seed
// in two generations of maxKnown, so it is bounded and may forget; then the
// object is read again. A false hit (one in 2^45 for a full set) merely trusts a
// stored object unread.
type verified struct {
	seed maphash.Seed
	mu   sync.Mutex
	cur  map[uint64]struct{}
	old  map[uint64]struct{}
}

const maxKnown = 1 << 17

func (v *verified) init() {
	v.seed = maphash.MakeSeed()
	v.cur = make(map[uint64]struct{})
}

func (v *verified) add(k key) {
	h := maphash.Comparable(v.seed, k)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cur) >= maxKnown {
		v.old, v.cur = v.cur, make(map[uint64]struct{})
	}
	v.cur[h] = struct{}{}
}

func (v *verified) has(k key) bool {
	h := maphash.Comparable(v.seed, k)
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.cur[h]; ok {
		return true
	}
	_, ok := v.old[h]
	return ok
}

func (v *verified) forget(k key) {
	h := maphash.Comparable(v.seed, k)
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.cur, h)
	delete(v.old, h)
}
