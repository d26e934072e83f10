package raftnode

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func TestSoleVoterStandsAtOnceAndRestarts(t *testing.T) {
	bubble(t, 1, Timings{}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		for round := range 3 {
			begin := time.Now()
			c.start(h)
			for !h.node.IsLeader() {
				time.Sleep(time.Millisecond)
			}
			if d := time.Since(begin); d > 50*time.Millisecond {
				t.Errorf("round %d: leader after %v, want at once", round, d)
			}
			a := c.author(byte(10 + round))
			for _, s := range texts("x", 5) {
				c.propose(a, textBody(s, 1))
			}
			if round%2 == 0 {
				c.crash(h) // nothing was flushed: all is replayed from the log
			} else {
				c.kill(h)
			}
		}
		c.start(h)
		c.leader()
		if got := len(content(h)); got != 15 {
			t.Errorf("%d texts after three runs, want 15", got)
		}
	})
}

func TestNotLeader(t *testing.T) {
	bubble(t, 2, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		c.eventually("the learner hears of the leader", func() bool { return !c.hosts[1].node.Leader().IsZero() })
		var refused *NotLeaderError
		_, err := c.hosts[1].node.Propose(context.Background(), a.env(a.last+1), textBody("x", 1))
		if !errors.As(err, &refused) || refused.Leader != c.hosts[0].id {
			t.Errorf("Propose on a learner: %v, want the leader's name", err)
		}
	})
}

func TestThreeNodesCommitAndSurviveTheLeader(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		want := texts("x", 40)
		for i, s := range want {
			if i == 20 {
				c.crash(c.leader())
			}
			c.propose(a, textBody(s, 1+i%3))
		}
		for _, h := range c.hosts {
			if h.node == nil {
				c.start(h)
			}
		}
		c.agreeContent(want)
	})
}

// TestExactlyOnce: the leader dies after the entry is committed and before it
// answers. The author asks again under the same sequence and gets the stored
// outcome; the entry is applied once.
func TestExactlyOnce(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		l := c.leader()
		ctx, cancel := context.WithCancel(context.Background())
		answered := make(chan error, 1)
		go func() {
			_, err := l.node.Propose(ctx, a.env(a.last+1), textBody("once", 1))
			answered <- err
		}()
		c.eventually("another node applies it", func() bool {
			for _, h := range c.hosts {
				if h != l && len(content(h)) == 1 {
					return true
				}
			}
			return false
		})
		cancel()
		<-answered
		c.crash(l)
		out := c.propose(a, textBody("once", 1))
		if out.Sequence != a.last || out.Entry != textBody("once", 1).Hash {
			t.Errorf("outcome %+v is not the stored one", out)
		}
		c.start(l)
		c.agreeContent([]string{"once"})
	})
}

// TestUnknownOutcome: a leader that is cut off cannot say what became of a proposal.
func TestUnknownOutcome(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		l := c.leader()
		c.disconnect(l)
		_, err := l.node.Propose(context.Background(), a.env(a.last+1), textBody("x", 1))
		var refused *NotLeaderError
		if !errors.Is(err, ErrUnknown) && !errors.As(err, &refused) {
			t.Errorf("Propose on a leader that was cut off: %v, want ErrUnknown", err)
		}
		c.propose(a, textBody("x", 1))
		c.reconnect(l)
		c.agreeContent([]string{"x"})
	})
}

// The author hears why: the state machine's own reason.
func TestRefusalsKeepTheirReason(t *testing.T) {
	bubble(t, 1, Timings{}, func(t *testing.T, c *cluster) {
		c.startAll()
		a := c.author(1)
		ctx := context.Background()
		l := c.leader()
		refused := func(s id.Sequence, text, reason string) {
			t.Helper()
			out, err := l.node.Propose(ctx, a.env(s), textBody(text, 1))
			if err != nil || out.Kind != meta.Refused || out.Reason != reason {
				t.Errorf("sequence %d: %+v, %v, want the refusal %q", s, out, err, reason)
			}
		}
		refused(5, "x", meta.ReasonGap)
		c.propose(a, textBody("one", 1))
		refused(1, "other", meta.ReasonReused)
		b := c.author(1) // the same node's next session
		b.last = a.last
		refused(2, "x", meta.ReasonFenced)
		c.propose(b, textBody("two", 1))
		c.agreeContent([]string{"one", "two"})
	})
}

// TestReplayAfterCrashWithoutFlush drops everything that the store had not flushed,
// on all nodes at once: the log replays it.
func TestReplayAfterCrashWithoutFlush(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		want := texts("x", 30)
		for i, s := range want {
			if i == 10 {
				for _, h := range c.hosts {
					if err := h.node.Snapshot(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.propose(a, textBody(s, 1))
		}
		c.agreeContent(want)
		for _, h := range c.hosts {
			c.crash(h)
		}
		for _, h := range c.hosts {
			if err := c.open(h); err != nil {
				t.Fatal(err)
			}
			if got := len(content(h)); got >= 30 {
				t.Errorf("the crash lost nothing: the test shows nothing")
			}
			if err := errors.Join(h.node.Close(), h.store.Close()); err != nil {
				t.Fatal(err)
			}
			h.node = nil
		}
		c.startAll()
		c.agreeContent(want)
	})
}

// TestKnownCommitsNeedNoLeader: what a node knew to be committed is in its state
// right after a crash that lost everything unflushed, with nobody else there; and
// the rest comes when the others are back.
func TestKnownCommitsNeedNoLeader(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		want := texts("x", 100) // several batches
		for _, s := range want {
			c.propose(a, textBody(s, 1))
		}
		c.agreeContent(want)
		h := c.hosts[2]
		known := h.m.AppliedIndex()
		for _, h := range c.hosts {
			c.crash(h)
		}
		for _, committed := range []uint64{0, known / 2, known, known + 1000} {
			h.committed = committed
			if err := c.open(h); err != nil {
				t.Fatal(err)
			}
			got, at := len(content(h)), h.m.AppliedIndex()
			if committed >= known && got != len(want) || committed == 0 && got >= len(want) || committed == known/2 && at < committed {
				t.Errorf("known %d of %d: %d of %d texts, applied %d", committed, known, got, len(want), at)
			}
			if err := h.node.Close(); err != nil {
				t.Fatal(err)
			}
			h.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
			_ = h.store.Close()
			h.node = nil
		}
		c.startAll()
		c.agreeContent(want)
	})
}

// TestNudge: a follower learns of a commit within a few milliseconds of virtual
// time although CommitTimeout is a second, and the nudge stops by itself.
func TestNudge(t *testing.T) {
	for _, nudge := range []time.Duration{0, -1} {
		bubble(t, 3, Timings{Nudge: nudge}, func(t *testing.T, c *cluster) {
			a := grown(t, c)
			time.Sleep(5 * time.Second)
			l := c.leader()
			time.Sleep(5 * time.Second)
			before := l.node.Status().LastIndex
			begin := time.Now()
			if _, err := l.node.Propose(context.Background(), a.env(a.last+1), textBody("x", 1)); err != nil {
				t.Fatal(err)
			}
			for _, h := range c.hosts {
				for len(content(h)) == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
			late := time.Since(begin)
			if nudge == 0 && late > 5*time.Millisecond {
				t.Errorf("followers heard after %v, want a few ms", late)
			}
			if nudge < 0 && late < 50*time.Millisecond {
				t.Errorf("without the nudge followers heard after %v: the test shows nothing", late)
			}
			time.Sleep(time.Second)
			index := l.node.Status().LastIndex
			if index != before+1 {
				t.Errorf("a change made %d log entries, want 1", index-before)
			}
			time.Sleep(time.Minute)
			if again := l.node.Status().LastIndex; again != index {
				t.Errorf("an idle cluster appended %d entries", again-index)
			}
		})
	}
}

// TestNudgeBehindAnEmptyEntry: an empty entry that was appended while a commit was in
// flight tells nobody of that commit, whether the two are applied together or not.
func TestNudgeBehindAnEmptyEntry(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		l := c.leader()
		time.Sleep(5 * time.Second)
		entries, err := l.node.m.LogEntries(a.env(a.last+1), textBody("x", 1), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := l.node.append(context.Background(), entries[0], false); err != nil {
			t.Fatal(err)
		}
		l.node.appendEmpty()
		for _, h := range c.hosts {
			for len(content(h)) == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
		if late := time.Since(begin); late > 10*time.Millisecond {
			t.Errorf("followers heard after %v, want a few ms", late)
		}
	})
}

func TestNudging(t *testing.T) {
	type step struct {
		wanted, last, applied uint64 // what a batch brought; the log and what is applied when the time has come
		arm, due              bool
	}
	for name, steps := range map[string][]step{
		"one commit":            {{5, 5, 5, true, true}, {0, 6, 6, false, false}},
		"an empty one with it":  {{5, 6, 6, true, true}, {0, 7, 7, false, false}},
		"an empty one after it": {{5, 6, 5, true, false}, {0, 6, 6, true, true}, {0, 7, 7, false, false}},
		"a commit after it":     {{5, 6, 5, true, false}, {6, 6, 6, true, true}, {0, 7, 7, false, false}},
		"one behind the nudge":  {{5, 5, 5, true, true}, {7, 7, 7, true, true}, {0, 8, 8, false, false}},
		"none":                  {{0, 5, 5, false, false}},
	} {
		var n nudging
		for i, s := range steps {
			if arm := n.applied(s.wanted); arm != s.arm {
				t.Errorf("%s: step %d: armed %v", name, i, arm)
			}
			if due := n.due(s.last, s.applied); due != s.due {
				t.Errorf("%s: step %d: due %v", name, i, due)
			}
		}
	}
}

func TestBarrierAndAppliedReached(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		c.propose(a, textBody("x", 1))
		l := c.leader()
		index := l.node.AppliedIndex()
		for _, h := range c.hosts {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := h.node.AppliedReached(ctx, index); err != nil {
				t.Error(err)
			}
			cancel()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := l.node.AppliedReached(ctx, index+100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("AppliedReached of a future index: %v, want the deadline", err)
		}
	})
}

// TestMachineFailureStopsTheNode: an entry that the machine cannot apply stops the
// node with the machine's error; nothing after it is applied.
func TestMachineFailureStopsTheNode(t *testing.T) {
	bubble(t, 1, Timings{}, func(t *testing.T, c *cluster) {
		c.startAll()
		a := c.author(1)
		h := c.hosts[0]
		h.m.fail.Store(true)
		before := h.m.AppliedIndex()
		if _, err := h.node.Propose(context.Background(), a.env(1), textBody("x", 1)); !errors.Is(err, ErrUnknown) {
			t.Errorf("Propose: %v, want ErrUnknown", err)
		}
		if err := <-h.ran; err == nil {
			t.Error("Run returned nil after the machine failed")
		}
		if got := h.m.AppliedIndex(); got != before {
			t.Errorf("applied %d after the failure at %d", got, before+1)
		}
		h.ran <- nil // for kill
	})
}
