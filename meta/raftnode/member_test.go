package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func nodes(ns ...byte) (out []id.Node) {
	for _, n := range ns {
		out = append(out, id.Node{n})
	}
	return out
}

func TestPlan(t *testing.T) {
	t.Parallel()
	auto := func(ns ...byte) map[id.Node]meta.Role {
		m := map[id.Node]meta.Role{}
		for _, n := range ns {
			m[id.Node{n}] = meta.RoleAuto
		}
		return m
	}
	servers := func(voters, learners []byte) map[id.Node]bool {
		m := map[id.Node]bool{}
		for _, n := range voters {
			m[id.Node{n}] = true
		}
		for _, n := range learners {
			m[id.Node{n}] = false
		}
		return m
	}
	stable := func(ns ...byte) map[id.Node]bool { return servers(ns, nil) }
	with := func(m map[id.Node]meta.Role, n byte, r meta.Role) map[id.Node]meta.Role {
		m[id.Node{n}] = r
		return m
	}
	for _, x := range []struct {
		name string
		s    situation
		want step
	}{
		{"nothing applied yet", situation{Servers: servers([]byte{1}, nil)}, step{}},
		{"alone", situation{Servers: servers([]byte{1}, nil), Members: auto(1)}, step{}},
		{"admitted", situation{Servers: servers([]byte{1}, nil), Members: auto(1, 2)}, step{stepAdd, id.Node{2}}},
		{"two stay one voter", situation{Servers: servers([]byte{1}, []byte{2}), Members: auto(1, 2), Stable: stable(2)}, step{}},
		{"third not stable", situation{Servers: servers([]byte{1}, []byte{2, 3}), Members: auto(1, 2, 3), Stable: stable(2)}, step{}},
		{"third stable", situation{Servers: servers([]byte{1}, []byte{2, 3}), Members: auto(1, 2, 3), Stable: stable(2, 3)}, step{stepPromote, id.Node{2}}},
		{"on the way to three", situation{Servers: servers([]byte{1, 2}, []byte{3}), Members: auto(1, 2, 3), Stable: stable(2, 3)}, step{stepPromote, id.Node{3}}},
		{"third went away on the way", situation{Servers: servers([]byte{1, 2}, []byte{3}), Members: auto(1, 2, 3), Stable: stable(2)}, step{stepDemote, id.Node{2}}},
		{"voter offline keeps its vote", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: auto(1, 2, 3), Stable: stable(2)}, step{}},
		{"four stay three", situation{Servers: servers([]byte{1, 2, 3}, []byte{4}), Members: auto(1, 2, 3, 4), Stable: stable(2, 3, 4)}, step{}},
		{"five", situation{Servers: servers([]byte{1, 2, 3}, []byte{4, 5}), Members: auto(1, 2, 3, 4, 5), Stable: stable(2, 3, 4, 5)}, step{stepPromote, id.Node{4}}},
		{"five with one voter offline", situation{Servers: servers([]byte{1, 2, 3}, []byte{4, 5}), Members: auto(1, 2, 3, 4, 5), Stable: stable(2, 4, 5)}, step{}},
		{"never more than five", situation{Servers: servers([]byte{1, 2, 3, 4, 5}, []byte{6, 7}), Members: auto(1, 2, 3, 4, 5, 6, 7), Stable: stable(2, 3, 4, 5, 6, 7)}, step{}},
		{"learner by role", situation{Servers: servers([]byte{1}, []byte{2, 3}), Members: with(auto(1, 2, 3), 3, meta.RoleLearner), Stable: stable(2, 3)}, step{}},
		{"voter by role first", situation{Servers: servers([]byte{1}, []byte{2, 3}), Members: with(auto(1, 2, 3), 3, meta.RoleVoter), Stable: stable(2, 3)}, step{stepPromote, id.Node{3}}},
		{"removed learner", situation{Servers: servers([]byte{1}, []byte{2}), Members: auto(1)}, step{stepRemove, id.Node{2}}},
		{"removed voter", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: auto(1, 2), Stable: stable(2)}, step{stepRemove, id.Node{3}}},
		{"removed voter is replaced first", situation{Servers: servers([]byte{1, 2, 3}, []byte{4}), Members: auto(1, 2, 4), Stable: stable(2, 4)}, step{stepPromote, id.Node{4}}},
		// Two voters of which one is offline could commit nothing any more.
		{"removed voter leaves after one that is offline", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: auto(1, 2)}, step{stepDemote, id.Node{2}}},
		{"removed voter, another has just come", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: auto(1, 2), Online: stable(2)}, step{stepRemove, id.Node{3}}},
		{"removed voter, two of four are offline", situation{Servers: servers([]byte{1, 2, 3, 4, 5}, nil), Members: auto(1, 2, 3, 4), Stable: stable(2)}, step{stepDemote, id.Node{3}}},
		{"removed voter, one of four is offline", situation{Servers: servers([]byte{1, 2, 3, 4, 5}, nil), Members: auto(1, 2, 3, 4), Stable: stable(2, 3)}, step{stepRemove, id.Node{5}}},
		{"voter became learner", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: with(auto(1, 2, 3), 2, meta.RoleLearner), Stable: stable(2, 3)}, step{stepDemote, id.Node{2}}},
		{"removed leader hands over", situation{Servers: servers([]byte{1, 2, 3}, nil), Members: auto(2, 3), Stable: stable(2, 3)}, step{stepTransfer, id.Node{2}}},
		{"removed sole voter calls a successor", situation{Servers: servers([]byte{1}, []byte{2}), Members: auto(2), Stable: stable(2)}, step{stepPromote, id.Node{2}}},
		{"removed sole voter without successor stays", situation{Servers: servers([]byte{1}, []byte{2}), Members: auto(2)}, step{}},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.s.Self = id.Node{1}
			if got := plan(x.s); got != x.want {
				t.Errorf("plan = %v %s, want %v %s", got.Kind, got.Node.Short(), x.want.Kind, x.want.Node.Short())
			}
		})
	}
}

// TestPlanComesToRest: from any situation the plan ends after a bounded number of
// steps, with an odd number of voters where the stable nodes allow one, never
// without a voter, and self never demoted or removed by itself.
func TestPlanComesToRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := situation{Self: id.Node{1}, Servers: map[id.Node]bool{{1}: true}, Members: map[id.Node]meta.Role{}, Stable: map[id.Node]bool{}, Online: map[id.Node]bool{}}
		for n := byte(1); n <= 8; n++ {
			node := id.Node{n}
			if rapid.Bool().Draw(t, "member") {
				s.Members[node] = meta.Role(rapid.IntRange(0, 2).Draw(t, "role"))
			}
			if n > 1 && rapid.Bool().Draw(t, "server") {
				s.Servers[node] = rapid.Bool().Draw(t, "voter")
			}
			s.Stable[node] = rapid.Bool().Draw(t, "stable")
			s.Online[node] = s.Stable[node] || rapid.Bool().Draw(t, "online")
		}
		for range 40 {
			quorum := s.quorum()
			next := plan(s)
			switch next.Kind {
			case stepNone, stepTransfer:
				keepers := 0
				for n, voter := range s.Servers {
					if r, ok := s.Members[n]; voter && ok && r != meta.RoleLearner {
						keepers++
					}
				}
				// A leader that was removed waits for a stable heir.
				r, member := s.Members[s.Self]
				leaving := !member || r == meta.RoleLearner
				if next.Kind == stepNone && !leaving && keepers%2 == 0 {
					t.Fatalf("at rest with %d voters", keepers)
				}
				return
			case stepAdd:
				s.Servers[next.Node] = false
			case stepRemove:
				delete(s.Servers, next.Node)
			case stepPromote:
				s.Servers[next.Node] = true
			case stepDemote:
				s.Servers[next.Node] = false
			}
			if (next.Kind == stepDemote || next.Kind == stepRemove) && next.Node == s.Self {
				t.Fatalf("self: %v", next.Kind)
			}
			voters := 0
			for _, v := range s.Servers {
				if v {
					voters++
				}
			}
			if voters == 0 {
				t.Fatal("no voter left")
			}
			if quorum && !s.quorum() {
				t.Fatalf("%v of %s: the voters left online are no quorum", next.Kind, next.Node.Short())
			}
		}
		t.Fatal("does not come to rest")
	})
}

func TestDepart(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name           string
		voters, online []byte
		want           departure
	}{
		{"sole voter", []byte{1}, []byte{2}, departure{}},
		{"no voter", []byte{2}, []byte{2}, departure{}},
		{"all online", []byte{1, 2, 3}, []byte{2, 3}, departure{Heir: id.Node{2}}},
		{"one offline", []byte{1, 2, 3}, []byte{2}, departure{Heir: id.Node{2}, Demote: nodes(3, 1)}},
		{"alone", []byte{1, 2, 3}, nil, departure{}},
		{"five, one offline", []byte{1, 2, 3, 4, 5}, []byte{2, 3, 4}, departure{Heir: id.Node{2}}},
		{"five, two offline", []byte{1, 2, 3, 4, 5}, []byte{4, 5}, departure{Heir: id.Node{4}, Demote: nodes(2, 3, 5, 1)}},
		{"five, no quorum", []byte{1, 2, 3, 4, 5}, []byte{5}, departure{}},
		{"two, in transition", []byte{1, 2}, []byte{2}, departure{Heir: id.Node{2}, Demote: nodes(1)}},
	} {
		t.Run(x.name, func(t *testing.T) {
			on := nodes(x.online...)
			got := depart(id.Node{1}, nodes(x.voters...), func(n id.Node) bool { return slices.Contains(on, n) })
			if got.Heir != x.want.Heir || !slices.Equal(got.Demote, x.want.Demote) {
				t.Errorf("depart = %+v, want %+v", got, x.want)
			}
		})
	}
}

// TestGrowth: one, two and three nodes are one, one and three voters; five are five.
func TestGrowth(t *testing.T) {
	bubble(t, 5, Timings{}, func(t *testing.T, c *cluster) {
		c.startAll()
		a := c.author(1)
		c.admit(a, c.hosts[:2]...)
		time.Sleep(20 * time.Second)
		if v, l := c.voters(); len(v) != 1 || len(l) != 1 {
			t.Errorf("two nodes: %d voters, %d learners, want 1 and 1", len(v), len(l))
		}
		begin := time.Now()
		c.admit(a, c.hosts[2])
		c.wantVoters(3)
		if d := time.Since(begin); d < 3*time.Second || d > 6*time.Second {
			t.Errorf("three voters after %v, want a little over the stable time", d)
		}
		c.admit(a, c.hosts[3])
		time.Sleep(20 * time.Second)
		if v, _ := c.voters(); len(v) != 3 {
			t.Errorf("four nodes: %d voters, want 3", len(v))
		}
		c.admit(a, c.hosts[4])
		c.wantVoters(5)
	})
}

func TestRemovedNodeLeavesTheGroup(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		a := grown(t, c)
		l := c.leader()
		c.propose(a, memberBody(l.id, meta.RoleAuto, true))
		c.eventually("the removed leader is out", func() bool {
			v, learners := c.voters()
			return len(v) == 1 && len(learners) == 1 && !slices.Contains(append(v, learners...), l.id)
		})
		c.propose(a, textBody("after", 1))
	})
}

// A node that was killed counts as online for some seconds more. No vote is given to
// it then, nor taken from another so that commits need it.
func TestKilledAndNotMissedYet(t *testing.T) {
	t.Run("a voter is removed", func(t *testing.T) {
		bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
			a := grown(t, c)
			l := c.leader()
			var others []*host
			for _, h := range c.hosts {
				if h != l {
					others = append(others, h)
				}
			}
			c.unmissed(others[0].id, true)
			c.crash(others[0])
			c.propose(a, memberBody(others[1].id, meta.RoleAuto, true))
			c.propose(a, textBody("after", 1))
			time.Sleep(10 * time.Second) // of the bubble's time: long enough for the step
			c.propose(a, textBody("long after", 1))
		})
	})
	t.Run("a vote is due", func(t *testing.T) {
		bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
			c.startAll()
			a := c.author(1)
			c.admit(a, c.hosts[1], c.hosts[2])
			c.unmissed(c.hosts[1].id, true)
			c.crash(c.hosts[1])
			time.Sleep(10 * time.Second)
			c.propose(a, textBody("after", 1))
		})
	})
}

// TestCleanShutdown: nodes leave one after the other; those left can always commit,
// at once, down to the last; then all come back and three vote again.
func TestCleanShutdown(t *testing.T) {
	for _, leaderFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("leader first ", leaderFirst), func(t *testing.T) {
			bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
				a := grown(t, c)
				want := texts("x", 6)
				next := 0
				commit := func() {
					t.Helper()
					begin := time.Now()
					c.propose(a, textBody(want[next], 1))
					next++
					if d := time.Since(begin); d > time.Second {
						t.Errorf("commit %d took %v after a clean shutdown", next, d)
					}
				}
				commit()
				for range 2 {
					var go1 *host
					for _, h := range c.hosts {
						if h.node != nil && h.node.IsLeader() == leaderFirst {
							go1 = h
						}
					}
					c.shutdown(go1)
					commit()
				}
				if v, _ := c.voters(); len(v) != 1 {
					t.Errorf("%d voters with one node left, want 1", len(v))
				}
				for _, h := range c.hosts {
					if h.node == nil {
						c.start(h)
					}
				}
				c.wantVoters(3)
				for next < len(want) {
					commit()
				}
				c.agreeContent(want)
			})
		})
	}
}

// TestStatusNamesWhoIsNeeded: without a quorum, status lists the offline voters.
func TestStatusNamesWhoIsNeeded(t *testing.T) {
	bubble(t, 3, Timings{}, func(t *testing.T, c *cluster) {
		grown(t, c)
		c.crash(c.hosts[1])
		c.crash(c.hosts[2])
		h := c.hosts[0]
		c.eventually("the quorum's loss is noticed", func() bool { return !h.node.Status().HasQuorum })
		if got := h.node.Status().Missing; !slices.Equal(got, nodes(2, 3)) {
			t.Errorf("missing %v, want nodes 2 and 3", got)
		}
	})
}

// TestShutdownEndsWithItsContext: a change of the membership that is under way may
// take its ten seconds; who shuts down said how long to wait.
func TestShutdownEndsWithItsContext(t *testing.T) {
	bubble(t, 1, Timings{}, func(t *testing.T, c *cluster) {
		h := c.hosts[0]
		c.start(h)
		c.leader()
		h.node.change <- struct{}{}
		time.AfterFunc(stepTimeout, func() { <-h.node.change })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := h.node.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want what was not done", err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("Shutdown took %v, was given a second", d)
		}
	})
}

// quorum reports whether the voters that can be reached are one.
func (s situation) quorum() bool {
	voters, up := 0, 0
	for n, voter := range s.Servers {
		if voter {
			voters++
			if s.online(n) {
				up++
			}
		}
	}
	return 2*up > voters
}
