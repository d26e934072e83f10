package watcher

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// patience is how long tests wait for what must come.
const patience = 20 * time.Second

// index is a Known in memory.
type index struct {
	mu   sync.Mutex
	dirs map[id.Path]map[string]vfs.Stat
	err  error
}

func newIndex() *index { return &index{dirs: make(map[id.Path]map[string]vfs.Stat)} }

func (x *index) Children(d id.Path) (map[string]vfs.Stat, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make(map[string]vfs.Stat, len(x.dirs[d]))
	maps.Copy(out, x.dirs[d])
	return out, x.err
}

func (x *index) Lookup(p id.Path) (vfs.Stat, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.dirs[p.Dir()][p.Base()]
	return s, ok, x.err
}

func (x *index) record(d Dirty) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d.Blocked != "" {
		return
	}
	if d.Stat.Kind == vfs.Absent || d.Stat.Kind != vfs.Dir {
		for p := range x.dirs {
			if p.Within(d.Path) {
				delete(x.dirs, p)
			}
		}
	}
	if d.Stat.Kind == vfs.Absent {
		delete(x.dirs[d.Path.Dir()], d.Path.Base())
		return
	}
	m := x.dirs[d.Path.Dir()]
	if m == nil {
		m = make(map[string]vfs.Stat)
		x.dirs[d.Path.Dir()] = m
	}
	m[d.Path.Base()] = d.Stat
}

func (x *index) paths() map[id.Path]vfs.Stat {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make(map[id.Path]vfs.Stat)
	for d, m := range x.dirs {
		for n, s := range m {
			out[d.Join(n)] = s
		}
	}
	return out
}

// fixture is a watcher on a real directory, with an index that records what is
// reported.
type fixture struct {
	t     *testing.T
	root  string
	index *index
	w     *Watcher
	o     Options
	stop  func() error

	mu      sync.Mutex
	batches []Batch
	changed chan struct{}
}

var testFolder = id.Folder{1, 2, 3}

func mark(t *testing.T, root string) {
	t.Helper()
	dir := filepath.Join(root, id.ReservedName)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "folder"), []byte(testFolder.String()+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// prepare makes a marked root; start watches it.
func prepare(t *testing.T) *fixture {
	t.Helper()
	x := &fixture{t: t, root: t.TempDir(), index: newIndex(), changed: make(chan struct{})}
	mark(t, x.root)
	x.o = Options{FS: func() (vfs.FS, error) { return vfs.OpenReal(x.root) }, Root: x.root, Folder: testFolder, Known: x.index}
	return x
}

func (x *fixture) start() *fixture {
	x.t.Helper()
	x.run()
	x.flush()
	return x
}

// run starts the watcher and takes its batches.
func (x *fixture) run() {
	x.t.Helper()
	x.w = New(x.o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var g sync.WaitGroup
	g.Go(func() { ended <- x.w.Run(ctx) })
	g.Go(func() {
		for b := range x.w.Batches() {
			x.took(b)
		}
	})
	var once sync.Once
	var err error
	x.stop = func() error {
		once.Do(func() {
			cancel()
			g.Wait()
			err = <-ended
		})
		return err
	}
	x.t.Cleanup(func() {
		if err := x.stop(); err != nil {
			x.t.Errorf("Run: %v", err)
		}
	})
}

func (x *fixture) took(b Batch) {
	for _, d := range b.Paths {
		x.index.record(d)
	}
	x.mu.Lock()
	x.batches = append(x.batches, b)
	close(x.changed)
	x.changed = make(chan struct{})
	x.mu.Unlock()
	b.Done()
}

// flush has the watcher report all.
func (x *fixture) flush() {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.w.Flush(ctx); err != nil {
		x.t.Fatalf("Flush: %v", err)
	}
}

// until waits until ok says yes of what was reported.
func (x *fixture) until(what string, ok func([]Batch) bool) {
	x.t.Helper()
	deadline := time.After(patience)
	for {
		x.mu.Lock()
		changed, yes := x.changed, ok(x.batches)
		x.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			x.t.Fatalf("not reported in time: %s; reported: %v; status %+v", what, x.reports(), x.w.Status())
		}
	}
}

// reports returns all that was reported, by path.
func (x *fixture) reports() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, b := range x.batches {
		for _, d := range b.Paths {
			out = append(out, string(d.Path)+": "+d.Stat.Kind.String())
		}
	}
	return out
}

// all returns all that was reported.
func (x *fixture) all() (out []Dirty) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.batches {
		out = append(out, b.Paths...)
	}
	return out
}

func (x *fixture) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.batches = nil
}

// reported waits for a report of the path that says so of its kind.
func (x *fixture) reported(p id.Path, k vfs.Kind) (got Dirty) {
	x.t.Helper()
	x.until(string(p)+": "+k.String(), func(bs []Batch) bool {
		for _, b := range bs {
			for _, d := range b.Paths {
				if d.Path == p && d.Stat.Kind == k {
					got = d
					return true
				}
			}
		}
		return false
	})
	return got
}

func (x *fixture) path(p string) string { return filepath.Join(x.root, filepath.FromSlash(p)) }

func (x *fixture) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) write(p, content string) {
	x.t.Helper()
	x.must(os.WriteFile(x.path(p), []byte(content), 0o644))
}

func (x *fixture) mkdir(p string) {
	x.t.Helper()
	x.must(os.MkdirAll(x.path(p), 0o755))
}

// agrees checks that the index holds what is on the disk.
func (x *fixture) agrees() {
	x.t.Helper()
	f, err := vfs.OpenReal(x.root)
	x.must(err)
	defer f.Close()
	want := make(map[id.Path]vfs.Stat)
	var walk func(d id.Path)
	walk = func(d id.Path) {
		names, err := f.ReadDir(d)
		x.must(err)
		for _, n := range names {
			p := d.Join(n)
			if p.Check() != nil {
				continue
			}
			st, err := f.Lstat(p)
			x.must(err)
			want[p] = st
			if st.Kind == vfs.Dir {
				walk(p)
			}
		}
	}
	walk("")
	got := x.index.paths()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if !got[p].Same(want[p]) {
			x.t.Errorf("%s: recorded %+v, on disk %+v", p, got[p], want[p])
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			x.t.Errorf("%s: recorded, not on disk", p)
		}
	}
}
