package peers

import (
	"math/bits"
	"sync"
)

const (
	minBuffer = 12 // 4 KiB
	maxBuffer = 22 // 4 MiB
)

// buffers keeps byte slices for reuse, by powers of two.
var buffers [maxBuffer - minBuffer + 1]sync.Pool

// class returns which pool has slices of at least n bytes.
func class(n int) int {
	if n <= 1<<minBuffer {
		return 0
	}
	return bits.Len(uint(n-1)) - minBuffer
}

// getBuffer returns n bytes of anything; n is at most 4 MiB.
func getBuffer(n int) *[]byte {
	c := class(n)
	if b, ok := buffers[c].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, 1<<(c+minBuffer))[:n]
	return &b
}

func putBuffer(b *[]byte) { buffers[class(cap(*b))].Put(b) }
