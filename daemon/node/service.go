package node

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// sourceTime is how long a member counts as a source after it gave something.
const sourceTime = 5 * time.Second

// service is the control API: control.Service.
type service struct{ n *Node }

// Status implements control.Service.
func (s service) Status(ctx context.Context, r control.StatusRequest) (control.Status, error) {
	if err := s.awaitChange(ctx, r.After); err != nil {
		return control.Status{}, err
	}
	fresh, err := s.freshen(ctx, r.Linearizable)
	if err != nil {
		return control.Status{}, err
	}
	s.settle(ctx)
	n := s.n
	change, _ := n.changes.newest() // before anything is looked at: what changes meanwhile is told next
	st := control.Status{
		Node: control.NodeStatus{
			ID: n.self.String(), Name: n.members.name(n.self), Version: Version, Address: n.address(),
			Listen: n.trans.ListenAddr().String(), UptimeS: time.Since(n.started).Seconds(), PID: os.Getpid(),
		},
		Cluster: s.cluster(), Freshness: fresh, Change: change,
	}
	v := n.machine.View()
	defer v.Close()
	for f, e := range n.folders.all() {
		fst, err := s.folder(v, f, e, st.Cluster.HasQuorum)
		if err != nil {
			return st, err
		}
		st.Folders = append(st.Folders, fst)
	}
	slices.SortFunc(st.Folders, func(a, b control.FolderStatus) int { return strings.Compare(a.Name, b.Name) })
	st.Elsewhere, err = s.elsewhere(v)
	return st, err
}

// elsewhere names the cluster's folders that this node does not keep.
func (s service) elsewhere(v *meta.View) (names []string, err error) {
	recs, err := v.Folders()
	for _, r := range recs {
		if !r.Removed && s.n.folders.engine(r.ID) == nil {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names, err
}

func (s service) cluster() control.ClusterStatus {
	rs := s.n.raft.Status()
	c := control.ClusterStatus{
		ID: s.n.cfg.Cluster.String(), Leader: s.n.members.name(rs.Leader), Term: rs.Term, HasQuorum: rs.HasQuorum,
	}
	voters := make(map[id.Node]bool)
	for _, x := range rs.Servers {
		voters[x.Node] = x.Voter
	}
	for _, r := range s.n.members.records() {
		m := control.ClusterMember{ID: r.ID.String(), Name: r.Name, Role: "learner", Address: r.Address, Online: r.ID == s.n.self}
		if voters[r.ID] {
			m.Role = "voter"
		}
		if r.ID == s.n.self {
			m.Version = Version
		} else {
			m.Online = s.n.peers.Online(r.ID)
			if seen := s.n.peers.LastSeen(r.ID); !seen.IsZero() {
				m.LastSeen = &seen
			}
			if h, ok := s.n.peers.Last(r.ID); ok {
				m.Version = h.Version
			}
		}
		c.Nodes = append(c.Nodes, m)
	}
	slices.SortFunc(c.Nodes, func(a, b control.ClusterMember) int { return strings.Compare(a.Name, b.Name) })
	switch need := s.n.needs(); {
	case s.n.removed():
		c.Removed, c.Notice = true, notMember
	case need != "":
		c.Notice = need + "; changes made here are queued"
	}
	return c
}

// notMember is said on a node that was removed.
const (
	notMember = "this node is not a member of the cluster any more; " + staysHere
	staysHere = "its files stay as they are, and changes made here stay here"
)

func (s service) folder(v *meta.View, f id.Folder, e *folder.Engine, quorum bool) (control.FolderStatus, error) {
	rec, ok, err := v.Folder(f)
	if err != nil {
		return control.FolderStatus{}, err
	}
	if !ok {
		rec.Name = f.String() // the log has not come there yet
	}
	in, err := e.Info()
	if err != nil {
		return control.FolderStatus{}, err
	}
	tot, err := v.Totals(f)
	if err != nil {
		return control.FolderStatus{}, err
	}
	open, err := v.OpenConflicts(f)
	if err != nil {
		return control.FolderStatus{}, err
	}
	out := control.FolderStatus{
		Name: rec.Name, ID: f.String(), Path: in.Root, State: state(in, quorum),
		HeadRevision: uint64(in.Head.Revision), AppliedRevision: uint64(in.OnDisk), HistoryHash: in.Head.Hash.String(),
		Files: tot.Files, Bytes: tot.Bytes, Directories: tot.Dirs, Symlinks: tot.Symlinks,
		LocalChanges: in.LocalChanges, PendingFiles: in.PendingFiles, PendingBytes: in.PendingBytes,
		ConflictsOpen: open, UnprotectedBytes: in.UnprotectedBytes,
	}
	if in.Err != nil {
		out.Error = in.Err.Error()
	}
	for _, b := range in.Blocked {
		out.Blocked = append(out.Blocked, control.NewBlockedPath(string(b.Path), b.Reason))
	}
	out.Mode, out.Only, out.NotBrought = string(in.Mode), in.Only, in.Skipped
	for _, b := range in.Kept {
		out.Kept = append(out.Kept, control.NewBlockedPath(string(b.Path), b.Reason))
	}
	if in.Held != nil {
		out.Held = []control.Held{{Reason: folder.HeldReason(*in.Held), Deletes: in.Held.Deletes, Since: in.Held.Since}}
	}
	w := s.n.peers.Traffic(f)
	out.WireBytesSent, out.WireBytesReceived = int64(w.Sent), int64(w.Received)
	out.ReceiveRate = in.ReceiveRate
	if in.PendingFiles > 0 {
		out.Sources = s.sources(f)
	}
	out.Nodes = s.progress(f, in.OnDisk)
	s.n.lags.tell(f, out.Nodes)
	return out, nil
}

// sources names the members from which something of the folder came of late.
func (s service) sources(f id.Folder) (out []string) {
	for _, m := range s.n.peers.Sources(f, sourceTime) {
		out = append(out, s.n.members.name(m))
	}
	slices.Sort(out)
	return out
}

// progress is how far each member is with a folder.
func (s service) progress(f id.Folder, own id.Revision) (out []control.FolderNode) {
	self := control.FolderNode{Name: s.n.members.name(s.n.self), AppliedRevision: uint64(own), Online: true}
	if e := s.n.folders.engine(f); e != nil {
		self.Paused = e.Paused()
	}
	out = append(out, self)
	for _, m := range s.n.members.Nodes() {
		h, ok := s.n.peers.Last(m)
		if !ok {
			continue
		}
		for _, st := range h.Folders {
			if st.Folder == f {
				out = append(out, control.FolderNode{
					Name: s.n.members.name(m), AppliedRevision: uint64(st.Applied), Online: s.n.peers.Online(m), Paused: st.Paused,
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b control.FolderNode) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func state(in folder.Info, quorum bool) control.FolderState {
	left := len(in.Kept) // local changes that time does not commit
	if in.Held != nil {
		left += in.Held.Deletes
	}
	switch {
	case in.Phase == folder.StatePaused:
		return control.StatePaused
	case in.Phase == folder.StateHalted:
		return control.StateHalted
	case !quorum:
		return control.StateOffline
	case in.Phase != folder.StateRunning:
		return control.StateScanning
	case in.LocalChanges > left || in.PendingFiles > len(in.Blocked) || in.OnDisk < in.Head.Revision:
		return control.StateSyncing
	}
	return control.StateIdle
}

// freshen asks the leader first, where the user wants that.
func (s service) freshen(ctx context.Context, linearizable bool) (control.Freshness, error) {
	f := control.Freshness{LeaderContactS: -1}
	if leader := s.n.raft.Leader(); leader == s.n.self {
		f.LeaderContactS = 0
	} else if seen := s.n.peers.LastSeen(leader); !seen.IsZero() {
		f.LeaderContactS = time.Since(seen).Seconds()
	} else if lost := s.n.changes.lostAt(); leader.IsZero() && !lost.IsZero() {
		f.LeaderContactS = time.Since(lost).Seconds()
	}
	if !linearizable {
		return f, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if err := s.n.led(ctx); err != nil {
		return f, s.asked("ask the leader", err, "")
	}
	if err := s.readLog(ctx); err != nil {
		return f, s.asked("ask the leader", err, "nothing was changed")
	}
	f.Linearizable = true
	return f, nil
}

// readLog waits until this node's state machine has applied all that was committed
// before: a command that changes nothing is an entry of the log, and comes after.
func (s service) readLog(ctx context.Context) error {
	_, err := s.n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeUpdate, Record: meta.NodeRecord{ID: s.n.self}})
	return err
}

// Nodes implements control.Service.
func (s service) Nodes(ctx context.Context) ([]control.ClusterMember, error) {
	return s.cluster().Nodes, nil
}

// Invite implements control.Service.
func (s service) Invite(ctx context.Context, r control.InviteRequest) (control.Invite, error) {
	roles := map[string]meta.Role{"": meta.RoleAuto, "auto": meta.RoleAuto, "voter": meta.RoleVoter, "learner": meta.RoleLearner}
	role, ok := roles[r.Role]
	if !ok {
		return control.Invite{}, control.Errorf(control.CodeUsage, "role %q is none of auto, voter, learner", r.Role)
	}
	if r.TTL <= 0 {
		r.TTL = time.Hour
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	const what = "make an invite"
	if err := s.n.led(ctx); err != nil {
		return control.Invite{}, s.asked(what, err, "")
	}
	secret := join.NewSecret()
	expires := time.Now().Add(r.TTL)
	out, err := s.n.propose.Do(ctx, meta.InviteCmd{Op: meta.InviteAdd, Hash: secret.Hash(), Role: role, Expires: expires})
	if err != nil {
		return control.Invite{}, s.asked(what, err, "no token was made: an invite that is committed later expires unused")
	}
	if out.Kind == meta.Refused {
		return control.Invite{}, errors.New(out.Reason)
	}
	t := join.Token{
		Cluster: s.n.cfg.Cluster, Addresses: []string{s.n.address()}, Inviter: s.n.self, Secret: secret, Role: role,
	}
	return control.Invite{Token: t.String(), Role: role.String(), Expires: expires}, nil
}

// Trace implements control.Service.
func (s service) Trace(ctx context.Context, r control.TraceRequest) ([]control.Step, error) {
	_, e, p, err := s.target(r.Target)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, control.Errorf(control.CodeFailed, "folder %q is not on this node", r.Target.Folder)
	}
	var out []control.Step
	for _, st := range e.Trace(p) {
		out = append(out, control.Step{Name: st.Name, Time: st.Time})
	}
	return out, nil
}
