package peers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// MinLimit is the lowest limit in bytes a second: below it nothing would come
	// within the times after which a connection counts as dead.
	MinLimit = 1 << 10
	// maxPiece bounds what is let through as one.
	maxPiece = 64 << 10
	// pieceTime is how long a piece takes at the limit.
	pieceTime = time.Second / 4
	// limitedAnswers is how many answers share an upload limit at a time: each then
	// gets a piece every two seconds, long before the other side thinks it stalled.
	limitedAnswers = 8
	// turnTime is how long an answer waits for its turn before it says so.
	turnTime = 3 * time.Second
	// flightRate is the part of a download limit that one request is to have.
	flightRate = 64 << 10
	maxFlying  = 64
)

// throttle lets bytes through at a rate, in the order in which they ask. A nil one
// lets all through at once. It saves up for a quarter of a second at most.
type throttle struct {
	rate  float64 // bytes a second
	piece int
	// turns are the answers that may send, for uploads, or the requests in progress,
	// for downloads.
	turns *semaphore.Weighted

	mu   sync.Mutex
	free time.Time // when all that was let through is through
}

func newUpload(limit int64) *throttle { return newThrottle(limit, limitedAnswers) }

func newThrottle(limit, turns int64) *throttle {
	if limit <= 0 {
		return nil
	}
	limit = max(limit, MinLimit)
	piece := min(int(limit*int64(pieceTime)/int64(time.Second)), maxPiece)
	return &throttle{rate: float64(limit), piece: piece, turns: semaphore.NewWeighted(turns)}
}

// newDownload is a throttle whose turns are requests: few under a low limit, so that
// none of them is silent for long.
func newDownload(limit int64) *throttle {
	return newThrottle(limit, min(max(limit/flightRate, 1), maxFlying))
}

// wait returns when n more bytes are through.
func (t *throttle) wait(ctx context.Context, n int) error {
	if t == nil || n <= 0 {
		return nil
	}
	t.mu.Lock()
	now := time.Now()
	if saved := now.Add(-pieceTime); t.free.Before(saved) {
		t.free = saved
	}
	t.free = t.free.Add(time.Duration(float64(n) / t.rate * float64(time.Second)))
	wait := t.free.Sub(now)
	t.mu.Unlock()
	pause(ctx, wait)
	return ctx.Err()
}

// turn waits for a turn, which the caller releases; false after turnTime.
func (t *throttle) turn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	return t.turns.Acquire(ctx, 1) == nil
}

// paced writes an answer in pieces, each with time of its own, under an upload limit
// if there is one.
type paced struct {
	w   http.ResponseWriter
	up  *throttle
	ctx context.Context
}

// Write implements io.Writer.
func (p paced) Write(b []byte) (n int, err error) {
	control := http.NewResponseController(p.w)
	piece := maxPiece
	if p.up != nil {
		piece = p.up.piece
	}
	for n < len(b) {
		part := b[n:min(n+piece, len(b))]
		if err := p.up.wait(p.ctx, len(part)); err != nil {
			return n, err
		}
		_ = control.SetWriteDeadline(time.Now().Add(slowestTaker))
		m, err := p.w.Write(part)
		if n += m; err != nil {
			return n, err
		}
		if p.up != nil {
			if err := control.Flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
