package folder

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// coarseTick is longer than the clock tick of a kernel that stamps files by
// ticks: 10 ms at 100 Hz. A file changed less than this before it is hashed could
// be changed again without a new ctime.
const coarseTick = 12 * time.Millisecond

// measureClock finds out whether the folder's filesystem gives two changes in
// quick succession two ctimes (Linux 6.13 and newer do, on most filesystems), and
// sets how old a file's ctime must be before it is hashed. When in doubt, it
// waits.
func (e *Engine) measureClock() {
	e.tick = coarseTick
	f, err := e.openFS()
	if err != nil {
		return
	}
	defer f.Close()
	tmp := id.Path(id.ReservedName).Join("tmp")
	if err := f.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return
	}
	p := tmp.Join("clock")
	_ = f.Unlink(p)
	h, err := f.Create(p, 0o600)
	if err != nil {
		return
	}
	defer func() { _ = f.Unlink(p) }()
	defer h.Close()
	if fineClock(h) {
		e.tick = 0
	}
}

// fineClock writes and stats a few times: on a fine clock no two stats agree.
func fineClock(h vfs.Handle) bool {
	last := int64(0)
	for range 8 {
		if _, err := h.WriteAt([]byte{1}, 0); err != nil {
			return false
		}
		st, err := h.Stat()
		if err != nil || st.CTime == last {
			return false
		}
		last = st.CTime
	}
	return true
}

// ripen waits until a file's ctime is old enough for a hash to be trusted: B10.
func (e *Engine) ripen(ctx context.Context, st vfs.Stat) error { return ripen(ctx, st, e.tick) }

func ripen(ctx context.Context, st vfs.Stat, tick time.Duration) error {
	if tick == 0 {
		return nil
	}
	young := tick - time.Since(time.Unix(0, st.CTime))
	if young <= 0 {
		return nil
	}
	t := time.NewTimer(min(young, tick)) // a ctime in the future waits no longer
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
