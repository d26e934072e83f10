package raftnode

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/store"
)

// fakeMachine is a small state machine with the contract of the real one: gap-free
// sequences, stored outcomes, sessions, members; all of it in the store with the
// applied index in the same batch.
type fakeMachine struct {
	st      *store.Store
	applied atomic.Uint64
	fail    atomic.Bool

	mu       sync.Mutex
	watchers map[chan struct{}]bool
	results  map[uint64]meta.Outcome
}

// fakeEntry is a log entry of the fake.
type fakeEntry struct {
	Env    meta.Envelope
	Hash   id.Digest
	Part   int
	Parts  int
	Text   string
	Member *id.Node
	Role   meta.Role
	Remove bool
	Time   time.Time
}

type fakeLane struct {
	Lane  meta.Lane
	Parts int // parts seen of Last+1
}

func newFake(st *store.Store) (*fakeMachine, error) {
	m := &fakeMachine{st: st, watchers: map[chan struct{}]bool{}, results: map[uint64]meta.Outcome{}}
	return m, m.Reload()
}

func (m *fakeMachine) AppliedIndex() uint64 { return m.applied.Load() }

func (m *fakeMachine) Reload() error {
	db, release := m.st.Acquire()
	defer release()
	v, ok, err := db.Get([]byte("applied"))
	if err != nil {
		return err
	}
	m.applied.Store(0)
	if ok {
		m.applied.Store(binary.BigEndian.Uint64(v))
	}
	m.notify()
	return nil
}

func (m *fakeMachine) notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ch := range m.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (m *fakeMachine) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	m.watchers[ch] = true
	m.mu.Unlock()
	return ch, func() {
		m.mu.Lock()
		delete(m.watchers, ch)
		m.mu.Unlock()
	}
}

func laneKey(n id.Node, f id.Folder) []byte { return fmt.Appendf(nil, "lane/%s/%s", n, f) }

func (m *fakeMachine) ApplyBatch(entries []meta.IndexedEntry) error {
	db, release := m.st.Acquire()
	defer release()
	b := db.NewReadBatch()
	last := m.applied.Load()
	for _, e := range entries {
		if e.Index <= last {
			return fmt.Errorf("entry %d after %d", e.Index, last)
		}
		last = e.Index
		if len(e.Data) == 0 {
			continue
		}
		if m.fail.Load() {
			b.Discard()
			return fmt.Errorf("unknown command at %d", e.Index)
		}
		if err := m.applyFake(b, e); err != nil {
			b.Discard()
			return err
		}
	}
	b.Set([]byte("applied"), binary.BigEndian.AppendUint64(nil, last))
	if err := b.Commit(false); err != nil {
		return err
	}
	m.applied.Store(last)
	m.notify()
	return nil
}

func (m *fakeMachine) applyFake(b *kv.Batch, e meta.IndexedEntry) error {
	var f fakeEntry
	if err := json.Unmarshal(e.Data, &f); err != nil {
		return err
	}
	var lane fakeLane
	key := laneKey(f.Env.Node, f.Env.Lane)
	if v, ok, err := b.Get(key); err != nil {
		return err
	} else if ok {
		if err := json.Unmarshal(v, &lane); err != nil {
			return err
		}
	}
	ended := meta.Outcome{Sequence: f.Env.Sequence, Entry: f.Hash, Kind: meta.Accepted, Revision: id.Revision(e.Index)}
	switch {
	case f.Env.Sequence == 0:
		lane = fakeLane{Lane: meta.Lane{Session: f.Env.Session, Last: lane.Lane.Last}}
	case lane.Lane.Session != f.Env.Session:
		ended.Kind, ended.Reason = meta.Refused, meta.ReasonFenced
	case f.Env.Sequence > lane.Lane.Last+1:
		ended.Kind, ended.Reason = meta.Refused, meta.ReasonGap
	case f.Env.Sequence <= lane.Lane.Last:
		ended = meta.Outcome{Kind: meta.Refused, Reason: meta.ReasonReused}
		if v, ok, err := b.Get(outKey(f.Env)); err != nil {
			return err
		} else if ok {
			var had meta.Outcome
			if err := json.Unmarshal(v, &had); err != nil {
				return err
			}
			if had.Entry == f.Hash {
				ended = had
			}
		}
	case f.Part > lane.Parts:
		return nil // a part is missing
	case f.Part < f.Parts-1:
		lane.Parts = f.Part + 1
	default:
		lane.Lane.Last, lane.Parts = f.Env.Sequence, 0
		out, _ := json.Marshal(ended)
		b.Set(outKey(f.Env), out)
		b.Set(fmt.Appendf(nil, "text/%020d", e.Index), []byte(f.Text))
	}
	if f.Part == f.Parts-1 {
		m.mu.Lock()
		m.results[e.Index] = ended
		m.mu.Unlock()
	}
	if ended.Kind == meta.Refused {
		return nil
	}
	if f.Member != nil {
		k := []byte("member/" + f.Member.String())
		if f.Remove {
			b.Delete(k)
		} else {
			b.Set(k, []byte{byte(f.Role)})
		}
	}
	v, _ := json.Marshal(lane)
	b.Set(key, v)
	return nil
}

func (m *fakeMachine) Result(index uint64) (meta.Outcome, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, ok := m.results[index]
	return out, ok
}

func outKey(env meta.Envelope) []byte {
	return fmt.Appendf(nil, "out/%s/%s/%d", env.Node, env.Lane, env.Sequence)
}

func (m *fakeMachine) Outcome(env meta.Envelope) (out meta.Outcome, ok bool, err error) {
	db, release := m.st.Acquire()
	defer release()
	v, ok, err := db.Get(outKey(env))
	if err == nil && ok {
		err = json.Unmarshal(v, &out)
	}
	return out, ok, err
}

func (m *fakeMachine) Members() (map[id.Node]meta.Role, error) {
	out := map[id.Node]meta.Role{}
	err := m.scan("member/", func(k string, v []byte) error {
		n, err := id.ParseNode(k)
		out[n] = meta.Role(v[0])
		return err
	})
	return out, err
}

// texts returns what was committed, in order: the replicated content.
func (m *fakeMachine) texts() []string {
	var out []string
	if err := m.scan("text/", func(_ string, v []byte) error { out = append(out, string(v)); return nil }); err != nil {
		panic(err)
	}
	return out
}

func (m *fakeMachine) scan(prefix string, fn func(key string, value []byte) error) error {
	db, release := m.st.Acquire()
	defer release()
	it, err := db.Iter([]byte(prefix), kv.PrefixEnd([]byte(prefix)))
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Next() {
		if err := fn(string(it.Key()[len(prefix):]), it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// LogEntries makes one entry a part; a body's first part is the fakeEntry.
func (m *fakeMachine) LogEntries(env meta.Envelope, body meta.Body, now time.Time) ([][]byte, error) {
	var out [][]byte
	for i, p := range body.Parts {
		var f fakeEntry
		if err := json.Unmarshal(p, &f); err != nil {
			return nil, err
		}
		f.Env, f.Hash, f.Part, f.Parts, f.Time = env, body.Hash, i, len(body.Parts), now
		b, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// textBody is a proposal that commits a text, in parts parts.
func textBody(text string, parts int) meta.Body {
	var b meta.Body
	for range parts {
		p, _ := json.Marshal(fakeEntry{Text: text})
		b.Parts = append(b.Parts, p)
	}
	b.Hash = id.Sum([]byte(text))
	return b
}

func memberBody(n id.Node, r meta.Role, remove bool) meta.Body {
	p, _ := json.Marshal(fakeEntry{Member: &n, Role: r, Remove: remove})
	return meta.Body{Parts: [][]byte{p}, Hash: id.Sum(p)}
}
