package control

import (
	"fmt"
	"time"
)

// BehindTime is how long the disk of a member that is online may stay behind before that is a
// problem: a large first sync takes long, and its revision comes at its end.
const BehindTime = time.Hour

// Problems says what is not well: what needs a person, or is not in sync for longer
// than its cause explains. What is under way is well, and so is a member that is
// offline, as long as there is a quorum, or on which somebody has paused the folder
// (whose own node says so). It is a pure function of the status.
func Problems(st Status, now time.Time) (out []string) {
	if !st.Cluster.HasQuorum {
		problem := "no quorum"
		if st.Cluster.Removed {
			problem = "it was removed from the cluster"
		}
		out = append(out, problem)
	}
	for _, f := range st.Folders {
		switch f.State {
		case StateHalted:
			out = append(out, fmt.Sprintf("folder %s is halted: %s", f.Name, firstLine(f.Error)))
		case StatePaused:
			out = append(out, fmt.Sprintf("folder %s is paused", f.Name))
		}
		if n := len(f.Blocked); n > 0 {
			out = append(out, fmt.Sprintf("%s blocked in %s", plural(n, "path"), f.Name))
		}
		for _, h := range f.Held {
			out = append(out, fmt.Sprintf("%s held in %s", plural(h.Deletes, "deletion"), f.Name))
		}
		if n := len(f.Kept); n > 0 {
			out = append(out, fmt.Sprintf("%s kept in %s", plural(n, "change"), f.Name))
		}
		if n := f.ConflictsOpen; n > 0 {
			out = append(out, fmt.Sprintf("%s open in %s", plural(n, "conflict"), f.Name))
		}
		for _, n := range f.Nodes {
			if n.BehindSince != nil && !n.Paused && now.Sub(*n.BehindSince) >= BehindTime {
				out = append(out, fmt.Sprintf("%s is behind in %s for %s", n.Name, f.Name, span(now.Sub(*n.BehindSince))))
			}
		}
	}
	return out
}
