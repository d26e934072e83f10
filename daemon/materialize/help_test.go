package materialize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// world is a folder's disk, its content store and its executor under test.
type world struct {
	t    testing.TB
	mem  *vfs.Mem // nil on the real filesystem
	fs   vfs.FS
	x    *Executor
	user vfs.FS // the user's own programs
	*store
}

// store is a Content and a Keeper.
type store struct {
	mu       sync.Mutex
	bytes    map[id.Digest]string
	missing  map[id.Digest]bool
	fills    int
	returned []string // "path=content"
	rescued  []id.Path
	clock    time.Time
	keepErr  error
	onRescue func(Kept) // called without the lock
}

func newStore() *store {
	return &store{bytes: map[id.Digest]string{}, missing: map[id.Digest]bool{}, clock: time.Unix(1767225600, 0)}
}

func (s *store) now() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.clock }

func (s *store) advance(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.clock = s.clock.Add(d) }

// file returns an entry whose content Fill knows.
func (s *store) file(content string, mode uint32, mtime int64) meta.Entry {
	sum := id.Sum([]byte(content))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes[sum] = content
	return meta.Entry{Kind: meta.File, Mode: mode, MTime: mtime, Size: int64(len(content)), Content: sum}
}

func dirEntry(mode uint32) meta.Entry { return meta.Entry{Kind: meta.Dir, Mode: mode} }

func linkEntry(target string) meta.Entry { return meta.Entry{Kind: meta.Symlink, Target: target} }

func (s *store) Fill(ctx context.Context, reqs []FillRequest) []error {
	errs := make([]error, len(reqs))
	for i, r := range reqs {
		s.mu.Lock()
		s.fills++
		b, ok := s.bytes[r.Entry.Content]
		gone := s.missing[r.Entry.Content]
		s.mu.Unlock()
		if !ok || gone {
			_, _ = r.Handle.WriteAt([]byte("part"), 0)
			errs[i] = fmt.Errorf("%v: %w", r.Path, ErrMissing)
			continue
		}
		_, errs[i] = r.Handle.WriteAt([]byte(b), 0)
	}
	return errs
}

func (s *store) Rescue(ctx context.Context, k Kept, h vfs.Handle) error {
	if s.onRescue != nil {
		s.onRescue(k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rescued = append(s.rescued, k.Path)
	return s.keepErr
}

func (s *store) Returned(ctx context.Context, k Kept, h vfs.Handle) error {
	content := "-> " + k.Target
	if h != nil {
		b, err := io.ReadAll(io.NewSectionReader(h, 0, 1<<40))
		if err != nil {
			return err
		}
		content = string(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returned = append(s.returned, string(k.Path)+"="+content)
	return s.keepErr
}

func newWorld(t testing.TB, o vfs.MemOptions) *world {
	mem := vfs.NewMem(o)
	w := &world{t: t, mem: mem, fs: mem, user: mem.Plain(), store: newStore()}
	w.must(w.user.Mkdir(reserved, 0o755))
	w.must(w.user.SyncAll())
	w.restart()
	return w
}

// restart is a new daemon on the same disk.
func (w *world) restart() {
	w.x = New(Options{
		FS: func() (vfs.FS, error) { return noClose{w.fs}, nil }, Content: w.store, Keeper: w.store,
		Now: w.now, Reserve: 1,
	})
}

type noClose struct{ vfs.FS }

func (noClose) Close() error { return nil }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// make puts an entry on the disk as the user does it; content of files through the store.
func (w *world) make(p id.Path, e meta.Entry) {
	w.t.Helper()
	w.must(makeEntry(w.user, w.store, p, e))
}

func makeEntry(fsys vfs.FS, s *store, p id.Path, e meta.Entry) error {
	switch e.Kind {
	case meta.Dir:
		return errors.Join(fsys.Mkdir(p, 0o700), fsys.Chmod(p, e.Mode))
	case meta.Symlink:
		return fsys.Symlink(e.Target, p)
	}
	h, err := fsys.Create(p, 0o600)
	if err != nil {
		return err
	}
	_, err = h.WriteAt([]byte(s.bytes[e.Content]), 0)
	return errors.Join(err, h.Chmod(e.Mode), h.SetMTime(e.MTime), h.Close())
}

func (w *world) stat(p id.Path) vfs.Stat {
	w.t.Helper()
	st, err := w.user.Lstat(p)
	if errors.Is(err, vfs.ErrEscape) {
		return vfs.Stat{} // below a symlink is nothing
	}
	w.must(err)
	return st
}

// tree describes all outside .lockstep: path -> kind, attributes, content.
func tree(t testing.TB, fsys vfs.FS) map[id.Path]string {
	t.Helper()
	out := map[id.Path]string{}
	walk(t, fsys, "", func(p id.Path, st vfs.Stat) {
		if p.Within(reserved) {
			return
		}
		out[p] = describe(t, fsys, p, st)
	})
	return out
}

func walk(t testing.TB, fsys vfs.FS, dir id.Path, f func(id.Path, vfs.Stat)) {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		p := dir.Join(n)
		st, err := fsys.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		f(p, st)
		if st.Kind == vfs.Dir {
			walk(t, fsys, p, f)
		}
	}
}

func describe(t testing.TB, fsys vfs.FS, p id.Path, st vfs.Stat) string {
	t.Helper()
	switch st.Kind {
	case vfs.Dir:
		return fmt.Sprintf("dir %o", st.Mode)
	case vfs.Symlink:
		target, err := fsys.Readlink(p)
		if err != nil {
			t.Fatal(err)
		}
		return "-> " + target
	}
	return fmt.Sprintf("file %o %d %s", st.Mode, st.MTime, content(t, fsys, p))
}

func content(t testing.TB, fsys vfs.FS, p id.Path) string {
	t.Helper()
	h, err := fsys.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := io.ReadAll(h)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wanted is tree of entries.
func (s *store) wanted(entries map[id.Path]meta.Entry) map[id.Path]string {
	out := map[id.Path]string{}
	for p, e := range entries {
		switch e.Kind {
		case meta.Dir:
			out[p] = fmt.Sprintf("dir %o", e.Mode)
		case meta.Symlink:
			out[p] = "-> " + e.Target
		case meta.File:
			out[p] = fmt.Sprintf("file %o %d %s", e.Mode, e.MTime, s.bytes[e.Content])
		}
	}
	return out
}

func sameTree(t testing.TB, got, want map[id.Path]string) {
	t.Helper()
	if d := diffTree(got, want); d != "" {
		t.Fatal(d)
	}
}

func diffTree(got, want map[id.Path]string) string {
	var out []string
	for p, w := range want {
		if got[p] != w {
			out = append(out, fmt.Sprintf("%q: got %q, want %q", p, got[p], w))
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			out = append(out, fmt.Sprintf("%q: got %q, want nothing", p, g))
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// items is what brings the disk from old to want, moves being target -> source.
func (w *world) diff(old, want map[id.Path]meta.Entry, moves map[id.Path]id.Path) []Item {
	sources := map[id.Path]bool{}
	for _, from := range moves {
		sources[from] = true
	}
	var out []Item
	all := map[id.Path]bool{}
	for p := range old {
		all[p] = true
	}
	for p := range want {
		all[p] = true
	}
	for p := range all {
		if old[p] == want[p] && moves[p] == "" && !sources[p] {
			continue
		}
		it := Item{Path: p, Want: want[p], Was: old[p], Expect: w.stat(p)}
		if from := moves[p]; from != "" {
			it.MoveFrom, it.ExpectFrom = from, w.stat(from)
		}
		out = append(out, it)
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Path < out[b].Path })
	return out
}

// run stages and commits, and returns the results by path.
func (w *world) run(items []Item) map[id.Path]Result {
	w.t.Helper()
	s, err := w.x.Stage(context.Background(), items)
	w.must(err)
	return w.commit(s)
}

func (w *world) commit(s *Staged) map[id.Path]Result {
	w.t.Helper()
	recorded := map[id.Path]Result{}
	all, err := w.x.Commit(context.Background(), s, nil, func(rs []Result) error {
		for _, r := range rs {
			if _, dup := recorded[r.Path]; dup {
				w.t.Errorf("%q was recorded twice", r.Path)
			}
			recorded[r.Path] = r
		}
		return nil
	})
	w.must(err)
	for _, r := range all {
		if recorded[r.Path].State != r.State {
			w.t.Errorf("%q: recorded as %v, returned as %v", r.Path, recorded[r.Path].State, r.State)
		}
	}
	return recorded
}

// allDone checks that all results are Done and their stats true.
func (w *world) allDone(res map[id.Path]Result) {
	w.t.Helper()
	for p, r := range res {
		if r.State != Done {
			w.t.Errorf("%q: %v: %v", p, r.State, r.Err)
			continue
		}
		if st := w.stat(p); !r.Dirty && !st.Same(r.Stat) {
			w.t.Errorf("%q: result says %+v, disk %+v", p, r.Stat, st)
		}
	}
}

// clean sweeps, and checks that nothing of the executor's is left over.
func (w *world) clean() {
	w.t.Helper()
	w.advance(2 * time.Minute)
	out, err := w.x.Sweep(context.Background())
	w.must(err)
	if out.Waiting != 0 {
		w.t.Errorf("after the sweep: %+v", out)
	}
	w.must(w.x.DropLeftovers())
	walk(w.t, w.user, reserved, func(p id.Path, _ vfs.Stat) {
		if p != tmpDir && p != keptDir {
			w.t.Errorf("left over: %q", p)
		}
	})
}

// rapidTB makes the helpers report to rapid.
type rapidTB struct {
	testing.TB
	rt interface {
		Helper()
		Fatal(...any)
		Errorf(string, ...any)
	}
}

func (r rapidTB) Helper()                   {}
func (r rapidTB) Fatal(a ...any)            { r.rt.Fatal(a...) }
func (r rapidTB) Errorf(f string, a ...any) { r.rt.Errorf(f, a...) }

// root reads a filesystem with enforced modes as root does: by making readable
// what is not, and undoing it.
type root struct{ vfs.FS }

func (r root) ReadDir(p id.Path) ([]string, error) {
	if p == "" {
		return r.FS.ReadDir(p)
	}
	st, err := r.FS.Lstat(p)
	if err != nil || st.Mode&0o500 == 0o500 {
		return r.FS.ReadDir(p)
	}
	defer func() { _ = r.FS.Chmod(p, st.Mode) }()
	return nil, errors.New("unreadable directory in a test")
}

func longTests() bool { return os.Getenv("LOCKSTEP_LONG") == "1" }
