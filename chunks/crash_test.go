package chunks

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-sync/lockstep/chunks/pack"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// crashFS is the system's files with a memory of what was synced, and failures.
type crashFS struct {
	osFS
	mu     sync.Mutex
	synced map[string]int64 // bytes of each file; missing: the name is not durable
	names  map[string]bool  // names that are durable
	fail   func(op, name string) error
}

func newCrashFS() *crashFS {
	return &crashFS{synced: map[string]int64{}, names: map[string]bool{}}
}

func (c *crashFS) hit(op, name string) error {
	c.mu.Lock()
	fail := c.fail
	c.mu.Unlock()
	if fail != nil {
		return fail(op, name)
	}
	return nil
}

func (c *crashFS) setFail(fail func(op, name string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

type crashFile struct {
	packFile
	c    *crashFS
	name string
}

func (c *crashFS) wrap(f packFile, name string, err error) (packFile, error) {
	if err != nil {
		return nil, err
	}
	return crashFile{f, c, name}, nil
}

func (c *crashFS) Create(name string) (packFile, error) {
	if err := c.hit("create", name); err != nil {
		return nil, err
	}
	f, err := c.osFS.Create(name)
	return c.wrap(f, name, err)
}

func (c *crashFS) Open(name string) (packFile, error) {
	f, err := c.osFS.Open(name)
	return c.wrap(f, name, err)
}

func (c *crashFS) SyncDir(dir string) error {
	if err := c.hit("syncdir", dir); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.pack"))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		c.names[n] = true
	}
	return err
}

func (f crashFile) Sync() error {
	if err := f.c.hit("sync", f.name); err != nil {
		return err
	}
	n, err := f.Size()
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.c.synced[f.name] = n
	return err
}

func (f crashFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.c.hit("write", f.name); err != nil {
		n, _ := f.packFile.WriteAt(b[:len(b)/2], off) // a part gets there
		return n, err
	}
	return f.packFile.WriteAt(b, off)
}

// crash is a power cut: of what was not synced, any part is there or not.
func (c *crashFS) crash(t testing.TB, dir string, r *rand.Rand) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !c.names[name] && r.IntN(2) == 0 {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tail := b[min(int64(len(b)), c.synced[name]):]
		switch r.IntN(5) {
		case 0: // all of it
		case 1:
			tail = tail[:0]
		case 2:
			tail = tail[:r.IntN(len(tail)+1)]
		case 3: // length there, data not
			clear(tail[r.IntN(len(tail)+1):])
		case 4: // a page in the middle not written
			if len(tail) > 0 {
				i := r.IntN(len(tail))
				clear(tail[i:min(len(tail), i+4096)])
			}
		}
		b = b[:int(min(int64(len(b)), c.synced[name]))+len(tail)]
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// checkRows: every index row must name bytes that are the object.
func (r *rig) checkRows() {
	r.t.Helper()
	it, err := r.kv.Iter([]byte(prefixPack), kv.PrefixEnd([]byte(prefixPack)))
	if err != nil {
		r.t.Fatal(err)
	}
	defer it.Close()
	for it.Next() {
		k := key{Kind(it.Key()[2]), id.Digest(it.Key()[3:])}
		p, err := decodePlace(k.kind, it.Value())
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.readPlace(k, p, nil); err != nil {
			r.t.Fatalf("row without its bytes: %v", err)
		}
	}
}

func TestPowerCuts(t *testing.T) {
	t.Parallel()
	rounds := 40
	if os.Getenv("LOCKSTEP_LONG") != "" {
		rounds = 1000
	}
	for seed := range rounds {
		powerCut(t, uint64(seed))
	}
}

// powerCut runs a store until the power fails, several times over, at random
// moments within syncs too. What a Sync said is durable must be readable.
func powerCut(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	mem := pvfs.NewCrashableMem()
	dir := filepath.Join(t.TempDir(), "packs")
	type version struct {
		f File
		b []byte
	}
	var durable []version
	cfs := newCrashFS()
	for range 3 {
		cfs.fail = nil
		db, err := kv.Open("kv", kv.Options{FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		rg := &rig{t: t, o: Options{Dir: dir, KV: db, PackBytes: 60 << 10, fs: cfs}}
		rg.open()
		rg.checkRows()
		for _, v := range durable {
			rg.mustHold(v.f, v.b)
		}
		var pending []version
		var crash error
		for range 1 + r.IntN(8) {
			for range r.IntN(4) {
				b := text(r.IntN(30), 1+r.IntN(40000))
				if r.IntN(2) == 0 {
					b = noise(r.IntN(30), 1+r.IntN(60000))
				}
				pending = append(pending, version{rg.ingest(b, Pack), b})
			}
			if r.IntN(6) == 0 { // the machine dies within this Sync
				left := r.IntN(3)
				cfs.fail = func(op, _ string) error {
					if left--; (op == "sync" || op == "syncdir") && left < 0 {
						return errors.New("power cut")
					}
					return nil
				}
			}
			if crash = rg.Sync(context.Background()); crash != nil {
				break
			}
			cfs.fail = nil
			durable = append(durable, pending...)
			pending = nil
			if r.IntN(4) == 0 {
				break
			}
		}
		if r.IntN(2) == 0 { // the daemon syncs rows of its own in the same store
			kb := db.NewBatch()
			kb.Set([]byte("D"), []byte{1})
			if err := kb.Commit(true); err != nil {
				t.Fatal(err)
			}
		}
		// kv and packs die at the same moment.
		clone := mem.CrashClone(pvfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		_ = db.Close()
		rg.read0()
		mem = clone
		cfs.crash(t, dir, r)
	}
}

// read0 closes the handles without a sync: the process is dead.
func (r *rig) read0() { r.Store.read.closeAll() }

func TestFailedSyncBreaksTheStore(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"sync", "syncdir"} {
		cfs := newCrashFS()
		r := newRig(t, func(o *Options) { o.fs = cfs })
		ctx := context.Background()
		boom := errors.New("disk on fire")
		b := noise(1, 100000)
		f := r.ingest(b, Pack)
		cfs.setFail(func(o, _ string) error {
			if o == op {
				return boom
			}
			return nil
		})
		if err := r.Sync(ctx); !errors.Is(err, boom) || !errors.Is(err, ErrBroken) {
			t.Fatalf("sync: %v", err)
		}
		cfs.setFail(nil) // the next fsync would succeed, as kernels have it
		if err := r.Sync(ctx); !errors.Is(err, ErrBroken) {
			t.Errorf("second sync: %v", err)
		}
		if _, err := r.Ingest(ctx, bytes.NewReader(b), int64(len(b)), Pack); !errors.Is(err, ErrBroken) {
			t.Errorf("ingest: %v", err)
		}
		if err := r.Put(ctx, Chunk, id.Sum(b[:9]), b[:9]); !errors.Is(err, ErrBroken) {
			t.Errorf("put: %v", err)
		}
		if err := r.AddLocations(1, []Row{{Len: 1}}); !errors.Is(err, ErrBroken) {
			t.Errorf("add locations: %v", err)
		}
		r.mustHold(f, b) // it still reads
		if n := r.countRows(prefixPack); n != 0 {
			t.Errorf("%d index rows for bytes that were not synced", n)
		}
		if err := r.Close(); !errors.Is(err, ErrBroken) {
			t.Errorf("close: %v", err)
		}
		r.open()
		r.mustHold(f, b)
	}
}

func TestDiskFullPasses(t *testing.T) {
	t.Parallel()
	cfs := newCrashFS()
	r := newRig(t, func(o *Options) { o.fs = cfs })
	a, b := noise(1, 50000), noise(2, 50000)
	fa := r.ingest(a, Pack)
	for _, op := range []string{"write", "create"} {
		cfs.setFail(func(o, _ string) error {
			if o == op {
				return syscall.ENOSPC
			}
			return nil
		})
		if _, err := r.Ingest(context.Background(), bytes.NewReader(b), int64(len(b)), Pack); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s on a full disk: %v", op, err)
		}
	}
	cfs.setFail(nil)
	fb := r.ingest(b, Pack)
	r.sync()
	r.reopen()
	r.mustHold(fa, a)
	r.mustHold(fb, b)
}

// TestLocationsSurviveAPowerCut: they have no source but the index.
func TestLocationsSurviveAPowerCut(t *testing.T) {
	t.Parallel()
	mem := pvfs.NewCrashableMem()
	db, err := kv.Open("kv", kv.Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	files := &memFiles{}
	r := &rig{t: t, files: files, o: Options{Dir: filepath.Join(t.TempDir(), "packs"), KV: db, Files: files}}
	r.open()
	b := noise(1, 5000)
	files.set(3, b)
	f := r.ingest(b, Locate(3)) // one chunk: no node goes to a pack
	r.sync()
	clone := mem.CrashClone(pvfs.CrashCloneCfg{})
	if err := errors.Join(r.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if r.o.KV, err = kv.Open("kv", kv.Options{FS: clone}); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.mustHold(f, b)
	if err := errors.Join(r.Close(), r.o.KV.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestKilledBetweenPackAndIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := noise(1, 50000), text(2, 50000)
	fa := r.ingest(a, Pack)
	r.sync()
	fb := r.ingest(b, Pack) // written, no row
	r.Store.read.closeAll()
	r.open() // as a new process finds it
	r.mustHold(fa, a)
	r.mustHold(fb, b)
	if len(r.fresh) != 0 {
		t.Error("what was found is held as unsynced")
	}
	if n := r.app.active.n; n != 1 {
		t.Errorf("appending to pack %d, the first one has room", n)
	}
}

// TestDamagedChunkIsStoredAgain is B28: good bytes replace bad ones of the same
// name, and bad ones are never handed out.
func TestDamagedChunkIsStoredAgain(t *testing.T) {
	t.Parallel()
	for _, make := range []func(int, int) []byte{noise, text} {
		for _, at := range []int{5, 20, 50, pack.RecordHeaderLen + 100, -1} {
			for _, look := range []bool{false, true} { // the dedup check finds it, or a read
				damageAndIngest(t, make(1, 9000), at, look)
			}
		}
	}
}

func damageAndIngest(t *testing.T, b []byte, at int, look bool) {
	ctx := context.Background()
	r := newRig(t)
	f := r.ingest(b, Pack)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(r.o.Dir, packName(1))
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(p)
	} else {
		at += pack.HeaderLen
	}
	p[at] ^= 0x40
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	if look {
		if _, err := r.Get(ctx, f.Content, Chunk, nil); !errors.Is(err, ErrMissing) {
			t.Errorf("damage at %d: %v", at, err)
		}
		if r.Has([]id.Digest{f.Content})[0] {
			t.Errorf("damage at %d: still said to be here", at)
		}
	}
	r.ingest(b, Pack)
	r.mustHold(f, b)
	r.reopen()
	r.mustHold(f, b)
	if err := r.RebuildIndex(ctx); err != nil {
		t.Fatal(err)
	}
	r.mustHold(f, b)
}

func TestMissingAndForeignPacks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := noise(1, 9000)
	f := r.ingest(b, Pack)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(r.o.Dir, packName(1))
	if err := os.Rename(name, filepath.Join(r.o.Dir, "notes.txt")); err != nil {
		t.Fatal(err)
	}
	r.open()
	if _, err := r.read(f); !errors.Is(err, ErrMissing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pack gone: %v", err)
	}
	r.ingest(b, Pack)
	r.mustHold(f, b)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// A pack of a version to come must not be touched.
	p := pack.AppendHeader(nil, 9)
	p[8] = 2
	binaryCRC(p)
	if err := os.WriteFile(filepath.Join(r.o.Dir, packName(9)), p, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.o); !errors.Is(err, pack.ErrVersion) {
		t.Errorf("newer pack: %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.o.Dir, packName(9)), make([]byte, 7), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.mustHold(f, b)
	if _, err := os.Stat(filepath.Join(r.o.Dir, packName(9))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pack that was never begun is still there: %v", err)
	}
}

func binaryCRC(h []byte) {
	s := pack.Checksum(h[:pack.HeaderLen-4])
	for i := range 4 {
		h[pack.HeaderLen-4+i] = byte(s >> (8 * i))
	}
}
