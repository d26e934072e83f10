// Package watcher finds out what changed in a folder on the disk. It turns the
// system's events, and scans where there are none, into batches of settled
// paths: paths that nobody is writing any more and whose stat differs from what
// the local index recorded.
//
// It reads names and stats and briefly opens files to ask whether somebody
// writes them; it changes nothing and decides nothing.
package watcher

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
	"github.com/lockstep-sync/lockstep/watcher/settle"
)

var (
	// ErrRootMissing is returned by Run, and by CheckMarker, when the folder's root
	// or its marker is not there, or the marker names another folder. Nothing is
	// reported as gone then.
	ErrRootMissing = errors.New("the folder's root or its marker is missing")
	// ErrStopped is returned by Scan and Flush once Run has ended.
	ErrStopped = errors.New("watcher has stopped")
)

// Known is the local index as the watcher needs it. It is asked from several
// goroutines at once. An error ends Run.
type Known interface {
	// Children returns what is recorded in a directory, by name: the stat of the
	// file as it was when its version was recorded. The caller owns the map.
	Children(dir id.Path) (map[string]vfs.Stat, error)
	// Lookup is Children for one path.
	Lookup(p id.Path) (vfs.Stat, bool, error)
}

// Options of New. FS, Root, Folder and Known must be set.
type Options struct {
	// FS opens the folder. The watcher opens it for a round of looks or a scan and
	// closes it after that: an FS held open would keep its disk from being unmounted.
	FS func() (vfs.FS, error)
	// Root is the folder's absolute path in the system's form, for watches.
	Root string
	// Folder is the ID that the marker must hold.
	Folder id.Folder
	Known  Known
	// Head, if not nil, keeps ignore rules from leaving out what the head has.
	Head Head
	// Only is what of the folder this node keeps; nil is everything. The rest is left
	// out like what rules ignore: Head must not have it, nor Known.
	Only *ignore.Only
	Log  *slog.Logger
	// Settle has the times of the settle rules; zero fields mean the defaults.
	Settle settle.Config
	// ScanWorkers is how many directories are compared at once; 0 is 2 to 4, by
	// the number of processors.
	ScanWorkers int
	// ScanEvery is the shortest time between two timed scans of the folder; 0 is
	// 5 minutes. It is never less than 500 times what a scan takes.
	ScanEvery time.Duration
	// UnwatchedEvery is the same for what has no events, because the system's
	// watch table is full, say; 0 is 10 seconds. It is never less than 100 times
	// what that scan takes.
	UnwatchedEvery time.Duration

	// newNotifier replaces fsnotify in tests.
	newNotifier func() (notifier, error)
}

// Dirty is one path of a batch.
type Dirty struct {
	Path id.Path
	// Stat is what is on the disk; the zero Stat where nothing is any more.
	Stat vfs.Stat
	// Seen is when the first event of the change came, or a scan found it; Settled
	// when it was found settled.
	Seen, Settled time.Time
	// Blocked says why the path cannot be synced, if it cannot. Such a path is
	// reported once and then listed by Watcher.Blocked.
	Blocked string
}

// Batch is what was found changed together, in byte order of the paths, so
// parents come before what is in them. Of something gone only the top is in it.
type Batch struct {
	Paths []Dirty
	// Done tells the watcher that the batch has been dealt with; paths that were not
	// must have been given to Requeue before. Calls after the first do nothing. The
	// next batch comes only after Done.
	Done func()
}

// BlockedPath is a path that cannot be synced, and why.
type BlockedPath struct {
	Path   id.Path
	Reason string
}

// Status is the watcher's state at one time.
type Status struct {
	Watches int // directories that are watched
	// Unwatched counts the directories that have no events, with all below them,
	// and are scanned on a timer instead; Why says why the first of them has none.
	Unwatched int
	Why       string
	Overflows uint64 // how often the system dropped events; each was mended by a scan
	Dirty     int    // paths seen changed and not yet dealt with
	Scanning  bool
	LastScan  time.Time     // end of the last scan of the whole folder
	ScanTook  time.Duration // its duration without waits
	NextScan  time.Time
	Entries   int // files, directories and symlinks found by that scan
}

// Watcher watches one folder. Its methods are safe for concurrent use.
type Watcher struct {
	o       Options
	log     *slog.Logger
	in      *inbox
	batches chan Batch
	stopped chan struct{} // closed when Run has returned
	rules   rules

	mu      sync.Mutex // guards all below
	status  Status
	blocked map[id.Path]blocked
	busy    []id.Path
}

type blocked struct {
	reason string
	scan   uint64 // number of the scan or look that saw it last
}

// NeverSynced reports whether a reason of BlockedPath is about a kind that is
// never synced (a special file, a mount point), rather than about something that
// the user can mend.
func NeverSynced(reason string) bool { return reason == reasonSpecial || reason == reasonMount }
