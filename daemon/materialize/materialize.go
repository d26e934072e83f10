// Package materialize puts committed versions on the user's disk and never
// loses a race against the user. It executes, it does not decide: what should be
// where, and what must be there now, comes from the caller.
//
// The way of a change: Stage writes the new files into .lockstep/tmp and makes
// them durable, without any lock of the caller's. Commit, under the caller's
// lock, moves them into place in bounded batches; what they displace goes to
// .lockstep/kept. Sweep, called from time to time, drops from there what history
// holds and gives back what it does not. Recover, called once before the first
// scan after a start, finishes or undoes what a crash cut short.
package materialize

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Item is one path to be brought to Want.
type Item struct {
	Path id.Path
	// Want is what the path shall become; the zero Entry (Absent) deletes it. A
	// directory's delete removes it only when it is empty: each tracked path below
	// it needs an item of its own in the same Stage call.
	Want meta.Entry
	// Version is the version that Want is; not looked at, for the caller's record.
	Version meta.Base
	// Expect is what must be on disk now, with the ctime; the zero Stat is absent.
	Expect vfs.Stat
	// Was is the entry whose bytes Expect is recorded to hold, and WasVersion its
	// base: with them a displaced file that turns out to differ is given back.
	Was        meta.Entry
	WasVersion meta.Base
	// MoveFrom is where the wanted content lies on this disk, empty for none. It
	// is taken from there only if another item of the same call makes MoveFrom
	// vanish or become something else; otherwise it is ignored. A file's or
	// symlink's content there must be Want's by the caller's records; mode and mtime may
	// differ. For a directory whose MoveFrom item wants no directory any more, the
	// whole directory is renamed, and items below it whose MoveFrom is the
	// corresponding path cost nothing.
	MoveFrom   id.Path
	ExpectFrom vfs.Stat
	// Tag is the caller's.
	Tag any
}

// State is what became of an Item.
type State uint8

// The states.
const (
	// Done: the disk holds Want.
	Done State = iota + 1
	// Raced: the disk was not as expected, or changed meanwhile, or confirm said
	// no. The path is as the user made it: look at it again.
	Raced
	// Busy: somebody has the file open for writing, or a directory to be removed is
	// not empty. Nothing was changed: try again later.
	Busy
	// Missing: nobody online has the content (Content.Fill returned ErrMissing).
	Missing
	// Failed: the operating system refused; Err says why. The path is as it was.
	Failed
)

// String returns the state in one word.
func (s State) String() string {
	switch s {
	case Done:
		return "done"
	case Raced:
		return "raced"
	case Busy:
		return "busy"
	case Missing:
		return "missing"
	case Failed:
		return "failed"
	}
	return "unknown state"
}

// Result is what became of one Item.
type Result struct {
	Item
	State State
	// Stat is what to record with Version when State is Done (zero for a delete).
	Stat vfs.Stat
	// Dirty: State is Done, but Stat is known not to be what a stat says now (the
	// user wrote to the new file at once, or it could not be proven that he did
	// not): record Stat, then look at the path again.
	Dirty bool
	// Kept is where the displaced file is until Sweep drops it; empty if none.
	Kept id.Path
	// Err says why State is not Done.
	Err error
}

// FillRequest asks for the bytes of one file.
type FillRequest struct {
	Path   id.Path // where the file will be, for logs and for choosing a source
	Entry  meta.Entry
	Handle vfs.Handle // an empty file, but for Resume
	// Resume says that Handle holds bytes of an attempt that was cut short, of any part
	// and any quality: chunks found in it (verified) need not be pulled.
	Resume bool
	// Stage is where the file is until Commit, for who shares it with other nodes.
	Stage id.Path
	Tag   any // the Item's
}

// ErrMissing is wrapped by Fill where nobody online has the content.
var ErrMissing = errors.New("no member that is online has the content")

// Content provides bytes. Fill writes the whole verified content of each request
// into its handle and returns one error a request (nil: all Entry.Size bytes are
// there and are Entry.Content), in the same order. It neither closes the handles
// nor keeps them. It is called from several goroutines. A request is of one to
// some dozen files, so that many small files are pulled at once; holes may be left
// for zeros.
type Content interface {
	Fill(ctx context.Context, reqs []FillRequest) []error
}

// Kept is a displaced file (or symlink) in .lockstep/kept.
type Kept struct {
	File id.Path // where it is now
	Path id.Path // where it was
	// Was and WasVersion are what history holds of it by the caller's records.
	Was        meta.Entry
	WasVersion meta.Base
	// Stat is of File.
	Stat vfs.Stat
	// Target is a symlink's text.
	Target string
}

// Keeper decides with Sweep what becomes of displaced files. h is open for
// reading, nil for a symlink, and closed by the caller.
type Keeper interface {
	// Rescue may run for several files at a time. It is called before File is dropped, its content being Was: what of it
	// has no other place (chunks known by location in this file) must be safe when
	// it returns nil. An error means later.
	Rescue(ctx context.Context, k Kept, h vfs.Handle) error
	// Returned hands over a file whose content is not Was: the user's bytes, which
	// history does not hold. When it returns nil they must be durable as a local
	// change of Path made from WasVersion; then File is dropped. An error means
	// later. It may be called again for the same bytes, or for newer ones.
	Returned(ctx context.Context, k Kept, h vfs.Handle) error
}

// Options of New. FS, Content and Keeper are required.
type Options struct {
	// FS opens the folder's root. It is called for each Stage, Commit, Sweep and
	// Recover, which close what they opened: nothing is held while idle.
	FS      func() (vfs.FS, error)
	Content Content
	Keeper  Keeper
	// Settle is called by Recover, once what a crash cut short is finished or undone
	// and before any stage is removed, with what lies in kept: the moment to record
	// what the crash kept from being recorded. nil: not wanted.
	Settle func([]Kept) error
	// Ended is called by Commit with all results, once what was done is recorded and
	// before the stages that were not used are removed. nil: not wanted. An error is
	// Commit's.
	Ended func([]Result) error
	Log   *slog.Logger     // nil: discarded
	Now   func() time.Time // nil: time.Now
	// Reserve is the space in bytes that staging leaves free, or a tenth of what is
	// free where that is less. 0: 64 MiB.
	Reserve uint64
	// Workers fill files at the same time. 0: 3.
	Workers int
}

// Executor changes one folder's disk. Stage, Sweep and Commit may run at the
// same time, Commit with itself not: it runs under the caller's lock. Recover
// runs alone, before them.
type Executor struct {
	opts Options
	log  *slog.Logger
	now  func() time.Time

	returning sync.Mutex // held while the Keeper takes a file back: one at a time

	mu   sync.Mutex
	kept map[id.Path]*keptEntry // guarded by mu; by File
	// partial names the unfinished stages of big files that this run knows to be
	// incomplete, so that they are not hashed in vain; inUse those that a Staged
	// owns. Both guarded by mu.
	partial, inUse map[id.Path]bool
	// found are the small stages that an earlier run has left, by content; nil: not
	// looked at yet. Guarded by mu.
	found map[id.Digest]leftover
	clean bool // nothing is left of earlier runs; guarded by mu
}

// New returns an executor. Call Recover first.
func New(o Options) *Executor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reserve == 0 {
		o.Reserve = 64 << 20
	}
	if o.Workers == 0 {
		o.Workers = 3
	}
	return &Executor{
		opts: o, log: o.Log.With("component", "materialize"), now: o.Now,
		kept: map[id.Path]*keptEntry{}, partial: map[id.Path]bool{}, inUse: map[id.Path]bool{},
	}
}
