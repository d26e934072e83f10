package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// errMissing is the chunk store's; the executor has one of its own.
var errMissing = chunks.ErrMissing

// content fills staged files: materialize.Content.
type content struct{ e *Engine }

func (c content) Fill(ctx context.Context, reqs []materialize.FillRequest) []error {
	in := make([]fetch.Request, len(reqs))
	for i, r := range reqs {
		in[i] = fetch.Request{File: fileOf(r.Entry), To: r.Handle, Resume: r.Resume, Source: r.Tag.(tag).page.share(c.e, r.Stage), Meter: c.e.staging.begin(r.Path, r.Entry.Size)}
	}
	errs := c.e.fill.Fill(ctx, in)
	for i, err := range errs {
		if err == nil {
			c.e.staging.set(reqs[i].Path, whole)
			continue
		}
		c.e.staging.end(reqs[i].Path)
		in[i].Source.Drop()
		if isMissing(err) {
			errs[i] = fmt.Errorf("%w: %v", materialize.ErrMissing, err)
		}
	}
	return errs
}

// known is the local index as the watcher asks for it: watcher.Known.
type known struct{ e *Engine }

func (k known) Children(dir id.Path) (map[string]vfs.Stat, error) {
	out := make(map[string]vfs.Stat)
	err := k.e.o.Local.Children(k.e.o.ID, dir, func(name string, r local.Row) error {
		out[name] = r.Stat
		return nil
	})
	return out, err
}

// Lookup is Children for one path.
func (k known) Lookup(p id.Path) (vfs.Stat, bool, error) {
	r, ok, err := k.e.o.Local.Get(k.e.o.ID, p)
	return r.Stat, ok, err
}

// keeper decides what becomes of displaced files: materialize.Keeper.
type keeper struct{ e *Engine }

// Rescue packs what only the displaced file holds.
func (k keeper) Rescue(ctx context.Context, kept materialize.Kept, h vfs.Handle) error {
	e := k.e
	n, err := e.o.Local.KeptFile(e.o.ID, kept.File)
	if err != nil || n == 0 {
		return err
	}
	var r io.ReaderAt
	if h != nil {
		r = h
	}
	if err := e.o.Chunks.Retire(ctx, n, r); err != nil {
		return err
	}
	b := e.o.Local.NewBatch()
	b.DropKept(e.o.ID, kept.File, n)
	return b.Commit(false)
}

// Returned proposes the user's bytes that were in a displaced file: as a put made
// from the version that the file was displaced from, so that history holds them,
// as a conflict copy where the path has moved on.
func (k keeper) Returned(ctx context.Context, kept materialize.Kept, h vfs.Handle) error {
	e := k.e
	if e.o.Mode == ModeReceive {
		return e.returnAside(kept, h)
	}
	var entry meta.Entry
	if h == nil {
		entry = meta.Entry{Kind: meta.Symlink, Target: kept.Target}
	} else {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		f, err := e.o.Chunks.Ingest(ctx, h, st.Size, chunks.Pack)
		if err != nil {
			return err
		}
		if err := e.o.Chunks.Sync(ctx); err != nil {
			return err
		}
		entry = fileEntry(st, f)
	}
	content := entry.Content
	if entry.Kind == meta.Symlink {
		content = id.Sum([]byte(entry.Target))
	}
	if done, err := e.o.Local.GivenBack(e.o.ID, kept.File); err != nil || done == content {
		return err // these bytes are queued, but the file could not be dropped then
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	tx := e.o.Lane.Begin()
	defer tx.Abort()
	p := &proposal{tx: tx, rows: e.o.Local.NewBatch()}
	p.changes.puts = []meta.Change{{
		Op: meta.OpPut, Path: kept.Path, Base: kept.WasVersion, Entry: entry, Mask: meta.FieldsAll,
	}}
	p.rows.GivenBack(e.o.ID, kept.File, content)
	e.log.Info("a change that raced with the sync was given back as a version", "path", kept.Path)
	// The row of the path names what took its place: compare it after the outcome.
	e.st.postpone(kept.Path, postponed{why: whyOutcome})
	return e.send(p, nil)
}

// OpenLocation opens the file that chunk locations know by a number.
func (e *Engine) OpenLocation(p id.Path) (chunks.LocationFile, error) {
	f, err := e.openFS()
	if err != nil {
		return nil, err
	}
	h, err := f.Open(p)
	cerr := f.Close()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("open the place of a chunk: %w", err)
	}
	return h, cerr
}
