package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
)

func (e *Engine) wakePacker() {
	select {
	case e.pack <- struct{}{}:
	default:
	}
}

// packLoop packs large files that were committed by location, so that history
// does not depend on the user's own file for longer than need be.
func (e *Engine) packLoop(ctx context.Context) error {
	e.wakePacker()
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.pack:
		case <-t.C:
		}
		left, err := e.packAll(ctx)
		if errors.Is(err, chunks.ErrBroken) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("pack large files", "error", err)
		}
		if left {
			t.Reset(10 * time.Second)
		} else {
			t.Reset(time.Hour)
		}
	}
}

func (e *Engine) packAll(ctx context.Context) (left bool, err error) {
	type job struct {
		path id.Path
		row  local.Row
	}
	var jobs []job
	err = e.o.Local.Below(e.o.ID, "", func(p id.Path, r local.Row) error {
		if r.Unpacked {
			jobs = append(jobs, job{p, r})
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	e.st.setUnprotected(0)
	var bytes int64
	for _, j := range jobs {
		bytes += j.row.Entry.Size
	}
	e.st.setUnprotected(bytes)
	for _, j := range jobs {
		err := e.packOne(ctx, j.path, j.row)
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case errors.Is(err, chunks.ErrBroken):
			return true, err
		case errors.Is(err, chunks.ErrChanged), errors.Is(err, fs.ErrNotExist):
			// The user has changed it: the watcher takes it from here.
		case err != nil:
			e.log.Warn("pack a large file", "path", j.path, "error", err)
			left = true
			continue
		}
		bytes -= j.row.Entry.Size
		e.st.setUnprotected(bytes)
	}
	return left, nil
}

func (e *Engine) packOne(ctx context.Context, p id.Path, row local.Row) error {
	h, err := e.OpenLocation(p)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := e.o.Chunks.PackFile(ctx, fileOf(row.Entry), h); err != nil {
		return err
	}
	if err := e.o.Chunks.Sync(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now, ok, err := e.o.Local.Get(e.o.ID, p)
	if err != nil || !ok || now.File != row.File {
		return err
	}
	old := now
	now.Unpacked = false
	b := e.o.Local.NewBatch()
	b.Put(e.o.ID, p, now, &old)
	return b.Commit(false)
}

// errNoRoom is for what cannot be packed because the home's disk would be too full.
var errNoRoom = errors.New("no room to keep it")

// sparedStep is after how many bytes packed it is asked again whether there is room.
const sparedStep = 4 << 20

// spared reads what is to be packed, as long as there is room for that: a home that is
// filled up stops the node, and nobody asked for the packing.
type spared struct {
	io.ReaderAt
	room func() error
	read atomic.Int64
}

// ReadAt implements io.ReaderAt.
func (s *spared) ReadAt(b []byte, off int64) (int, error) {
	n := s.read.Add(int64(len(b)))
	if before := n - int64(len(b)); before == 0 || before/sparedStep != n/sparedStep {
		if err := s.room(); err != nil {
			return 0, fmt.Errorf("%w: %w", errNoRoom, err)
		}
	}
	return s.ReaderAt.ReadAt(b, off)
}
