package doctor

import (
	"time"

	"github.com/dustin/go-humanize"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func checkReach(f Facts) []control.Finding {
	if f.Node.Removed {
		return []control.Finding{fixed(problem("the cluster has removed this node: the others refuse it"),
			"to bring it back, stop the daemon, move %s away, and join again with a new token", f.Home.Path)}
	}
	var out []control.Finding
	for _, m := range f.Members {
		out = append(out, about(m.Name, reach(f, m)))
	}
	return one(out, ok("this is the only node; `lockstep invite` makes a token for another"))
}

func reach(f Facts, m Member) control.Finding {
	const there = "let its port in there (TCP: the firewall, the router), or put an address that this machine can dial into advertise in its config.toml; to try it:"
	dial := func(x control.Finding) control.Finding { return withCommand(x, "nc -vz %s", hostPort(m.Address)) }
	switch {
	case m.Dial != nil && !m.Online:
		seen := "not since this daemon started"
		if !m.LastSeen.IsZero() {
			seen = humanize.Time(m.LastSeen)
		}
		return dial(fixed(note("it is offline (last seen: %s): %v", seen, m.Dial), "start it; if it runs, %s", there))
	case m.Dial != nil && m.Heard:
		return dial(fixed(problem("this node cannot dial it at %s: %v; it can dial this one", m.Address, m.Dial), there))
	case m.Dial != nil:
		return dial(fixed(problem("this node cannot dial it at %s: %v", m.Address, m.Dial), there))
	case m.DialledKnown && m.Dialled != nil:
		return withCommand(fixed(problem("it cannot dial this node at %s: %v", f.Node.Advertise, m.Dialled),
			"let the port in here (TCP: the firewall, the router), or put an address that %s can dial into advertise in %s; to try it, on %s:", m.Name, f.Home.settings(), m.Name),
			"nc -vz %s", hostPort(f.Node.Advertise))
	case !m.DialledKnown && m.Heard:
		return ok("this node dials it at %s; it dialled this one a moment ago", m.Address)
	case !m.DialledKnown:
		return note("this node dials it at %s; whether it can dial this one is not known: %v", m.Address, m.DialledWhy)
	}
	return ok("each can dial the other, at %s and %s", m.Address, f.Node.Advertise)
}

// hostPort is an address as nc takes it.
func hostPort(a string) string {
	host, port, ok := cutPort(a)
	if !ok {
		return a
	}
	return host + " " + port
}

// The difference of clocks that is worth a word, and that is wrong. Clocks decide
// nothing; but times in the history are the leader's, and `2h ago` and the end of a
// token are told by them.
const (
	clockNote    = 2 * time.Second
	clockProblem = 30 * time.Second
)

func checkClock(f Facts) []control.Finding {
	var out []control.Finding
	known := 0
	for _, m := range f.Members {
		if !m.ClockKnown {
			continue
		}
		known++
		off := m.Ahead.Abs() - m.Within // what is certain
		if off < clockNote {
			continue
		}
		x := note("its clock is %s %s this machine's", span(m.Ahead.Abs()), direction(m.Ahead))
		if off >= clockProblem {
			x.Level = control.LevelProblem
		}
		out = append(out, about(m.Name, withCommand(fixed(x, "set the clock that is wrong"), "timedatectl set-ntp true")))
	}
	if known == 0 && len(f.Members) > 0 {
		return []control.Finding{skipped("no other node has told its clock: none is online, or they run an older version")}
	}
	return one(out, ok("the clocks of %s online agree to within %s", nodes(known), clockNote))
}

func direction(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}

func nodes(n int) string {
	if n == 1 {
		return "1 other node"
	}
	return count(n) + " other nodes"
}

func checkVersion(f Facts) []control.Finding {
	var out []control.Finding
	for _, m := range f.Members {
		if m.Version != "" && m.Version != f.Node.Version {
			out = append(out, about(m.Name, fixed(note("it runs version %s, this node %s", m.Version, f.Node.Version), "install the newer one on both, one after the other")))
		}
	}
	return one(out, ok("all nodes that are known run version %s", f.Node.Version))
}

func checkQuorum(f Facts) []control.Finding {
	if f.Node.Removed {
		return []control.Finding{skipped("this node was removed from the cluster")}
	}
	n := f.Node
	need := n.Voters/2 + 1
	spare := n.VotersOnline - need
	switch {
	case n.Voters == 0:
		return []control.Finding{skipped("the voters are not known yet")}
	case !n.Quorum && spare >= 0:
		return []control.Finding{note("no leader is known; an election may be under way: run it again in a few seconds")}
	case !n.Quorum:
		return []control.Finding{fixed(problem("nothing can be committed: %d of %d voters are online, %d are needed", n.VotersOnline, n.Voters, need),
			"start %s; changes made here are kept and committed then", join(n.Offline))}
	case n.Voters == 1 && len(f.Members) == 0:
		return []control.Finding{withCommand(fixed(note("this is the only node: if its disk is lost, so is the history"), "add a second and a third machine"), "lockstep invite")}
	case n.Voters == 1:
		return []control.Finding{fixed(note("one node alone decides (%s): while it is off, nothing is committed", n.Leader), "add a third node that is mostly on: then any one of the three may be off")}
	case spare == 0:
		return []control.Finding{fixed(note("%d of %d voters are online: if one more goes, nothing is committed until it is back", n.VotersOnline, n.Voters), "start %s", join(n.Offline))}
	}
	return []control.Finding{ok("%d of %d voters are online: %d more may go off and commits go on", n.VotersOnline, n.Voters, spare)}
}
