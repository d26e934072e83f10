package meta

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// peak samples the heap while fn runs and returns its largest size above the start.
func peak(fn func()) uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	start := s.HeapInuse
	var top atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				if s.HeapInuse > start {
					top.Store(max(top.Load(), s.HeapInuse-start))
				}
			}
		}
	}()
	fn()
	close(stop)
	<-done
	return top.Load()
}

// Commands of constant size with effects on 300,000 files hold a few batches in
// memory, not the effects.
func TestLarge(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: set LOCKSTEP_LONG=1 to move, delete and roll back 300,000 files")
	}
	w := newWorld(t)
	db, err := kv.Open(t.TempDir(), kv.Options{NoWAL: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w.db = db
	if w.m, err = NewMachine(oneDB{db}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.m.ApplyBatch(w.log); err != nil {
		t.Fatal(err)
	}
	w.log = nil
	const files, each = 300_000, 50_000
	w.commit(nodeA, put("d", Base{}, dir()))
	for i := 0; i < files; i += each {
		var ch []Change
		for k := range each {
			if k%1000 == 0 {
				ch = append(ch, put(id.Path(fmt.Sprintf("d/%d", (i+k)/1000)), Base{}, dir()))
			}
			ch = append(ch, put(id.Path(fmt.Sprintf("d/%d/file-%d", (i+k)/1000, i+k)), Base{}, file(fmt.Sprint(i+k))))
		}
		t0 := time.Now()
		var o Outcome
		top := peak(func() { o = w.commit(nodeA, ch...) })
		t.Logf("%d puts: %s, %d MiB, revision %s", len(ch), time.Since(t0), top>>20, o.Revision)
	}
	first := w.head()
	for _, step := range []struct {
		name string
		do   func() Outcome
	}{
		{"move", func() Outcome { return w.commit(nodeA, mv("d", "e", w.head())) }},
		{"delete", func() Outcome { return w.commit(nodeA, del("e", w.head())) }},
		{"rollback", func() Outcome {
			return w.must(w.do(nodeA, RollbackCmd{Folder: w.folder, Target: first.Revision, TargetHash: first.Hash}))
		}},
	} {
		t0 := time.Now()
		var o Outcome
		top := peak(func() { o = step.do() })
		t.Logf("%s: %s, %d MiB, revision %s", step.name, time.Since(t0), top>>20, o.Revision)
		if top > 120<<20 {
			t.Errorf("%s holds %d MiB", step.name, top>>20)
		}
	}
	v := w.m.View()
	defer v.Close()
	if tot, err := v.Totals(w.folder); err != nil || tot.Files != files || tot.Dirs != files/1000+1 {
		t.Errorf("%+v %v", tot, err)
	}
}

// TestMaxSize: changes whose sizes together are within the bound make a command that is.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := func(what string) string { return strings.Repeat("x", rapid.IntRange(0, 4200).Draw(r, what)) }
		number := rapid.Uint64Range(0, 1<<63-1)
		sum := func() (d id.Digest) { copy(d[:], text("sum")); return d }
		c := Change{Op: Op(rapid.IntRange(1, 3).Draw(r, "op")), Path: id.Path(text("path")), From: id.Path(text("from")), Mask: Fields(rapid.IntRange(0, 255).Draw(r, "mask"))}
		c.Base = Base{Revision: id.Revision(number.Draw(r, "revision")), Own: id.Sequence(number.Draw(r, "own"))}
		copy(c.Base.Hash[:], text("hash"))
		if rapid.Bool().Draw(r, "entry") {
			c.Entry = Entry{Kind: Kind(rapid.IntRange(0, 3).Draw(r, "kind")), Mode: rapid.Uint32().Draw(r, "mode"), MTime: rapid.Int64().Draw(r, "mtime"),
				Size: rapid.Int64().Draw(r, "size"), Content: sum(), Manifest: sum(), Target: text("target")}
		}
		if n := len(pack(nil, &toWireCommit(CommitCmd{Changes: []Change{c}}).Changes[0])); n > c.MaxSize() {
			r.Errorf("%d bytes, at most %d: %+v", n, c.MaxSize(), c)
		}
	})
}

// longPath draws a path of up to MaxPath bytes: a few names at the top and at the
// end, long ones between.
func longPath(r *rapid.T) id.Path {
	p := id.Path(rapid.SampledFrom([]string{"a", "b", strings.Repeat("c", 200)}).Draw(r, "top"))
	for n := rapid.SampledFrom([]int{0, 0, 1, 14, 15, 16}).Draw(r, "depth"); n > 0 && len(p)+251 <= id.MaxPath; n-- {
		p += id.Path("/" + strings.Repeat("p", 250))
	}
	room := min(id.MaxPath-len(p)-1, id.MaxComponent)
	if n := rapid.IntRange(-2, 3).Draw(r, "leaf"); n > 0 && room > 0 {
		p += id.Path("/" + strings.Repeat("q", max(1, room-n*60*(n-1)))) // the longest that fits, and shorter
	}
	return p
}

// A path that fits only without the longer name of a copy above it is kept, under a
// name that fits, and stays one lineage.
func TestLongPathBelowACopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := id.Path("x" + strings.Repeat("/"+strings.Repeat("p", 250), 16))
	long += id.Path("/" + strings.Repeat("q", id.MaxPath-len(long)-1))
	w.commit(nodeA, put("x", Base{}, dir()))
	b := w.head()
	w.commit(nodeB, put("x", b, file("theirs")))
	w.commit(nodeA, put(long, Base{}, file("one")))
	w.commit(nodeA, edit(long, own(2), file("mine")))
	if tree := w.tree(); !strings.Contains(tree, "x: theirs") || !strings.Contains(tree, ": mine") || strings.Contains(tree, ": one") {
		t.Error(tree)
	}
	w.wantConflicts("kind open x x (conflict a r3)")
	w.checkInvariants()
	w.checkPaths()
}

// A directory may be renamed however long the paths in it are, as long as they fit.
func TestLongPathsMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := id.Path("x" + strings.Repeat("/"+strings.Repeat("p", 250), 16))
	w.commit(nodeA, put(long, Base{}, file("one")))
	w.commit(nodeA, mv("x", "yy", own(1)))
	if tree := w.tree(); !strings.HasPrefix(tree, "yy: /\n") || !strings.HasSuffix(tree, ": one") {
		t.Error(tree)
	}
	w.wantConflicts()
	w.checkInvariants()
}

// Whatever is proposed near the limits of a path, every node can apply it and read
// what it stored.
func TestPathsNearTheLimitProperty(t *testing.T) {
	t.Parallel()
	nodes := []id.Node{nodeA, nodeB, nodeC}
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 15).Draw(r, "commits") {
			n := rapid.SampledFrom(nodes).Draw(r, "node")
			head := w.head()
			if head.Revision > 0 && rapid.IntRange(0, 9).Draw(r, "back") == 0 {
				to := w.at(id.Revision(rapid.IntRange(1, int(head.Revision)).Draw(r, "target")))
				w.must(w.do(n, RollbackCmd{Folder: w.folder, Target: to.Revision, TargetHash: to.Hash}))
				continue
			}
			c := CommitCmd{Folder: w.folder, Origin: OriginEdit}
			if head.Revision > 0 && rapid.Bool().Draw(r, "seen") {
				c.Seen = w.at(id.Revision(rapid.IntRange(1, int(head.Revision)).Draw(r, "up to")))
			}
			for range rapid.IntRange(1, 4).Draw(r, "changes") {
				c.Changes = append(c.Changes, w.longChange(r, n, head))
			}
			w.must(w.do(n, c))
			w.checkInvariants()
			w.checkPaths()
		}
	})
}

func (w *world) longChange(r *rapid.T, n id.Node, head Base) Change {
	ch := Change{Op: OpPut, Path: longPath(r)}
	switch s := w.seqs[n][w.folder]; {
	case head.Revision > 0 && rapid.Bool().Draw(r, "revision"):
		ch.Base = w.at(id.Revision(rapid.IntRange(1, int(head.Revision)).Draw(r, "base")))
	case rapid.Bool().Draw(r, "own"):
		ch.Base = own(id.Sequence(rapid.IntRange(1, int(s)+1).Draw(r, "sequence")))
	}
	switch rapid.IntRange(0, 7).Draw(r, "op") {
	case 0:
		ch.Op = OpDelete
	case 1, 2:
		ch.Op, ch.From = OpMove, longPath(r)
	case 3, 4:
		ch.Entry, ch.Mask = dir(), FieldsAll
	default:
		ch.Entry, ch.Mask = file(fmt.Sprint("c", rapid.IntRange(0, 3).Draw(r, "content"))), FieldsAll
	}
	return ch
}

// checkPaths reads every row that holds paths.
func (w *world) checkPaths() {
	w.t.Helper()
	ok := func(paths ...id.Path) {
		w.t.Helper()
		for _, p := range paths {
			if p != "" && p.Check() != nil {
				w.t.Errorf("a row holds a path of %d bytes: %v", len(p), p.Check())
			}
		}
	}
	d := reads{w.db}
	if err := d.prefix(folderKey(keyVersion, w.folder), func(k, b []byte) error {
		p, r, _ := parseVersionKey(k)
		v, err := decodeVersion(p, r, b)
		ok(p, v.From, v.To)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	if err := d.prefix([]byte{keyOutcome}, func(_, b []byte) error {
		o, err := decodeOutcome(0, b)
		for _, c := range o.Changes {
			ok(c.Proposed, c.Path, c.BasePath)
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	if err := d.prefix(folderKey(keyConflict, w.folder), func(_, b []byte) error {
		c, err := decodeConflict(w.folder, 0, b)
		ok(c.Path, c.CopyPath)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}
