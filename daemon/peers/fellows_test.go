package peers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/internal/id"
)

var sharedFolder = id.Folder{7}

// reader makes a node one that gets what author has: it keeps what it pulls, and says
// "soon" of what it has not yet.
func (n *node) reader(want []Want) (got func(int, []byte) error) {
	var mu sync.Mutex
	have := make(map[id.Digest][]byte)
	n.back.onObject(func(_ context.Context, d id.Digest) ([]byte, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if data, ok := have[d]; ok {
			return data, false, nil
		}
		return nil, false, errors.Join(ErrSoon, chunks.ErrMissing)
	})
	return func(i int, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		have[want[i].ID] = bytes.Clone(data)
		return nil
	}
}

// cluster starts an author at the head and readers behind it, who know of each other.
func sharers(t testing.TB, readers int, change ...func(*Options)) (author *node, rest []*node) {
	m := &members{}
	all := make([]*node, 0, readers+1)
	for range readers + 1 {
		all = append(all, start(t, m, change...))
	}
	for i, n := range all {
		st := FolderState{Folder: sharedFolder, Revision: 1}
		if i == 0 {
			st.Applied = 1
		}
		n.back.set(Heartbeat{Folders: []FolderState{st}})
		n.Kick()
	}
	for _, n := range all {
		for _, o := range all {
			if o != n {
				until(t, n, "the state of another", func() bool { h, ok := n.Last(o.id()); return ok && len(h.Folders) == 1 })
			}
		}
	}
	return all[0], all[1:]
}

func pullAll(t testing.TB, n *node, author *node, want []Want, got func(int, []byte) error) {
	missing, err := n.Pull(t.Context(), sharedFolder, []id.Node{author.id()}, want, got)
	if err != nil || len(missing) > 0 {
		t.Errorf("missing %d of %d, err %v", len(missing), len(want), err)
	}
}

// Readers of the same objects share them: the author sends each about once.
func TestReadersShare(t *testing.T) {
	t.Parallel()
	author, readers := sharers(t, 3)
	want := author.back.put(randoms(600, 16<<10)...)
	var wg sync.WaitGroup
	for _, r := range readers {
		got := r.reader(want)
		wg.Go(func() { pullAll(t, r, author, want, got) })
	}
	wg.Wait()
	sent := author.Traffic(sharedFolder).ObjectsSent
	t.Logf("the author sent %d objects of %d to three readers", sent, len(want))
	if sent > uint64(len(want))*2 {
		t.Errorf("the author sent %d objects of %d to three readers", sent, len(want))
	}
	for _, r := range readers {
		if in := r.Traffic(sharedFolder); in.ObjectsReceived != uint64(len(want)) {
			t.Errorf("a reader got %d objects of %d", in.ObjectsReceived, len(want))
		}
	}
}

// A fellow that is stuck, lies, has nothing or goes holds nothing up for long.
func TestFellowsThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	for name, object := range map[string]func(ctx context.Context, n *node) ([]byte, bool, error){
		"has nothing":  func(context.Context, *node) ([]byte, bool, error) { return nil, false, chunks.ErrMissing },
		"always soon":  func(context.Context, *node) ([]byte, bool, error) { return nil, false, ErrSoon },
		"wrong bytes":  func(context.Context, *node) ([]byte, bool, error) { return random(16 << 10), false, nil },
		"cannot read":  func(context.Context, *node) ([]byte, bool, error) { return nil, false, errors.New("disk") },
		"cuts":         func(context.Context, *node) ([]byte, bool, error) { panic("cut") },
		"never answer": func(ctx context.Context, _ *node) ([]byte, bool, error) { <-ctx.Done(); return nil, false, ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			author, readers := sharers(t, 2, func(o *Options) { o.HedgeAfter = 200 * time.Millisecond })
			a, b := readers[0], readers[1]
			var asked atomic.Int64
			b.back.onObject(func(ctx context.Context, _ id.Digest) ([]byte, bool, error) { asked.Add(1); return object(ctx, b) })
			want := author.back.put(randoms(300, 16<<10)...)
			g := gather(t, want)
			pullAll(t, a, author, want, g.got)
			g.complete()
			if asked.Load() == 0 {
				t.Error("the fellow was not asked")
			}
		})
	}
}

// What only fellows have is got from them, and two that wait for each other for what
// nobody has give up.
func TestFellowsWithoutTheAuthor(t *testing.T) {
	t.Parallel()
	author, readers := sharers(t, 2, func(o *Options) { o.HedgeAfter = 200 * time.Millisecond })
	objects := randoms(300, 16<<10)
	a, b := readers[0], readers[1]
	want := b.back.put(objects[:250]...)
	for _, o := range objects[250:] {
		want = append(want, Want{chunks.Chunk, id.Sum(o), len(o)})
	}
	have := b.back.objects
	b.back.onObject(func(_ context.Context, d id.Digest) ([]byte, bool, error) {
		if data, ok := have[d]; ok {
			return data, false, nil
		}
		return nil, false, ErrSoon
	})
	g := gather(t, want)
	missing, err := a.Pull(t.Context(), sharedFolder, []id.Node{author.id()}, want, g.got)
	if err != nil || len(missing) != 50 || missing[0] != 250 || len(g.n) != 250 {
		t.Errorf("missing %d (%v), got %d", len(missing), err, len(g.n))
	}
}

// To a member that will not come on, for it is paused, has halted or lacks room, nothing
// is left.
func TestWhoRestsIsNoFellow(t *testing.T) {
	t.Parallel()
	author, readers := sharers(t, 2)
	a, b := readers[0], readers[1]
	want := author.back.put(randoms(300, 16<<10)...)
	for _, c := range []struct {
		state  FolderState
		fellow bool
	}{{FolderState{}, true}, {FolderState{Paused: true}, false}, {FolderState{Halted: true}, false}, {FolderState{Lacking: 2}, false}, {FolderState{Blocked: 2}, true}} {
		c.state.Folder, c.state.Revision = sharedFolder, 1
		b.back.set(Heartbeat{Folders: []FolderState{c.state}})
		b.Kick()
		until(t, a, "the state of the other", func() bool { h, _ := a.Last(b.id()); return slices.Equal(h.Folders, []FolderState{c.state}) })
		l := &pull{p: a.Peers, want: want, members: a.candidates(sharedFolder, []id.Node{author.id()}), sharing: sharing{owner: make([]int8, len(want))}}
		l.assign()
		left := 0
		for _, o := range l.owner {
			if o != nobody {
				left++
			}
		}
		if left > 0 != c.fellow {
			t.Errorf("to one that says %+v are left %d of %d", c.state, left, len(want))
		}
	}
	g := gather(t, want)
	pullAll(t, a, author, want, g.got)
	g.complete()
}

// Who has the head on the disk is asked as the author is.
func TestAllWhoHaveTheHeadAreAsked(t *testing.T) {
	t.Parallel()
	author, rest := sharers(t, 2)
	other, a := rest[0], rest[1]
	other.back.set(Heartbeat{Folders: []FolderState{{Folder: sharedFolder, Revision: 1, Applied: 1}}})
	other.Kick()
	until(t, a, "the other at the head", func() bool { h, _ := a.Last(other.id()); return len(h.Folders) == 1 && h.Folders[0].Applied == 1 })
	objects := randoms(400, 16<<10)
	want := author.back.put(objects...)
	other.back.put(objects...)
	pullAll(t, a, author, want, func(int, []byte) error { return nil })
	x, y := author.Traffic(sharedFolder).ObjectsSent, other.Traffic(sharedFolder).ObjectsSent
	if x == 0 || y == 0 || x+y != 400 {
		t.Errorf("the author sent %d, the other %d of 400", x, y)
	}
}

// A member that sent wrong bytes is left alone by the next pulls too.
func TestALiarIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b, c := start(t, m), start(t, m), start(t, m)
	connected(t, a, b, c)
	var asked atomic.Int64
	b.back.onObject(func(context.Context, id.Digest) ([]byte, bool, error) { asked.Add(1); return random(100), false, nil })
	first, second := c.back.put(randoms(5, 100)...), c.back.put(randoms(5, 100)...)
	mustPull(t, a, []id.Node{b.id()}, first)
	if asked.Load() == 0 {
		t.Fatal("the liar was not asked")
	}
	asked.Store(0)
	mustPull(t, a, []id.Node{b.id()}, second)
	if asked.Load() != 0 {
		t.Error("the liar was asked again at once")
	}
}

// While as many requests are in progress as may be, only the end of one wakes a pull.
func TestNoWakingWhileNothingCanBeAsked(t *testing.T) {
	t.Parallel()
	l := &pull{flights: make(map[*flight]struct{}), sharing: sharing{wake: time.Now().Add(-time.Second)}}
	for range maxFlights {
		l.flights[&flight{}] = struct{}{}
	}
	if l.dispatch(t.Context()); !l.wake.IsZero() {
		t.Errorf("as many requests as may be are in progress, and the pull wakes at %v, which is past: it spins", l.wake)
	}
}

// The parts of n nodes are about equal, and the same for all of them.
func TestShareIsEven(t *testing.T) {
	t.Parallel()
	nodes := make([]id.Node, 5)
	for i := range nodes {
		copy(nodes[i][:], random(32))
	}
	parts := make([]int, len(nodes))
	for range 10_000 {
		var d id.Digest
		copy(d[:], random(32))
		best := 0
		for i := range nodes {
			if share(nodes[i], d) > share(nodes[best], d) {
				best = i
			}
		}
		parts[best]++
	}
	if slices.Min(parts) < 1700 || slices.Max(parts) > 2300 {
		t.Errorf("parts of 10,000 objects: %v", parts)
	}
}

// The states that later versions added are sent to those who know them only.
func TestGoldenSoon(t *testing.T) {
	t.Parallel()
	want := []Want{{Kind: chunks.Chunk, ID: id.Digest{1}}, {Kind: chunks.Chunk, ID: id.Digest{2}, Len: 3}}
	wire := []byte{5, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 3}
	var heads []byte
	for _, f := range []frame{{state: frameWait}, {frameSoon, 0, 0}, {state: frameWait}, {frameRaw, 1, 3}} {
		heads = f.append(heads)
	}
	if !bytes.Equal(heads, wire) {
		t.Errorf("heads %x, want %x", heads, wire)
	}
	r := newFrameReader(bytes.NewReader(wire), want)
	for _, f := range []frame{{frameSoon, 0, 0}, {frameRaw, 1, 3}} {
		if got, err := r.next(); err != nil || got != f {
			t.Errorf("frame %+v, %v; want %+v", got, err, f)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range [][]byte{{5, 0, 1, 0, 0, 0, 0}, {5, 0, 0, 0, 0, 0, 1}, {4, 0, 0, 0, 0, 0, 1}, {6, 0, 0, 0, 0, 0, 0}} {
		if _, err := newFrameReader(bytes.NewReader(bad), want).next(); !errors.Is(err, errFrame) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}
