package materialize

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// realWorld is a world on the operating system's filesystem.
func realWorld(t testing.TB, dir string) *world {
	fsys, err := vfs.OpenReal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fsys.Close() })
	w := &world{t: t, fs: fsys, user: fsys, store: newStore()}
	w.clock = time.Now()
	w.must(fsys.Mkdir(reserved, 0o755))
	w.restart()
	return w
}

// TestOnRealFilesystem runs every sort of step on the real filesystem.
func TestOnRealFilesystem(t *testing.T) {
	t.Parallel()
	mem := newScenario(t, vfs.MemOptions{})
	w := realWorld(t, t.TempDir())
	w.bytes = mem.bytes
	for _, p := range (&model{entries: mem.old}).paths(false) {
		w.make(p, mem.old[p])
	}
	w.allDone(w.run(w.diff(mem.old, mem.want, mem.moves)))
	sameTree(t, tree(t, w.user), w.wanted(mem.want))
	w.clean()
	if len(w.returned) > 0 {
		t.Errorf("given back without reason: %q", w.returned)
	}
}

// TestRealRaceWithWriter: somebody has the file open for writing and comes back to it.
func TestRealRaceWithWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := realWorld(t, dir)
	was := w.file("old", 0o644, 1)
	w.make("f", was)
	items := w.diff(map[id.Path]meta.Entry{"f": was}, map[id.Path]meta.Entry{"f": w.file("new", 0o644, 2)}, nil)
	wr, err := os.OpenFile(filepath.Join(dir, "f"), os.O_WRONLY, 0)
	w.must(err)
	res := w.run(items)
	_, err = wr.WriteString(userBytes)
	w.must(err)
	w.must(wr.Close())
	w.advance(2 * time.Minute)
	_, err = w.x.Sweep(context.Background())
	w.must(err)
	if res["f"].State != Busy { // without leases it is replaced, and given back
		if len(w.returned) != 1 || w.returned[0] != "f="+userBytes {
			t.Errorf("%v %v, returned %q", res["f"].State, res["f"].Err, w.returned)
		}
	} else if got := content(t, w.user, "f"); got != userBytes {
		t.Errorf("f holds %q", got)
	}
}

// counted counts what reaches the filesystem.
type counted struct {
	vfs.FS
	n map[string]int
}

func (c *counted) Create(p id.Path, mode uint32) (vfs.Handle, error) {
	c.n["create"]++
	h, err := c.FS.Create(p, mode)
	return &countedHandle{h, c}, err
}
func (c *counted) Rename(a, b id.Path, m vfs.RenameMode) error {
	c.n["rename"]++
	return c.FS.Rename(a, b, m)
}
func (c *counted) Lstat(p id.Path) (vfs.Stat, error) { c.n["lstat"]++; return c.FS.Lstat(p) }
func (c *counted) SyncDir(p id.Path) error           { c.n["syncdir"]++; return c.FS.SyncDir(p) }
func (c *counted) SyncAll() error                    { c.n["syncall"]++; return c.FS.SyncAll() }

type countedHandle struct {
	vfs.Handle
	c *counted
}

func (h *countedHandle) Sync() error { h.c.n["fsync"]++; return h.Handle.Sync() }

// BenchmarkThousandFiles stages and commits 1000 files of 1 KiB in ten
// directories that are there, then replaces them all.
func BenchmarkThousandFiles(b *testing.B) {
	for _, kind := range []string{"create", "replace"} {
		b.Run(kind, func(b *testing.B) {
			total := map[string]int{}
			for range b.N {
				b.StopTimer()
				w := realWorld(b, b.TempDir())
				old := map[id.Path]meta.Entry{}
				for d := range 10 {
					dir := id.Path(fmt.Sprint("d", d))
					old[dir] = dirEntry(0o755)
					w.make(dir, old[dir])
				}
				next := func(gen string) map[id.Path]meta.Entry {
					out := map[id.Path]meta.Entry{}
					for d := range 10 {
						dir := id.Path(fmt.Sprint("d", d))
						out[dir] = old[dir]
						for f := range 100 {
							out[dir.Join(fmt.Sprint(f))] = w.file(fmt.Sprintf("%s %d %d %01000d", gen, d, f, 0), 0o644, 5)
						}
					}
					return out
				}
				first := next("first")
				items := w.diff(old, first, nil)
				if kind == "replace" {
					w.allDone(w.run(items))
					items = w.diff(first, next("second"), nil)
				}
				w.x.workersOne()
				c := &counted{w.fs, total}
				w.fs = c
				b.StartTimer()
				s, err := w.x.Stage(context.Background(), items)
				w.must(err)
				_, err = w.x.Commit(context.Background(), s, nil, nil)
				w.must(err)
				b.StopTimer()
			}
			for k, n := range total {
				b.ReportMetric(float64(n)/float64(b.N), k+"/op")
			}
		})
	}
}

// workersOne lets the benchmark count without locks.
func (x *Executor) workersOne() { x.opts.Workers = 1 }
