package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
)

const (
	// commitTime bounds how long a command waits for a commit before it says that
	// there is no quorum: longer than an election takes.
	commitTime = 15 * time.Second
	// leaderTime is how long it waits for a leader while too few voters are online
	// for one: they may be known as offline only because this node has just started.
	leaderTime = 5 * time.Second
)

// led waits until a leader is known; else the error is errNoQuorum. It is asked
// before a command is queued: what is in the durable queue cannot be taken back, so
// where nothing commits now nothing is put there. ctx bounds it.
func (n *Node) led(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); n.raft.Leader().IsZero(); {
		if time.Since(began) > leaderTime && n.lacksVoters() {
			return errNoQuorum
		}
		select {
		case <-ctx.Done():
			return errNoQuorum
		case <-tick.C:
		}
	}
	return nil
}

// lacksVoters reports whether too few of the voters that this node knows are online.
func (n *Node) lacksVoters() bool {
	voters, online := 0, 0
	for _, s := range n.raft.Status().Servers {
		if s.Voter {
			voters++
			if s.Online {
				online++
			}
		}
	}
	return voters > 0 && 2*online <= voters
}

// errNoQuorum says that no leader is known, so that nothing can be committed.
var errNoQuorum = errors.New("no quorum")

// needs names the voters whose return would make a quorum, "" where there is one.
func (n *Node) needs() string {
	rs := n.raft.Status()
	if rs.HasQuorum || len(rs.Missing) == 0 {
		return ""
	}
	var names []string
	for _, x := range rs.Missing {
		names = append(names, n.members.name(x))
	}
	slices.Sort(names)
	return "commits need " + strings.Join(names, " or ")
}

// asked is for a command whose commit did not come, with err: where there was no
// quorum to begin with nothing was done, else it was queued by then, and giving up
// on the answer does not take it back. later says what may become of it.
func (s service) asked(what string, err error, later string) error {
	hint := later + "; see `lockstep node ls`"
	switch {
	case !errors.Is(err, errNoQuorum) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, folder.ErrPaused):
		return err
	case s.n.removed():
		return control.Errorf(control.CodeFailed, "%s: this node was removed from the cluster", what).WithHint("%s", staysHere)
	case errors.Is(err, errNoQuorum):
		hint = "nothing was done: run it again when `lockstep status` shows a quorum"
	case errors.Is(err, folder.ErrPaused):
		return control.Errorf(control.CodeFailed, "%s: %w", what, err).WithHint("`lockstep folder resume NAME` lets it go on")
	}
	why := s.n.needs()
	if why == "" {
		why = "the cluster did not commit in time"
	}
	return control.Errorf(control.CodeNoQuorum, "%s: %s", what, why).WithHint("%s", hint)
}

// carriedOut is what becomes of most commands in the queue.
const carriedOut = "the command is queued and will be carried out once the cluster commits again"
