package folder

import (
	"io"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Work is how far a file is that is being read or written now.
type Work struct {
	Done, Size int64 // bytes
	Came       int64 // of them from other members
	Rate       int64 // bytes a second over the last seconds, 0 while it is not known
	// Pulling: some of its bytes are still to come from other members.
	Pulling bool
	Begun   time.Time
}

// works are the files that are being worked on, for why. The zero value is ready. It
// is told from many goroutines; its lock is innermost, like that of each of its files.
type works struct {
	mu sync.Mutex // guards at
	at map[id.Path]*working
}

// working is one of them. A nil one counts nothing.
type working struct {
	mu    sync.Mutex // guards the rest
	work  Work
	rate  rate
	asked int64 // bytes that other members are to give
}

// whole stands for a file that was read, and waits to be committed, or that is complete,
// and waits to be moved into its place.
var whole = &working{}

// begin notes that a file of size bytes is worked on from now on.
func (w *works) begin(p id.Path, size int64) *working {
	now := time.Now()
	x := &working{work: Work{Size: size, Begun: now}}
	x.rate.start(now)
	w.set(p, x)
	return x
}

func (w *works) set(p id.Path, x *working) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = make(map[id.Path]*working)
	}
	w.at[p] = x
}

func (w *works) end(p id.Path) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.at, p)
}

func (w *works) endAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = nil
}

// of returns how far a file is; ready: it is whole.
func (w *works) of(p id.Path) (work Work, ready, is bool) {
	w.mu.Lock()
	x, is := w.at[p]
	w.mu.Unlock()
	if !is || x == whole {
		return work, is, is
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	work = x.work
	work.Done, work.Rate, work.Pulling = min(work.Done, work.Size), x.rate.perSecond(time.Now()), x.asked > work.Came
	return work, false, true
}

// Want implements fetch.Meter.
func (x *working) Want(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked += int64(n)
}

// Done implements fetch.Meter.
func (x *working) Done(n int, pulled bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.work.Done += int64(n)
	x.rate.add(time.Now(), int64(n))
	if pulled {
		x.work.Came += int64(n)
	}
}

// counted tells a working how far a file was read.
type counted struct {
	io.ReaderAt
	x *working
}

// ReadAt implements io.ReaderAt.
func (c counted) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	c.x.Done(n, false)
	return n, err
}
