// Package fetch writes whole files from their chunks: what is on this disk is
// read and verified here, the rest is pulled from other nodes in batches that
// span files, so that many small files cost few round trips and a large one
// bounded memory.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// windowBytes bounds the chunks asked for in one pull: enough to keep a link
	// busy over several requests, and that nodes which get the same file at about
	// the same time want much of the same at once and can share it. It is no
	// memory: the puller bounds what has come and is not written yet.
	windowBytes = 32 << 20
	// windowObjects bounds their number, for files of a few bytes.
	windowObjects = 2048
	// windows is how many pulls of one Fill run at once: one on the wire while the
	// next is collected and the last is written.
	windows = 3
)

// Want is one object to pull.
type Want = peers.Want

// Puller gets objects from other nodes. got is called once for each object that
// came, verified, from several goroutines; the slice is the puller's again when
// got returns. What no reachable node has is listed in missing.
type Puller interface {
	Pull(ctx context.Context, folder id.Folder, prefer []id.Node, want []Want, got func(i int, data []byte) error) (missing []int, err error)
}

// Request asks for one file's bytes. To belongs to the filler until Fill returns.
type Request struct {
	File chunks.File
	To   File
	// Resume says that To holds bytes of an earlier attempt at the same file, of any
	// quality: chunks that verify stay. Without it To is empty.
	Resume bool
	// Source, if not nil, lets other nodes have what is written already.
	Source *Source
	// Meter, if not nil, is told how far the file is.
	Meter Meter
}

// Meter is told how far one file is, from several goroutines: Want of n bytes that are
// to be pulled, Done of n bytes that are written or were there already.
type Meter interface {
	Want(n int)
	Done(n int, pulled bool)
}

// File is what is written.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Filler fills files of one folder. It is safe for concurrent use.
type Filler struct {
	Folder id.Folder
	Store  *chunks.Store
	Peers  Puller
	// Prefer names the nodes to ask first, the authors of what is pulled; nil: none.
	Prefer func() []id.Node
	// Progress, if set, is told of the bytes written.
	Progress func(bytes int64)
	// Share, if set, is told what is being pulled.
	Share *Share
}

// Fill writes the files. The result has an error for each request, nil where the
// file is complete; one that matches chunks.ErrMissing says that nobody
// reachable has an object. Files that failed hold anything.
func (f *Filler) Fill(ctx context.Context, reqs []Request) []error {
	r := &run{f: f, reqs: reqs, errs: make([]error, len(reqs)), read: f.Store.Reader()}
	defer r.read.Close()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(windows)
	for i := range reqs {
		if err := r.one(gctx, g, i); err != nil {
			r.fail(i, err)
		}
		if gctx.Err() != nil {
			break
		}
	}
	r.flush(gctx, g)
	if err := g.Wait(); err != nil {
		for i := range reqs {
			r.fail(i, err)
		}
	}
	if err := ctx.Err(); err != nil {
		for i := range reqs {
			r.fail(i, err)
		}
	}
	return r.errs
}

// run is one Fill. mu guards errs; the window is the caller's alone.
type run struct {
	f    *Filler
	reqs []Request

	mu   sync.Mutex
	errs []error

	win  window
	buf  []byte
	read *chunks.Reader // keeps open the files whose chunks it has read
}

// window collects what is to be pulled next.
type window struct {
	want  []Want
	dest  [][]place // for each want, where it goes
	index map[id.Digest]int
	bytes int
}

type place struct {
	req    int
	offset int64
}

func (r *run) fail(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errs[i] == nil {
		r.errs[i] = err
	}
}

func (r *run) failed(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errs[i] != nil
}

// one writes what is here of a file and adds the rest to the window.
func (r *run) one(ctx context.Context, g *errgroup.Group, i int) error {
	req := r.reqs[i]
	if req.File.Size == 0 {
		return nil
	}
	// The full size first: holes need no write, and a full disk shows early. One chunk
	// that is written brings it.
	if !req.File.Manifest.IsZero() || req.Resume || chunks.IsZero(req.File.Content, int(req.File.Size)) {
		if err := req.To.Truncate(req.File.Size); err != nil {
			return err
		}
	}
	for p, err := range r.f.Store.Assemble(ctx, req.File, r.fetchNodes) {
		if err != nil {
			return err
		}
		if req.Resume {
			have, err := r.resumed(i, p)
			if err != nil {
				return err
			}
			if have {
				continue
			}
		}
		if p.Zero {
			r.progress(i, p.Len, false)
			continue
		}
		if p.Local {
			done, err := r.local(ctx, i, p)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		r.win.add(i, p)
		if req.Meter != nil {
			req.Meter.Want(p.Len)
		}
		if r.win.bytes >= windowBytes || len(r.win.want) >= windowObjects {
			r.flush(ctx, g)
		}
		if ctx.Err() != nil || r.failed(i) {
			return ctx.Err()
		}
	}
	return nil
}

// resumed reports whether an earlier attempt has left a chunk where it belongs. What
// must be zero is made so.
func (r *run) resumed(i int, p chunks.Piece) (bool, error) {
	if cap(r.buf) < p.Len {
		r.buf = make([]byte, p.Len)
	}
	b, req := r.buf[:p.Len], r.reqs[i]
	if _, err := req.To.ReadAt(b, p.Offset); err != nil || chunks.Verify(chunks.Chunk, p.ID, b) != nil {
		if p.Zero {
			clear(b)
			_, err := req.To.WriteAt(b, p.Offset)
			return false, err
		}
		return false, nil
	}
	if !p.Zero {
		req.Source.add(p.ID, p.Offset, p.Len)
	}
	r.progress(i, p.Len, false)
	return true, nil
}

// local copies a chunk from this disk; false means that it must be pulled.
func (r *run) local(ctx context.Context, i int, p chunks.Piece) (bool, error) {
	data, err := r.read.Get(ctx, p.ID, chunks.Chunk, r.buf)
	if errors.Is(err, chunks.ErrMissing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.buf = data[:0]
	if len(data) != p.Len {
		return false, fmt.Errorf("chunk %s: %w: %d bytes where the manifest says %d", p.ID.Short(), chunks.ErrCorrupt, len(data), p.Len)
	}
	if _, err := r.reqs[i].To.WriteAt(data, p.Offset); err != nil {
		return false, err
	}
	r.progress(i, p.Len, false)
	return true, nil
}

// progress tells of n bytes of request i.
func (r *run) progress(i, n int, pulled bool) {
	if r.f.Progress != nil {
		r.f.Progress(int64(n))
	}
	if m := r.reqs[i].Meter; m != nil {
		m.Done(n, pulled)
	}
}

func (w *window) add(req int, p chunks.Piece) {
	if w.index == nil {
		w.index = make(map[id.Digest]int)
	}
	k, ok := w.index[p.ID]
	if !ok {
		k = len(w.want)
		w.index[p.ID] = k
		w.want = append(w.want, Want{Kind: chunks.Chunk, ID: p.ID, Len: p.Len})
		w.dest = append(w.dest, nil)
		w.bytes += p.Len
	}
	w.dest[k] = append(w.dest[k], place{req, p.Offset})
}

// flush pulls the window in the background; it waits while too many are under way.
func (r *run) flush(ctx context.Context, g *errgroup.Group) {
	w := r.win
	r.win = window{}
	if len(w.want) == 0 {
		return
	}
	done := r.f.Share.expect(w.want)
	g.Go(func() error {
		defer done()
		missing, err := r.f.Peers.Pull(ctx, r.f.Folder, r.prefer(), w.want, func(k int, data []byte) error {
			for _, at := range w.dest[k] {
				if r.failed(at.req) {
					continue
				}
				if _, err := r.reqs[at.req].To.WriteAt(data, at.offset); err != nil {
					r.fail(at.req, err)
				} else {
					r.reqs[at.req].Source.add(w.want[k].ID, at.offset, len(data))
				}
				r.progress(at.req, len(data), true)
			}
			return nil
		})
		for _, k := range missing {
			for _, at := range w.dest[k] {
				r.fail(at.req, &chunks.MissingError{Kind: chunks.Chunk, ID: w.want[k].ID})
			}
		}
		if err != nil && ctx.Err() == nil {
			for _, ds := range w.dest {
				for _, at := range ds {
					r.fail(at.req, fmt.Errorf("pull: %w", err))
				}
			}
		}
		return ctx.Err()
	})
}

func (r *run) prefer() []id.Node {
	if r.f.Prefer == nil {
		return nil
	}
	return r.f.Prefer()
}

// fetchNodes pulls manifest nodes and keeps them in the store.
func (r *run) fetchNodes(ctx context.Context, ids []id.Digest) error {
	return PullNodes(ctx, r.f.Store, r.f.Peers, r.f.Folder, r.prefer(), ids)
}

// PullNodes pulls manifest nodes into the store. Those that nobody has are left out.
func PullNodes(ctx context.Context, s *chunks.Store, p Puller, folder id.Folder, prefer []id.Node, ids []id.Digest) error {
	want := make([]Want, len(ids))
	for i, d := range ids {
		want[i] = Want{Kind: chunks.Node, ID: d} // the length is in no manifest
	}
	_, err := p.Pull(ctx, folder, prefer, want, func(i int, data []byte) error {
		return s.Put(ctx, chunks.Node, want[i].ID, data)
	})
	return err
}

// Reader returns a reader over a file's bytes, pulling what is not here chunk by
// chunk: for `cat` of a version that is on no disk as it was. Its Close returns when
// all that it began has ended.
func Reader(ctx context.Context, s *chunks.Store, p Puller, folder id.Folder, prefer []id.Node, file chunks.File) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	r := &reader{PipeReader: pr, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		pw.CloseWithError(copyFile(ctx, pw, s, p, folder, prefer, file))
	}()
	return r
}

// reader owns the goroutine that writes into its pipe.
type reader struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
}

// Close implements io.Closer.
func (r *reader) Close() error {
	err := r.PipeReader.Close()
	r.cancel()
	<-r.done
	return err
}

func copyFile(ctx context.Context, w io.Writer, s *chunks.Store, p Puller, folder id.Folder, prefer []id.Node, file chunks.File) error {
	if file.Size == 0 {
		return nil
	}
	var buf []byte
	nodes := func(ctx context.Context, ids []id.Digest) error { return PullNodes(ctx, s, p, folder, prefer, ids) }
	for piece, err := range s.Assemble(ctx, file, nodes) {
		if err != nil {
			return err
		}
		data, err := s.Get(ctx, piece.ID, chunks.Chunk, buf)
		if errors.Is(err, chunks.ErrMissing) {
			data, err = pullOne(ctx, p, folder, prefer, piece)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		buf = data[:0]
	}
	return nil
}

func pullOne(ctx context.Context, p Puller, folder id.Folder, prefer []id.Node, piece chunks.Piece) (data []byte, err error) {
	want := []Want{{Kind: chunks.Chunk, ID: piece.ID, Len: piece.Len}}
	missing, err := p.Pull(ctx, folder, prefer, want, func(_ int, b []byte) error {
		data = append([]byte(nil), b...)
		return nil
	})
	if err == nil && len(missing) > 0 {
		err = &chunks.MissingError{Kind: chunks.Chunk, ID: piece.ID}
	}
	return data, err
}
