package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

var (
	errOvertaken = errors.New("the objects came from another node")
	errStalled   = errors.New("no bytes came for too long")
)

// fly makes one request of a pull and takes in what comes. It sets the result
// fields of f but err.
func (l *pull) fly(ctx context.Context, f *flight, to *link) error {
	if down := l.p.down; down != nil {
		if err := down.turns.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		defer down.turns.Release(1)
	}
	if err := to.streams.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer to.streams.Release(1)
	want := make([]Want, len(f.index))
	for k, i := range f.index {
		want[k] = l.want[i]
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Only waiting for the other node counts as stalling, not waiting for memory or
	// for got.
	watchdog := time.AfterFunc(l.p.stallAfter, func() { cancel(errStalled) })
	defer watchdog.Stop()

	body := encodeWants(want)
	now := time.Now().UnixNano()
	f.begun.Store(now)
	f.waiting.Store(now)
	resp, err := l.p.post(ctx, l.p.objects, to.node, objectsPath+l.query(to), bytes.NewReader(body))
	f.waiting.Store(0)
	if err != nil {
		return cause(ctx, err)
	}
	defer resp.Body.Close()
	watchdog.Stop()
	l.meter.sent.Add(uint64(len(body)) + requestOverhead)
	l.meter.received.Add(requestOverhead)
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	r := &watchedReader{r: resp.Body, ctx: ctx, f: f, in: &to.in, watchdog: watchdog, patience: l.p.stallAfter, count: &l.meter.received, down: l.p.down}
	if err := l.receive(ctx, f, newFrameReader(r, want), r); err != nil {
		return cause(ctx, err)
	}
	return nil
}

// query is that of a request to a member.
func (l *pull) query(to *link) string {
	q := "?folder=" + l.folder.String() + "&" + soonQuery
	if rate := to.in.told(l.p.down); rate > 0 {
		q += "&" + rateQuery + "=" + strconv.FormatInt(rate, 10)
	}
	return q
}

// receive reads the frames of one answer to its end.
func (l *pull) receive(ctx context.Context, f *flight, frames *frameReader, r io.Reader) error {
	for {
		h, err := frames.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		i := f.index[h.index]
		switch h.state {
		case frameMissing:
			f.missing = append(f.missing, i)
			continue
		case frameSoon:
			f.soon = append(f.soon, i)
			continue
		case frameFailed:
			f.tried = append(f.tried, i)
			continue
		}
		wrong, err := l.object(ctx, i, h, r)
		if err != nil {
			return err
		}
		if wrong == nil {
			l.meter.givers.gave(l.members[f.member].link.node)
		} else {
			l.p.log.Warn("another node sent a wrong object", "node", l.members[f.member].link.node, "err", wrong)
			f.tried = append(f.tried, i)
			f.lies++
			continue
		}
		f.got++
	}
	// The stream's own end shows that nothing was added, and frees the connection
	// for the next request.
	switch n, err := r.Read(make([]byte, 1)); {
	case n != 0:
		return fmt.Errorf("%w: bytes after the last object", errFrame)
	case err != io.EOF:
		return err
	}
	return nil
}

// object reads, verifies and hands over one object. wrong says that its bytes are
// not what its ID says: they are given to nobody.
func (l *pull) object(ctx context.Context, i int, h frame, r io.Reader) (wrong, err error) {
	w := l.want[i]
	need := int64(h.size)
	if h.state == frameZstd {
		need += int64(w.need())
	}
	if err := l.p.memory.Acquire(ctx, need); err != nil {
		return nil, err
	}
	defer l.p.memory.Release(need)
	stored := getBuffer(h.size)
	defer putBuffer(stored)
	if _, err := io.ReadFull(r, *stored); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if l.state[i].Load() != wantOpen {
		return nil, nil // came from elsewhere meanwhile
	}
	var plain []byte
	if h.state == frameZstd {
		b := getBuffer(w.need())
		defer putBuffer(b)
		plain = *b
	}
	data, wrong := l.p.decode(w.Kind, w.ID, *stored, h.state == frameZstd, w.Len, plain)
	if wrong != nil {
		return wrong, nil
	}
	if !l.state[i].CompareAndSwap(wantOpen, wantClaimed) {
		return nil, nil
	}
	if err := l.got(i, data); err != nil {
		l.cancel(err)
		return nil, err
	}
	l.state[i].Store(wantDone)
	l.meter.came(w)
	return nil, nil
}

// watchedReader arms the watchdog only while it reads, and keeps to the download
// limit.
type watchedReader struct {
	r        io.Reader
	ctx      context.Context
	f        *flight
	in       *inflow
	watchdog *time.Timer
	patience time.Duration
	count    interface{ Add(uint64) uint64 }
	down     *throttle
}

func (w *watchedReader) Read(b []byte) (int, error) {
	if w.down != nil {
		b = b[:min(len(b), w.down.piece)]
	}
	w.watchdog.Reset(w.patience)
	now := time.Now()
	w.f.waiting.Store(now.UnixNano())
	w.in.begin(now)
	n, err := w.r.Read(b)
	w.in.end(time.Now(), n)
	w.watchdog.Stop()
	w.f.waiting.Store(0)
	w.count.Add(uint64(n))
	w.f.bytes.Add(int64(n))
	if werr := w.down.wait(w.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}

// cause prefers why the context ended to what its end broke.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
