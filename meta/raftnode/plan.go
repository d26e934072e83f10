package raftnode

import (
	"cmp"
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// maxVoters is how many vote at most: five survive the loss of two, and each more
// makes every commit wait for one more disk.
const maxVoters = 5

// stepKind is a change of the membership.
type stepKind uint8

const (
	stepNone stepKind = iota
	stepAdd
	stepRemove
	stepPromote
	stepDemote
	stepTransfer
)

// String returns the word for logs.
func (k stepKind) String() string {
	return [...]string{"none", "add learner", "remove", "promote", "demote", "transfer leadership"}[k]
}

// step is one change, committed before the next is planned.
type step struct {
	Kind stepKind
	Node id.Node
}

// situation is what the leader plans from.
type situation struct {
	Self id.Node
	// Servers are raft's, true for a voter.
	Servers map[id.Node]bool
	// Members are the cluster's by the metadata.
	Members map[id.Node]meta.Role
	// Stable are those online for long enough, and caught up; Self counts always.
	Stable map[id.Node]bool
	// Online are those that can be reached now; Self and the stable count always.
	Online map[id.Node]bool
}

// plan returns the next change: a pure function. Voters are 1, 3 or 5 at rest; an
// even number exists only between two steps. A third stable node makes three
// voters, a fifth five. Nobody loses his vote for being offline: that takes a clean
// shutdown (departure) or a person.
func plan(s situation) step {
	if len(s.Members) == 0 {
		return step{} // the cluster's first commands are not applied yet
	}
	for _, n := range sortedNodes(s.Members) {
		if _, ok := s.Servers[n]; !ok {
			return step{stepAdd, n}
		}
	}
	var keepers, leavers, candidates []id.Node
	for _, n := range sortedNodes(s.Servers) {
		r, member := s.Members[n]
		voter := s.Servers[n]
		switch {
		case !voter && !member:
			return step{stepRemove, n}
		case voter && member && r != meta.RoleLearner:
			keepers = append(keepers, n)
		case voter:
			leavers = append(leavers, n)
		case r != meta.RoleLearner && s.Stable[n]:
			candidates = append(candidates, n)
		}
	}
	slices.SortStableFunc(candidates, func(a, b id.Node) int {
		return cmp.Compare(rank(s.Members[a]), rank(s.Members[b]))
	})
	return s.vote(keepers, leavers, candidates)
}

// vote plans who votes.
func (s situation) vote(keepers, leavers, candidates []id.Node) step {
	stable := len(candidates)
	for _, n := range keepers {
		if s.stable(n) {
			stable++
		}
	}
	want := max(oddUpTo(stable), oddUpTo(len(keepers)))
	switch {
	case len(keepers) < want && len(candidates) > 0:
		return step{stepPromote, candidates[0]}
	case len(keepers) > 0 && len(leavers) > 0:
		if n, ok := s.burden(keepers); ok {
			return step{stepDemote, n}
		}
		return s.leave(keepers, leavers)
	case len(keepers) > want && want > 0:
		return step{stepDemote, s.weakest(keepers)}
	}
	return step{}
}

// burden returns a voter that is offline and has to lose its vote before others leave,
// if the voters that can be reached would be no quorum of those left without it: a
// change of the voters is committed by the new ones, so this would never be, and
// nothing after it.
func (s situation) burden(keepers []id.Node) (id.Node, bool) {
	var off []id.Node
	for _, n := range keepers {
		if !s.online(n) {
			off = append(off, n)
		}
	}
	if len(off) == 0 || len(keepers)-len(off) > len(keepers)/2 {
		return id.Node{}, false
	}
	return off[0], true
}

// leave plans how a voter that should not vote goes: those that are offline first, for
// the same reason, then the others, self by handing over to a voter that stays.
func (s situation) leave(keepers, leavers []id.Node) step {
	slices.SortStableFunc(leavers, func(a, b id.Node) int {
		return cmp.Compare(b2i(s.online(a)), b2i(s.online(b)))
	})
	for _, n := range leavers {
		if n == s.Self {
			continue
		}
		if _, member := s.Members[n]; member {
			return step{stepDemote, n}
		}
		return step{stepRemove, n}
	}
	for _, n := range keepers {
		if s.stable(n) {
			return step{stepTransfer, n}
		}
	}
	return step{}
}

// weakest returns the voter to demote: never self, the unstable before the stable.
func (s situation) weakest(voters []id.Node) id.Node {
	var pick id.Node
	for _, n := range voters {
		if n == s.Self {
			continue
		}
		if pick.IsZero() || s.stable(pick) || !s.stable(n) {
			pick = n
		}
	}
	return pick
}

// changesVotes reports whether a step gives or takes a vote.
func (s situation) changesVotes(x step) bool {
	return x.Kind == stepPromote || x.Kind == stepDemote || x.Kind == stepRemove && s.Servers[x.Node]
}

func (s situation) stable(n id.Node) bool { return n == s.Self || s.Stable[n] }

func (s situation) online(n id.Node) bool { return s.stable(n) || s.Online[n] }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func rank(r meta.Role) int {
	if r == meta.RoleVoter {
		return 0
	}
	return 1
}

// oddUpTo returns the largest odd number of voters that n nodes allow: 0, 1, 3 or 5.
func oddUpTo(n int) int {
	if n <= 0 {
		return 0
	}
	return min(n-(n+1)%2, maxVoters)
}

// departure says how self leaves cleanly.
type departure struct {
	// Heir takes the leadership over; zero if nobody can.
	Heir id.Node
	// Demote lists who loses the vote, in order, self last; empty if the voters left
	// online are a quorum as they are.
	Demote []id.Node
}

// depart plans self's clean shutdown: a pure function of the voters and of who is
// online. If the voters left online are no quorum, the voters shrink to an odd
// number of online ones. Each change is committed by the voters that its own
// configuration needs, all of them online: the offline ones go first.
func depart(self id.Node, voters []id.Node, online func(id.Node) bool) departure {
	var up, down []id.Node
	votes := false
	for _, n := range slices.SortedFunc(slices.Values(voters), compareNodes) {
		switch {
		case n == self:
			votes = true
		case online(n):
			up = append(up, n)
		default:
			down = append(down, n)
		}
	}
	if !votes || len(up) == 0 {
		return departure{}
	}
	d := departure{Heir: up[0]}
	if len(up) >= len(voters)/2+1 {
		return d
	}
	if len(up)+1 < len(voters)/2+1 {
		return departure{} // no quorum even with self: nothing can be changed
	}
	keep := oddUpTo(len(up))
	d.Demote = append(append(append(d.Demote, down...), up[keep:]...), self)
	return d
}

func compareNodes(a, b id.Node) int { return slices.Compare(a[:], b[:]) }

func sortedNodes[V any](m map[id.Node]V) []id.Node {
	out := make([]id.Node, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, compareNodes)
	return out
}
