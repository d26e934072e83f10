package propose

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
)

type oneDB struct{ db *kv.DB }

func (o oneDB) Acquire() (*kv.DB, func()) { return o.db, func() {} }

// leader is a log of one node: what is proposed is applied at once.
type leader struct {
	t       *testing.T
	machine *meta.Machine
	dir     string

	mu    sync.Mutex // guards what follows
	index uint64
	sent  []meta.Envelope // every attempt, in order
	bytes []id.Digest     // of each attempt's body
	fail  int             // so many attempts are answered with an error
	lost  bool            // and those are applied all the same
}

var (
	self   = id.Node{1}
	folder = id.Folder{0xf0}
)

func newLeader(t *testing.T) *leader {
	t.Helper()
	db, err := kv.Open("meta", kv.Options{InMemory: true, NoWAL: true})
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	m, err := meta.NewMachine(oneDB{db}, nil)
	check(t, err)
	l := &leader{t: t, machine: m, dir: filepath.Join(t.TempDir(), "local")}
	env := meta.Envelope{Node: self, Session: id.Session{9}}
	l.must(env, meta.ClusterCmd{ID: id.Cluster{1}, First: meta.NodeRecord{ID: self, Name: "a"}})
	l.must(env, meta.Session{})
	env.Sequence = 1
	l.must(env, meta.FolderCmd{Op: meta.FolderCreate, ID: folder, Name: "docs"})
	l.sent, l.bytes = nil, nil
	return l
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l *leader) must(env meta.Envelope, c meta.Command) {
	l.t.Helper()
	b, err := meta.EncodeCommand(c)
	check(l.t, err)
	out, err := l.Propose(context.Background(), env, b)
	if err != nil || out.Kind == meta.Refused {
		l.t.Fatalf("%T: %v %s", c, err, out.Reason)
	}
}

// Propose implements Sender.
func (l *leader) Propose(_ context.Context, env meta.Envelope, body meta.Body) (out meta.Outcome, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.bytes = append(l.sent, env), append(l.bytes, body.Hash)
	failed := l.fail > 0
	if failed {
		l.fail--
		if !l.lost {
			return out, errors.New("no leader")
		}
	}
	entries, err := meta.LogEntries(env, body, time.Now())
	if err != nil {
		return out, err
	}
	for _, e := range entries {
		l.index++
		if err := l.machine.Apply(l.index, e); err != nil {
			return out, err
		}
	}
	if failed {
		return out, errors.New("leadership lost")
	}
	out, _ = l.machine.Result(l.index)
	return out, nil
}

// attempts returns the sequences sent in a lane, in order.
func (l *leader) attempts(lane id.Folder) (out []id.Sequence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.sent {
		if e.Lane == lane && e.Sequence != 0 {
			out = append(out, e.Sequence)
		}
	}
	return out
}

// run is one run of the node.
type run struct {
	p     *Proposer
	l     *local.DB
	stop  func() error
	ended func() error // waits until it ends by itself
}

func (l *leader) open() *run {
	l.t.Helper()
	db, err := local.Open(l.dir, local.Options{})
	check(l.t, err)
	p := New(Options{Self: self, Local: db, Machine: l.machine, Sender: l})
	r := &run{p: p, l: db}
	r.stop = func() error { return db.Close() }
	return r
}

func (l *leader) start() *run {
	l.t.Helper()
	r := l.open()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.p.Run(ctx) }()
	r.ended = func() error { defer cancel(); return errors.Join(<-done, r.l.Close()) }
	r.stop = func() error { cancel(); return r.ended() }
	return r
}

func change(p string) meta.CommitCmd {
	return meta.CommitCmd{Folder: folder, Origin: meta.OriginEdit, Changes: []meta.Change{
		{Op: meta.OpPut, Path: id.Path(p), Entry: meta.Entry{Kind: meta.Dir, Mode: 0o755}, Mask: meta.FieldsAll},
	}}
}

// enqueue queues a commit, and returns its sequence.
func (r *run) enqueue(t *testing.T, p string) id.Sequence {
	t.Helper()
	l, err := r.p.Lane(folder)
	check(t, err)
	tx := l.Begin()
	check(t, tx.Commit(r.l.NewBatch(), change(p)))
	return tx.Sequence()
}

func (r *run) outcome(t *testing.T, seq id.Sequence) meta.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := r.p.await(ctx, folder, seq)
	check(t, err)
	return out
}

func TestDurableBeforeSentAndResentAfterRestart(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.open() // never runs: nothing can be sent
	for i, p := range []string{"a", "b", "c"} {
		if seq := r.enqueue(t, p); seq != id.Sequence(i+1) {
			t.Fatalf("%q has sequence %d", p, seq)
		}
	}
	var want []id.Digest
	check(t, r.l.Queue(folder, 1, func(it local.Item) error {
		b, err := meta.UnmarshalBody(it.Body)
		want = append(want, b.Hash)
		return err
	}))
	check(t, r.stop())
	r = l.start()
	_, err := r.p.Lane(folder)
	check(t, err)
	if out := r.outcome(t, 3); out.Kind != meta.Accepted || out.Entry != want[2] {
		t.Errorf("outcome %+v, want the queued bytes accepted", out)
	}
	check(t, r.stop())
	if got := l.attempts(folder); len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 3 {
		t.Errorf("sent %v, want 1 2 3", got)
	}
}

// TestUnknownIsSentAgain: an attempt that failed may or may not have been applied;
// the same bytes go again under the same number and are committed once.
func TestUnknownIsSentAgain(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		l := newLeader(t)
		r := l.start()
		r.outcome(t, r.enqueue(t, "before"))
		l.mu.Lock()
		l.fail, l.lost = 3, lost
		l.mu.Unlock()
		seq := r.enqueue(t, "a")
		r.outcome(t, seq)
		r.outcome(t, r.enqueue(t, "after"))
		check(t, r.stop())
		v := l.machine.View()
		h, err := v.Head(folder)
		check(t, errors.Join(err, v.Close()))
		if h.Revision != 3 {
			t.Errorf("lost %v: head %d, want 3", lost, h.Revision)
		}
	}
}

// TestSequenceIsNeverReused: neither after the queue was emptied and the store opened
// again, nor when the replicated store knows a later number than the local one.
func TestSequenceIsNeverReused(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.start()
	seq := r.enqueue(t, "a")
	r.outcome(t, seq)
	b := r.l.NewBatch()
	b.Dequeue(folder, seq)
	check(t, b.Commit(true))
	check(t, r.stop())
	r = l.start()
	if next := r.enqueue(t, "b"); next != seq+1 {
		t.Errorf("sequence %d after %d", next, seq)
	}
	r.outcome(t, seq+1)
	check(t, r.stop())
	l.dir += "-empty" // the local store is lost
	r = l.start()
	if next := r.enqueue(t, "c"); next != seq+2 {
		t.Errorf("sequence %d with an empty local store, want %d", next, seq+2)
	}
	check(t, r.stop())
}

// TestAbortFreesTheNumber: what was not committed leaves no gap.
func TestAbortFreesTheNumber(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.open()
	lane, err := r.p.Lane(folder)
	check(t, err)
	tx := lane.Begin()
	tx.Abort()
	if seq := r.enqueue(t, "a"); seq != 1 {
		t.Errorf("sequence %d after an abort, want 1", seq)
	}
	check(t, r.stop())
}

// TestFenced: a later session of the same identity ends this run, however it is
// found out.
func TestFenced(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.start()
	r.outcome(t, r.enqueue(t, "a"))
	l.must(meta.Envelope{Node: self, Session: id.Session{7}}, meta.Session{})
	r.enqueue(t, "b")
	// Nobody cancels it: the run ends by itself.
	if err := r.ended(); !errors.Is(err, ErrFenced) {
		t.Errorf("the run ended with %v, want ErrFenced", err)
	}
}

// A node whose membership ends loses its session, which is no later one of a copy.
func TestRemovedIsNotFenced(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	other := id.Node{9}
	r := l.start()
	r.outcome(t, r.enqueue(t, "a"))
	secret := id.Digest{1}
	for _, cmd := range []meta.Command{
		meta.InviteCmd{Op: meta.InviteAdd, Hash: secret},
		meta.NodeCmd{Op: meta.NodeAdmit, Invite: secret, Record: meta.NodeRecord{ID: other, Name: "other"}},
		meta.NodeCmd{Op: meta.NodeRemove, Record: meta.NodeRecord{ID: self}},
	} {
		if _, err := r.p.Do(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	r.enqueue(t, "b") // the guard may not have seen this run's session before it went
	for !r.p.NotMember() {
		time.Sleep(time.Millisecond)
	}
	if err := r.stop(); err != nil {
		t.Errorf("the run ended with %v", err)
	}
}

// TestGapIsNoAnswer: an entry that the state machine refuses for a gap stays on its way.
func TestGapIsNoAnswer(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]error{
		meta.ReasonGap: errNotTaken, meta.ReasonNotMember: errNotTaken, meta.ReasonFenced: ErrFenced,
		meta.ReasonForgotten: nil, meta.ReasonReused: nil, "unknown or removed folder": nil,
	} {
		if err := refusal(meta.Outcome{Kind: meta.Refused, Reason: reason}); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v, want %v", reason, err, want)
		}
	}
	if err := refusal(meta.Outcome{Kind: meta.Accepted}); err != nil {
		t.Error(err)
	}
}

// TestDo: a command of the cluster's lane leaves the queue by itself.
func TestDo(t *testing.T) {
	t.Parallel()
	l := newLeader(t)
	r := l.start()
	for _, name := range []string{"one", "two"} {
		out, err := r.p.Do(context.Background(), meta.FolderCmd{Op: meta.FolderCreate, ID: id.NewFolder(), Name: name})
		if err != nil || out.Kind != meta.Accepted {
			t.Fatalf("%s: %+v %v", name, out, err)
		}
	}
	check(t, r.stop())
}
