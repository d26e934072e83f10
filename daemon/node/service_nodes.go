package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// voteTime is how long a command waits for a vote to come or go: some steps of the
	// membership's plan, each of a commit, and the seconds after which a node that has
	// just come counts as stable.
	voteTime = 10 * time.Second
	// pollVotes is how often it looks.
	pollVotes = 50 * time.Millisecond
	// minID is how many digits of an ID name a node.
	minID = 8
)

// member finds a node by its name, or by the beginning of its ID.
func (s service) member(what, name string) (meta.NodeRecord, error) {
	var found []meta.NodeRecord
	for _, r := range s.n.members.records() {
		if r.Name == name {
			return r, nil
		}
		if len(name) >= minID && strings.HasPrefix(r.ID.String(), strings.ToLower(name)) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return meta.NodeRecord{}, control.Errorf(control.CodeFailed, "%s: there is no node %q", what, name).WithHint("see `lockstep node ls`")
	}
	return meta.NodeRecord{}, control.Errorf(control.CodeUsage, "%s: %q is the beginning of %d nodes' IDs", what, name, len(found)).
		WithHint("give more digits, or the name")
}

// NodeRemove implements control.Service. The vote goes first: a node that is removed is
// shut out at once, and could not hand over what it holds.
func (s service) NodeRemove(ctx context.Context, r control.NodeRemoveRequest) (control.NodeRemoveResult, error) {
	const what = "remove node"
	var none control.NodeRemoveResult
	rec, err := s.member(what, r.Name)
	if err != nil {
		return none, err
	}
	res := control.NodeRemoveResult{Name: rec.Name, ID: rec.ID.String(), Voter: s.n.votes(rec.ID), DryRun: r.DryRun}
	if rec.ID == s.n.self {
		return none, control.Errorf(control.CodeUsage, "%s: %s is this node itself", what, rec.Name).
			WithHint("run it on another node: who is removed is shut out at once and would not hear that it is done")
	}
	if res.Only, err = s.onlyThere(rec.ID); err != nil {
		return none, err
	}
	if len(res.Only) > 0 && !r.Force && !r.DryRun {
		return none, control.Errorf(control.CodeFailed, "%s: no other node that is online is known to have all that %s has of %s", what, rec.Name, strings.Join(res.Only, ", ")).
			WithHint("wait until `lockstep status` says that another is in sync; --force removes it all the same: its files stay on it")
	}
	if res.History, err = s.oldVersionsOf(rec); err != nil {
		return none, err
	}
	if len(res.History) > 0 && !r.Force && !r.DryRun {
		return none, control.Errorf(control.CodeFailed, "%s: old versions of %s, from before the others joined, may be on %s alone", what, strings.Join(res.History, ", "), rec.Name).
			WithHint("`lockstep restore FOLDER@REV --to DIR` takes out what you want to keep; --force removes it all the same, and its home keeps them")
	}
	if res.Voter && !s.n.successor(rec.ID) {
		return none, s.noSuccessor(what, rec.Name)
	}
	if r.DryRun {
		return res, nil
	}
	commit, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if err := s.n.led(commit); err != nil {
		return none, s.asked(what, err, "")
	}
	if res.Voter {
		if err := s.revote(ctx, what, rec, meta.RoleLearner); err != nil {
			return none, err
		}
		if s.n.votes(rec.ID) {
			return none, control.Errorf(control.CodeTimeout, "%s: its vote has not moved to another node yet", what).
				WithHint("run it again in some seconds; `lockstep node ls` shows who votes")
		}
	}
	return res, s.change(ctx, what, meta.NodeCmd{Op: meta.NodeRemove, Record: meta.NodeRecord{ID: rec.ID}})
}

// change commits a change of the members, and has it seen here.
func (s service) change(ctx context.Context, what string, cmd meta.NodeCmd) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	out, err := s.n.propose.Do(ctx, cmd)
	switch {
	case err != nil:
		return s.asked(what, err, carriedOut)
	case out.Kind == meta.Refused:
		return control.Errorf(control.CodeFailed, "%s: %s", what, out.Reason).WithHint("see `lockstep node ls`")
	}
	return s.n.members.refresh()
}

// onlyThere lists the folders of which no member that stays and is online has as much
// on its disk as node is known to have.
func (s service) onlyThere(node id.Node) (out []string, err error) {
	h, ok := s.n.peers.Last(node)
	if !ok {
		return nil, nil // not heard of since the start: it has nothing to give now
	}
	v := s.n.machine.View()
	defer v.Close()
	own := make(map[id.Folder]peers.FolderState)
	for _, st := range s.n.folders.states() {
		own[st.Folder] = st
	}
	for _, st := range h.Folders {
		rec, ok, err := v.Folder(st.Folder)
		if err != nil {
			return nil, err
		}
		if !ok || rec.Removed || st.Applied == 0 || own[st.Folder].Whole(st.Applied) || s.n.otherHas(node, st.Folder, st.Applied) {
			continue
		}
		out = append(out, rec.Name)
	}
	slices.Sort(out)
	return out, nil
}

// oldVersionsOf lists the folders that have versions from before all who stay and keep
// them joined, but not before the node did. Who joins receives what a folder is then.
func (s service) oldVersionsOf(node meta.NodeRecord) (out []string, err error) {
	v := s.n.machine.View()
	defer v.Close()
	recs, err := v.Folders()
	if err != nil {
		return nil, err
	}
	for _, f := range recs {
		if f.Removed {
			continue
		}
		var first time.Time // when the first of those who stay joined
		for _, m := range s.n.members.records() {
			if m.ID != node.ID && s.n.keepsFolder(m.ID, f.ID) && (first.IsZero() || m.Added.Before(first)) {
				first = m.Added
			}
		}
		if first.IsZero() || !node.Added.Before(first) {
			continue // nobody else keeps it: see onlyThere; or the others were there before
		}
		// One revision alone has nothing older than what they received.
		r, _, err := v.RevisionAt(f.ID, first)
		if err != nil {
			return nil, err
		}
		if r > 1 {
			out = append(out, f.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// keepsFolder reports whether a member keeps a folder on its disk, as it last said.
func (n *Node) keepsFolder(m id.Node, f id.Folder) bool {
	if m == n.self {
		return n.folders.engine(f) != nil
	}
	h, ok := n.peers.Last(m)
	return ok && slices.ContainsFunc(h.Folders, func(st peers.FolderState) bool { return st.Folder == f && st.Applied > 0 })
}

// otherHas reports whether a member that is online, and not without, has all of a
// revision on its disk.
func (n *Node) otherHas(without id.Node, f id.Folder, r id.Revision) bool {
	for _, m := range n.members.Nodes() {
		h, ok := n.peers.Last(m)
		if !ok || m == without || !n.peers.Online(m) {
			continue
		}
		for _, st := range h.Folders {
			if st.Folder == f && st.Whole(r) {
				return true
			}
		}
	}
	return false
}

// NodeRole implements control.Service.
func (s service) NodeRole(ctx context.Context, r control.NodeRoleRequest) (control.NodeRoleResult, error) {
	var none control.NodeRoleResult
	what, role := "demote node", meta.RoleLearner
	if r.Vote {
		what, role = "promote node", meta.RoleVoter
	}
	rec, err := s.member(what, r.Name)
	if err != nil {
		return none, err
	}
	if !r.Vote && s.n.votes(rec.ID) && !s.n.successor(rec.ID) {
		return none, s.noSuccessor(what, rec.Name)
	}
	commit, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if err := s.n.led(commit); err != nil {
		return none, s.asked(what, err, "")
	}
	if err := s.revote(ctx, what, rec, role); err != nil {
		return none, err
	}
	out := control.NodeRoleResult{Name: rec.Name, ID: rec.ID.String(), Role: "learner"}
	if s.n.votes(rec.ID) {
		out.Role = "voter"
	}
	return out, nil
}

func (s service) noSuccessor(what, name string) error {
	return control.Errorf(control.CodeFailed, "%s: no other node that is online could take the vote of %s", what, name).
		WithHint("start another node, or `lockstep node promote` one that is a learner by its role; see `lockstep node ls`")
}

// revote commits a node's role and gives the leader some seconds to act on it.
func (s service) revote(ctx context.Context, what string, rec meta.NodeRecord, role meta.Role) error {
	if rec.Role != role {
		if err := s.change(ctx, what, meta.NodeCmd{Op: meta.NodeUpdate, Record: meta.NodeRecord{ID: rec.ID, Role: role}}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, voteTime)
	defer cancel()
	tick := time.NewTicker(pollVotes)
	defer tick.Stop()
	for want := role == meta.RoleVoter; s.n.votes(rec.ID) != want && s.n.mayVote(rec.ID, want); {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// votes reports whether a node is a voter, as far as this one's log says.
func (n *Node) votes(node id.Node) bool {
	return slices.ContainsFunc(n.voters(), func(v id.Node) bool { return v == node })
}

func (n *Node) voters() (out []id.Node) {
	for _, x := range n.raft.Status().Servers {
		if x.Voter {
			out = append(out, x.Node)
		}
	}
	return out
}

// mayVote reports whether waiting for a vote to come may help: one that is to go goes
// in any case; one that is to come waits for a third node that is online, or a fifth.
func (n *Node) mayVote(node id.Node, vote bool) bool {
	if !vote {
		return true
	}
	if !n.peers.Online(node) {
		return false
	}
	able := 0
	for _, r := range n.members.records() {
		if r.Role != meta.RoleLearner && n.peers.Online(r.ID) {
			able++
		}
	}
	return able >= len(n.voters())+2
}

// successor reports whether another node that is online could vote in node's place.
func (n *Node) successor(node id.Node) bool {
	for _, r := range n.members.records() {
		if r.ID != node && r.Role != meta.RoleLearner && n.peers.Online(r.ID) {
			return true
		}
	}
	return false
}

// NodeLead implements control.Service.
func (s service) NodeLead(ctx context.Context, r control.NodeLeadRequest) (control.NodeLeadResult, error) {
	const what = "transfer leadership"
	var none control.NodeLeadResult
	switch leader := s.n.raft.Leader(); {
	case leader.IsZero():
		return none, s.asked(what, errNoQuorum, "")
	case leader != s.n.self:
		return none, control.Errorf(control.CodeFailed, "%s: this node does not lead", what).
			WithHint("%s leads: run it there", s.n.members.name(leader))
	}
	heir, err := s.heir(what, r.To)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, voteTime)
	defer cancel()
	if err := s.n.raft.TransferLeadership(ctx, heir); err != nil {
		return none, err
	}
	return control.NodeLeadResult{Leader: s.n.members.name(heir), ID: heir.String()}, nil
}

// heir is the voter that is to lead: the one that was asked for, or the one that has
// applied most of the log.
func (s service) heir(what, to string) (heir id.Node, err error) {
	if to != "" {
		rec, err := s.member(what, to)
		switch {
		case err != nil:
			return heir, err
		case rec.ID == s.n.self:
			return heir, control.Errorf(control.CodeFailed, "%s: %s leads already", what, rec.Name)
		case !s.n.votes(rec.ID) || !s.n.peers.Online(rec.ID):
			return heir, control.Errorf(control.CodeFailed, "%s: %s is not a voter that is online", what, rec.Name).WithHint("see `lockstep node ls`")
		}
		return rec.ID, nil
	}
	for _, v := range s.n.voters() {
		if v != s.n.self && s.n.peers.Online(v) && (heir.IsZero() || s.n.appliedAt(v) > s.n.appliedAt(heir)) {
			heir = v
		}
	}
	if heir.IsZero() {
		return heir, control.Errorf(control.CodeFailed, "%s: no other voter is online", what).WithHint("see `lockstep node ls`")
	}
	return heir, nil
}

// shutOut reports whether every node that answers refuses this one, though it was a
// member: then it was removed, and whoever could tell it so does not speak to it. Not so
// where it knows a leader: then those who refuse it were off when it came.
func (n *Node) shutOut() bool {
	if !n.raft.Leader().IsZero() {
		return false
	}
	refused := false
	for _, m := range n.members.Nodes() {
		if n.peers.Online(m) {
			return false
		}
		if errors.Is(n.peers.LastError(m), transport.ErrRefused) {
			refused = true
		}
	}
	return refused && !n.machineEmpty()
}

// machineEmpty reports whether the log has not come here yet: a node that has just
// joined is refused until the others know of it.
func (n *Node) machineEmpty() bool { return n.machine.AppliedIndex() == 0 }
