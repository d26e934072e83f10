package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

const (
	// restoreStale is the age at which a temporary file belongs to no restore that
	// still runs: one that writes touches its own all the time.
	restoreStale = 10 * time.Minute

	tempPrefix = ".lockstep-restore-"
	tempSuffix = ".tmp"
)

// flush writes the batch under temporary names, makes it durable, and gives each
// file its name.
func (w *restorer) flush() (err error) {
	batch := w.batch
	w.batch, w.bytes = nil, 0
	defer func() {
		for _, x := range batch {
			if x.h != nil {
				// It was open up to here, so that no watcher took a name that goes away.
				x.h.Close()
				_ = w.fs.Unlink(x.temp) // there only after an error
			}
		}
	}()
	var g errgroup.Group
	g.SetLimit(restoreReads)
	for _, x := range batch {
		g.Go(func() error {
			x.err = w.fill(x)
			if fatal(w.ctx, x.err) {
				return x.err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return w.failed(batch[0], err)
	}
	if err := w.sync(batch); err != nil {
		return errorf("restore: %w", err)
	}
	for _, x := range batch {
		if x.err == nil {
			x.err = w.rename(x)
		}
		if err := w.failed(x, x.err); err != nil {
			return err
		}
	}
	return nil
}

// fill writes one file under a temporary name.
func (w *restorer) fill(x *staged) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	x.temp = newTemp()
	h, err := w.fs.Create(x.temp, 0o600)
	if err != nil {
		return err
	}
	x.h = h
	sum := blake3.New()
	err = w.svc.Cat(w.ctx, control.CatRequest{
		Target: control.Target{Folder: w.info.Folder, Rel: control.RawPath(x.from)}, Rev: revNumber(x.state.Revision),
	}, func(control.CatInfo) io.Writer { return io.MultiWriter(h, sum, &meter{w}) })
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != x.state.Content {
		return errorf("its content came as %s, not %s", got, x.state.Content)
	}
	if err := h.Chmod(x.mode); err != nil {
		return err
	}
	if x.state.MTime != nil {
		return h.SetMTime(x.state.MTime.UnixNano())
	}
	return nil
}

func (w *restorer) sync(batch []*staged) error {
	if len(batch) >= 16 { // one syncfs costs less than so many fsyncs
		return w.fs.SyncAll()
	}
	for _, x := range batch {
		if x.h != nil && x.err == nil {
			if err := x.h.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// rename gives a whole file its name.
func (w *restorer) rename(x *staged) error {
	mode := vfs.NoReplace
	if x.replace {
		mode = vfs.Replace
	}
	err := w.fs.Rename(x.temp, x.path, mode)
	switch {
	case err == nil:
		w.wrote(x, x.replace)
	case errors.Is(err, vfs.ErrNotSupported) && !x.replace:
		return errorf("this filesystem cannot name a file without perhaps replacing another: %w; --force does", err)
	case errors.Is(err, syscall.EEXIST):
		if sum, serr := w.sum(x.path); serr == nil && sum == x.state.Content {
			w.same(x) // another restore was first
			return nil
		}
		return errors.New("was made here meanwhile; --force replaces it")
	}
	return err
}

// newTemp is the name of a temporary file, at the top of DEST: there the next
// restore finds what a killed one left.
func newTemp() id.Path { return id.Path(tempPrefix + rand.Text() + tempSuffix) }

// clean removes what a restore that was killed left.
func (w *restorer) clean() error {
	if w.fs == nil || w.o.dryRun {
		return nil
	}
	names, err := w.fs.ReadDir("")
	if err != nil {
		return errorf("restore: %w", err)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, tempPrefix) || !strings.HasSuffix(n, tempSuffix) {
			continue
		}
		st, err := w.fs.Lstat(id.Path(n))
		if err == nil && (st.Kind == vfs.File || st.Kind == vfs.Symlink) && w.a.Now().Sub(time.Unix(0, st.MTime)) > restoreStale {
			_ = w.fs.Unlink(id.Path(n)) // left for the next time
		}
	}
	return nil
}
