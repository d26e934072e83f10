package peers

import (
	"errors"
	"reflect"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func proposal(t *testing.T, from *node) (meta.Envelope, meta.Body) {
	t.Helper()
	body, err := meta.EncodeCommand(meta.RollbackCmd{Folder: id.Folder{4}, Target: 5})
	if err != nil {
		t.Fatal(err)
	}
	return meta.Envelope{Node: from.id(), Session: id.Session{2}, Lane: id.Folder{4}, Sequence: 9}, body
}

func answers(out meta.Outcome, leader id.Node, err error) func(id.Node, meta.Envelope, meta.Body) (meta.Outcome, id.Node, error) {
	return func(id.Node, meta.Envelope, meta.Body) (meta.Outcome, id.Node, error) { return out, leader, err }
}

func TestPropose(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b, c := start(t, m), start(t, m), start(t, m)
	env, body := proposal(t, a)
	want := meta.Outcome{Sequence: 9, Entry: body.Hash, Kind: meta.Accepted, Revision: 3, Changes: []meta.ChangeOutcome{{Proposed: "\xff", Kind: meta.Copied, Path: "b"}}}

	b.back.onPropose(answers(meta.Outcome{}, c.id(), ErrNotLeader))
	c.back.onPropose(func(from id.Node, e meta.Envelope, got meta.Body) (meta.Outcome, id.Node, error) {
		if from != a.id() || e != env || !reflect.DeepEqual(got, body) {
			t.Errorf("leader sees %v, %+v", from, e)
		}
		return want, id.Node{}, nil
	})
	out, leader, err := a.Propose(t.Context(), b.id(), env, body)
	if err != nil || leader != c.id() || !reflect.DeepEqual(out, want) {
		t.Errorf("redirected: %+v, %s, %v", out, leader.Short(), err)
	}
	if tr := a.Traffic(env.Lane); tr.Sent == 0 || tr.Received == 0 {
		t.Errorf("traffic %+v", tr)
	}

	t.Run("hints in a circle end", func(t *testing.T) {
		c.back.onPropose(answers(meta.Outcome{}, b.id(), ErrNotLeader))
		if _, _, err := a.Propose(t.Context(), b.id(), env, body); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no leader known", func(t *testing.T) {
		c.back.onPropose(answers(meta.Outcome{}, id.Node{}, ErrNotLeader))
		if _, leader, err := a.Propose(t.Context(), b.id(), env, body); !errors.Is(err, ErrNotLeader) || !leader.IsZero() {
			t.Errorf("got %v, %v", leader, err)
		}
	})
	t.Run("hint to oneself", func(t *testing.T) {
		c.back.onPropose(answers(meta.Outcome{}, a.id(), ErrNotLeader))
		if _, leader, err := a.Propose(t.Context(), b.id(), env, body); !errors.Is(err, ErrSelf) || leader != a.id() {
			t.Errorf("got %v, %v", leader, err)
		}
	})
	t.Run("hint to no member", func(t *testing.T) {
		c.back.onPropose(answers(meta.Outcome{}, id.Node{5}, ErrNotLeader))
		if _, _, err := a.Propose(t.Context(), b.id(), env, body); err == nil {
			t.Error("no error")
		}
	})
	t.Run("leader fails", func(t *testing.T) {
		c.back.onPropose(answers(meta.Outcome{}, id.Node{}, errors.New("leadership lost")))
		if _, _, err := a.Propose(t.Context(), c.id(), env, body); !errors.Is(err, ErrProposal) || errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("leader is gone", func(t *testing.T) {
		c.stop()
		if _, _, err := a.Propose(t.Context(), c.id(), env, body); err == nil || errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v", err)
		}
	})
}

// A member cannot propose in another's name.
func TestProposeForAnother(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b := start(t, m), start(t, m)
	b.back.onPropose(func(id.Node, meta.Envelope, meta.Body) (meta.Outcome, id.Node, error) {
		t.Error("Propose was called")
		return meta.Outcome{}, id.Node{}, nil
	})
	env, body := proposal(t, b)
	if _, _, err := a.Propose(t.Context(), b.id(), env, body); err == nil {
		t.Error("own side let it through")
	}
	if _, err := a.callBytes(t.Context(), b.id(), proposePath, encodeProposal(env, body)); !errors.Is(err, ErrStatus) {
		t.Errorf("other side: %v", err)
	}
}
