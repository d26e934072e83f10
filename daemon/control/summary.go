package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Summarize says in one phrase how a folder is: whether it is in sync and where, or
// what it does or waits for, on whom, and what to do where a person has to. It is a
// pure function of the status; now is for how long ago things were.
func Summarize(f FolderStatus, c ClusterStatus, now time.Time) string {
	s := summary{f: f, c: c, now: now}
	main := s.main()
	if f.State != StateHalted {
		main = strings.Join(append([]string{main}, s.beside()...), "; ")
	}
	return main
}

type summary struct {
	f   FolderStatus
	c   ClusterStatus
	now time.Time
}

// main is what the folder does.
func (s summary) main() string {
	f := s.f
	switch f.State {
	case StateHalted:
		return "halted: " + firstLine(f.Error)
	case StatePaused:
		return "paused" + s.here(" here") + fmt.Sprintf("; `lockstep folder resume %s` lets it go on", f.Name)
	case StateOffline:
		return s.offline()
	case StateScanning:
		if f.PendingFiles > 0 {
			return "looking for changes on this disk; then " + s.receiving()
		}
		return "looking for changes on this disk"
	}
	switch {
	case f.PendingFiles > len(f.Blocked):
		return s.receiving() + s.here(" to look at")
	case f.LocalChanges > s.waiting():
		return "looking at " + changes(f.LocalChanges-s.waiting()) + " on this disk"
	case f.AppliedRevision < f.HeadRevision:
		return fmt.Sprintf("bringing revision %d to this disk", f.HeadRevision)
	}
	return s.synced()
}

// Steady is Summarize without what time alone changes: ages, rates and bytes that come. Who
// tells of changes compares it.
func Steady(f FolderStatus, c ClusterStatus) string {
	c.Nodes = slices.Clone(c.Nodes)
	for i := range c.Nodes {
		c.Nodes[i].LastSeen = nil
	}
	f.Nodes = slices.Clone(f.Nodes)
	for i := range f.Nodes {
		f.Nodes[i].BehindSince = nil
	}
	f.PendingBytes, f.ReceiveRate, f.Sources = 0, 0, nil
	return Summarize(f, c, time.Time{})
}

// synced is for a disk that holds the head.
func (s summary) synced() string {
	f, there := s.f, 0
	var behind []string
	for _, n := range f.Nodes {
		here := n.AppliedRevision >= f.HeadRevision
		if here {
			there++
		}
		switch {
		case n.Paused && n.Online:
			behind = append(behind, "paused on "+n.Name)
		case here:
		case n.BehindSince != nil && s.now.Sub(*n.BehindSince) >= time.Minute:
			behind = append(behind, n.Name+" is behind for "+span(s.now.Sub(*n.BehindSince)))
		case n.Online:
			behind = append(behind, n.Name+" is behind")
		default:
			behind = append(behind, s.away(n.Name))
		}
	}
	others := ""
	if len(behind) > 0 {
		others = " (" + shorten(behind, ", ") + ")"
	}
	if f.NotBrought > 0 { // beside says what is not here
		return "all that was made here is committed" + others
	}
	nodes := fmt.Sprintf("%d of %d nodes", there, len(f.Nodes))
	if len(f.Nodes) == 1 {
		nodes = "this node alone"
	}
	return fmt.Sprintf("in sync at revision %d on %s%s", f.HeadRevision, nodes, others)
}

// Lacking says for whom commits wait while there is no quorum.
func Lacking(c ClusterStatus, now time.Time) string {
	return summary{f: FolderStatus{}, c: c, now: now}.offline()
}

// offline is for a folder whose commits find no quorum.
func (s summary) offline() string {
	if s.c.Removed {
		if n := s.f.LocalChanges - s.waiting(); n > 0 {
			return changes(n) + " stay here: this node was removed from the cluster"
		}
		return "this node was removed from the cluster"
	}
	var need []string
	for _, n := range s.c.Nodes {
		if n.Role == "voter" && !n.Online {
			need = append(need, n.Name+" ("+s.seen(n.Name)+")")
		}
	}
	if len(need) == 1 {
		need[0] = strings.NewReplacer(" (", ", ", ")", "").Replace(need[0])
	}
	what := "commits wait"
	if n := s.f.LocalChanges - s.waiting(); n > 0 {
		if what = changes(n) + " here wait"; n == 1 {
			what += "s"
		}
	}
	if len(need) == 0 {
		return what + " for a leader"
	}
	return what + " for " + shorten(need, " or ")
}

// receiving is for a disk that lacks something.
func (s summary) receiving() string {
	f := s.f
	out := fmt.Sprintf("receiving %s", plural(f.PendingFiles-min(len(f.Blocked), f.PendingFiles), "path"))
	if f.PendingBytes > 0 {
		out += ", " + humanize.IBytes(uint64(f.PendingBytes))
		if f.ReceiveRate > 0 {
			out += ", about " + span(time.Duration(f.PendingBytes/f.ReceiveRate)*time.Second)
		}
	}
	if len(f.Sources) > 0 {
		out += ", from " + shorten(f.Sources, " and ")
	}
	return out
}

// beside is what a person should know whatever else happens.
func (s summary) beside() (out []string) {
	f := s.f
	if n := s.held(); n > 0 {
		out = append(out, fmt.Sprintf("%s held: `lockstep folder allow %s` or `revert %s`", plural(n, "deletion"), f.Name, f.Name))
	}
	if n := len(f.Kept); n > 0 {
		out = append(out, fmt.Sprintf("%s made here and not committed, for this node only receives: `lockstep folder revert %s`", changes(n), f.Name))
	}
	if n := f.NotBrought; n > 0 {
		out = append(out, plural(n, "path")+" of others not brought, for this node only sends")
	}
	if n := len(f.Blocked); n > 0 {
		out = append(out, plural(n, "path")+" blocked")
	}
	if n := f.ConflictsOpen; n > 0 {
		out = append(out, plural(n, "conflict")+" open: `lockstep conflicts`")
	}
	return out
}

// held counts local changes that wait for a person.
func (s summary) held() (n int) {
	for _, h := range s.f.Held {
		n += h.Deletes
	}
	return n
}

func (s summary) waiting() int { return s.held() + len(s.f.Kept) }

// here names the local changes that are not committed, if there are any.
func (s summary) here(where string) string {
	if n := s.f.LocalChanges - s.waiting(); n > 0 {
		return ", " + changes(n) + where
	}
	return ""
}

// away says of a member that is offline how long ago it was seen.
func (s summary) away(name string) string { return name + " was " + s.seen(name) }

func (s summary) seen(name string) string {
	i := slices.IndexFunc(s.c.Nodes, func(n ClusterMember) bool { return n.Name == name })
	if i < 0 || s.c.Nodes[i].LastSeen == nil {
		return "not seen yet"
	}
	return "last seen " + span(s.now.Sub(*s.c.Nodes[i].LastSeen)) + " ago"
}

// span is a duration as people say it, to one unit.
func span(d time.Duration) string {
	switch d = max(d, time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// shorten joins a list, of which at most three are named.
func shorten(list []string, sep string) string {
	if n := len(list); n > 3 {
		list = append(slices.Clone(list[:3]), fmt.Sprintf("%d more", n-3))
	}
	return strings.Join(list, sep)
}

func changes(n int) string { return plural(n, "change") }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return humanize.Comma(int64(n)) + " " + what + "s"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Tolerance says what may fail without stopping commits, from the members' roles.
func Tolerance(c ClusterStatus) string {
	voters := 0
	var off, on []string
	for _, n := range c.Nodes {
		if n.Role != "voter" {
			continue
		}
		voters++
		if n.Online {
			on = append(on, n.Name)
		} else {
			off = append(off, n.Name)
		}
	}
	spare := (voters-1)/2 - len(off)
	switch {
	case c.Removed:
		return "this node was removed from it"
	case voters == 0:
		return ""
	case !c.HasQuorum:
		return "no quorum: changes are kept and committed when enough voters are back"
	case voters == 1:
		return "commits need " + shorten(on, " and ")
	case spare <= 0:
		return fmt.Sprintf("%d of %d voters online: commits need %s", len(on), voters, shorten(on, " and "))
	}
	return fmt.Sprintf("any %d of %d voters may fail", spare, len(on))
}
