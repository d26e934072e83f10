package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"syscall"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Op names an operation for hooks and injected errors.
type Op string

// The operations: of FS, then of Handle. Chmod, SetMTime and Lstat's sibling Stat
// have the same name for a path and a handle.
const (
	OpLstat     Op = "lstat"
	OpReadDir   Op = "readdir"
	OpOpen      Op = "open"
	OpCreate    Op = "create"
	OpMkdir     Op = "mkdir"
	OpSymlink   Op = "symlink"
	OpReadlink  Op = "readlink"
	OpUnlink    Op = "unlink"
	OpRmdir     Op = "rmdir"
	OpRename    Op = "rename"
	OpChmod     Op = "chmod"
	OpSetMTime  Op = "setmtime"
	OpSyncDir   Op = "syncdir"
	OpSyncAll   Op = "syncall"
	OpFreeBytes Op = "statfs"
	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpTruncate  Op = "truncate"
	OpStat      Op = "stat"
	OpSync      Op = "sync"
	OpLease     Op = "lease"
	OpClose     Op = "close"
)

// Changes reports whether op can change what is on the disk, or what of it is
// durable: crash tests stop before each of these.
func (op Op) Changes() bool {
	switch op {
	case OpCreate, OpMkdir, OpSymlink, OpUnlink, OpRmdir, OpRename, OpChmod, OpSetMTime,
		OpSyncDir, OpSyncAll, OpWrite, OpTruncate, OpSync:
		return true
	}
	return false
}

// Call is one operation that is about to be done.
type Call struct {
	Op   Op
	Path id.Path // a handle's is the one that it was opened by
	To   id.Path // of a rename
	N    int     // how many operations this Mem has seen, this one included
}

// String is "rename a -> b".
func (c Call) String() string {
	if c.Op == OpRename {
		return fmt.Sprintf("%s %s -> %s", c.Op, c.Path, c.To)
	}
	return fmt.Sprintf("%s %s", c.Op, c.Path)
}

// ErrInjected is the error of Fail when it is given none.
var ErrInjected = errors.New("injected failure")

type faults struct {
	mu    sync.Mutex // guards all below
	hook  func(Call) error
	rules []*rule
	calls int
	count map[Op]int
}

type rule struct {
	op      Op
	pattern string
	nth     int
	seen    int
	err     error
}

// Hook sets what is called before each operation, without any lock held: it may
// use the filesystem (best through Plain), crash a copy, or start a race. An
// error that it returns becomes the operation's, which is then not done. Hooks
// of concurrent operations run concurrently. Nil removes it.
func (m *Mem) Hook(f func(Call) error) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.hook = f
}

// Fail makes the nth operation from now, counted from 1, that matches op and
// pattern fail with err; nth 0 is every one. Op "" is any. Pattern is as in
// path.Match on the path, or a rename's target; "" is any path. A nil err is
// ErrInjected. Close of a handle fails after closing nothing; Sync that fails
// leaves the content clean but not durable.
func (m *Mem) Fail(op Op, pattern string, nth int, err error) {
	if _, perr := path.Match(pattern, ""); perr != nil {
		panic(perr)
	}
	if err == nil {
		err = ErrInjected
	}
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.rules = append(m.faults.rules, &rule{op: op, pattern: pattern, nth: nth, err: err})
}

// ClearFaults removes all that Fail has set.
func (m *Mem) ClearFaults() {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.rules = nil
}

// Ops is how many operations were begun, injected failures included.
func (m *Mem) Ops() int {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	return m.faults.calls
}

// OpCount is how many of one kind were begun.
func (m *Mem) OpCount(op Op) int {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	return m.faults.count[op]
}

// Stop makes every later operation fail with err, as if the process had died at
// this moment: what runs on and comes to an end cannot change the disk. Crash
// still works. A nil err is fs.ErrClosed.
func (m *Mem) Stop(err error) {
	if err == nil {
		err = fs.ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = err
}

func (m *Mem) before(c Call) error {
	f := m.faults
	if f == nil {
		return nil
	}
	f.mu.Lock()
	f.calls++
	c.N = f.calls
	if f.count == nil {
		f.count = map[Op]int{}
	}
	f.count[c.Op]++
	hook := f.hook
	var err error
	for _, r := range f.rules {
		if r.matches(c) && err == nil {
			err = r.err
		}
	}
	f.mu.Unlock()
	if hook != nil {
		if herr := hook(c); herr != nil {
			return herr
		}
	}
	return err
}

func (r *rule) matches(c Call) bool {
	if r.op != "" && r.op != c.Op {
		return false
	}
	if r.pattern != "" {
		a, _ := path.Match(r.pattern, string(c.Path))
		b, _ := path.Match(r.pattern, string(c.To))
		if !a && !(b && c.Op == OpRename) {
			return false
		}
	}
	r.seen++
	return r.nth == 0 || r.seen == r.nth
}

// MakeOther puts a special file, a FIFO say, at p.
func (m *Mem) MakeOther(p id.Path) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.make(p, Other, 0o644)
	return err
}

// Mount makes the directory at p the mount point of another filesystem, or with
// on false no longer. Paths at or below it are ErrMount.
func (m *Mem) Mount(p id.Path, on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dir(p.Dir())
	if err != nil {
		return err
	}
	n := d.ents[m.key(p.Base())].node
	if n == nil || n.kind != Dir {
		return syscall.ENOTDIR
	}
	n.mount = on
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
