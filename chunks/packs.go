package chunks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/lockstep-sync/lockstep/chunks/pack"
)

// packFile and packFS are what packs need of the operating system; tests put
// failures in between.
type packFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

type packFS interface {
	Create(name string) (packFile, error) // must not exist
	Open(name string) (packFile, error)   // to read and write
	OpenRead(name string) (packFile, error)
	Remove(name string) error
	SyncDir(dir string) error
}

type osFS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func wrap(f *os.File, err error) (packFile, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Create(name string) (packFile, error) {
	return wrap(os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
}
func (osFS) Open(name string) (packFile, error)     { return wrap(os.OpenFile(name, os.O_RDWR, 0)) }
func (osFS) OpenRead(name string) (packFile, error) { return wrap(os.Open(name)) }
func (osFS) Remove(name string) error               { return os.Remove(name) }
func (osFS) SyncDir(dir string) error               { return syncDir(dir) }

func packName(n uint32) string { return fmt.Sprintf("%08x.pack", n) }

// parsePackName returns false for a name that packName does not make.
func parsePackName(name string) (n uint32, ok bool) {
	if len(name) != 13 {
		return 0, false
	}
	_, err := fmt.Sscanf(name, "%08x.pack", &n)
	return n, err == nil && packName(n) == name
}

// packWriter is a pack with bytes that may not be durable yet.
type packWriter struct {
	n      uint32
	f      packFile
	end    int64 // behind the last whole record
	synced int64 // all below is durable and has index rows
}

// appender writes records. Lock order: mu before Store.mu.
type appender struct {
	dir    string
	fs     packFS
	rollAt int64

	mu     sync.Mutex
	active *packWriter   // nil: the next append begins a pack
	sealed []*packWriter // full, not synced yet
	next   uint32        // number of the next pack
	newDir bool          // a pack was made since the directory was synced
}

// maxSealed is how many full packs may wait for an fsync before the writer that
// filled one pays for it: it bounds what a later Sync has to wait for.
const maxSealed = 3

// write appends whole records to the active pack and calls done, with mu held,
// with the pack's number and the offset of the first. full says that Sync is due.
// After a failed write that pack takes no more records: its tail is unknown.
func (a *appender) write(b []byte, done func(n uint32, off int64)) (full bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active != nil && a.active.end+int64(len(b)) > a.rollAt && a.active.end > pack.HeaderLen {
		a.seal()
	}
	if a.active == nil {
		if err := a.begin(); err != nil {
			return false, err
		}
	}
	w := a.active
	if _, err := w.f.WriteAt(b, w.end); err != nil {
		// What was written of it would be a torn tail: take it back if possible.
		_ = w.f.Truncate(w.end)
		a.seal()
		return false, fmt.Errorf("write pack %q: %w", packName(w.n), err)
	}
	done(w.n, w.end)
	w.end += int64(len(b))
	return len(a.sealed) >= maxSealed, nil
}

// seal ends the active pack.
func (a *appender) seal() {
	a.sealed = append(a.sealed, a.active)
	a.active = nil
}

// begin makes the next pack.
func (a *appender) begin() error {
	name := packName(a.next)
	f, err := a.fs.Create(filepath.Join(a.dir, name))
	if errors.Is(err, fs.ErrExist) {
		a.next++ // left by an attempt that failed
		return fmt.Errorf("make pack %q: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("make pack %q: %w", name, err)
	}
	a.next++
	if _, err := f.WriteAt(pack.AppendHeader(nil, uint64(a.next-1)), 0); err != nil {
		err = errors.Join(err, f.Close(), a.fs.Remove(filepath.Join(a.dir, name)))
		return fmt.Errorf("write pack %q: %w", name, err)
	}
	a.newDir = true
	a.active = &packWriter{n: a.next - 1, f: f, end: pack.HeaderLen, synced: 0}
	return nil
}

// handles keeps some packs open for reading.
type handles struct {
	dir string
	fs  packFS

	mu   sync.Mutex
	open map[uint32]*handle
	tick uint64
}

type handle struct {
	f    packFile
	refs int    // users now
	used uint64 // tick of the last use
	gone bool   // evicted: the last user closes it
}

// maxHandles bounds the packs open for reading.
const maxHandles = 64

// acquire opens pack n; the caller releases it.
func (h *handles) acquire(n uint32) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.open[n]
	if x == nil {
		f, err := h.fs.OpenRead(filepath.Join(h.dir, packName(n)))
		if err != nil {
			return nil, err
		}
		if len(h.open) >= maxHandles {
			h.evict()
		}
		x = &handle{f: f}
		h.open[n] = x
	}
	h.tick++
	x.refs++
	x.used = h.tick
	return x, nil
}

func (h *handles) release(x *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.refs--
	if x.gone && x.refs == 0 {
		_ = x.f.Close() // opened for reading: nothing to lose
	}
}

// evict closes the handle that was not used for longest. mu is held.
func (h *handles) evict() {
	var oldest *handle
	var n uint32
	for i, x := range h.open {
		if oldest == nil || x.used < oldest.used {
			oldest, n = x, i
		}
	}
	h.drop(n, oldest)
}

func (h *handles) drop(n uint32, x *handle) {
	delete(h.open, n)
	x.gone = true
	if x.refs == 0 {
		_ = x.f.Close()
	}
}

func (h *handles) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, x := range h.open {
		h.drop(n, x)
	}
}
