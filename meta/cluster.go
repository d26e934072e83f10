package meta

import (
	"fmt"
	"maps"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Bounds of what the cluster's records hold.
const (
	maxAddress     = 256
	maxSignature   = 256
	maxOptions     = 64
	maxOptionName  = 64
	maxOptionValue = 4096
)

// The option that says where a conflict's loser goes: "copy", the default, beside the
// winner; "history" nowhere but into history.
const (
	optionConflicts  = "conflicts"
	conflictsHistory = "history"
)

var done = outcome{Outcome: Outcome{Kind: Accepted}}

// unsequenced does the two commands that need no lane: the cluster's first one,
// and a session.
func (t *txn) unsequenced(e logEntry) (o Outcome, ended bool, err error) {
	if e.parts != 1 {
		return Outcome{Entry: e.hash, Kind: Refused, Reason: "this command takes a sequence"}, e.part == e.parts-1, nil
	}
	if id.Sum(e.data) != e.hash {
		return o, false, fmt.Errorf("%w: proposal's hash", ErrDamaged)
	}
	c, err := decodeBody(e.data)
	if err != nil {
		return o, false, err
	}
	var out outcome
	switch c := c.(type) {
	case ClusterCmd:
		out, err = t.clusterCmd(e, c)
	case Session:
		out, err = t.sessionCmd(e)
	default:
		return Outcome{Entry: e.hash, Kind: Refused, Reason: "this command takes a sequence"}, true, nil
	}
	out.Entry = e.hash
	if err == nil && out.Kind != Refused {
		t.set(outcomeKey(e.env.Node, id.Folder{}, 0), packRow(out.row()))
	}
	return out.Outcome, true, err
}

func (t *txn) sessionCmd(e logEntry) (outcome, error) {
	if _, ok, err := (reads{t}).node(e.env.Node); err != nil {
		return outcome{}, err
	} else if !ok {
		return refused(ReasonNotMember), nil
	}
	if e.env.Session.IsZero() {
		return refused("a session needs an ID"), nil
	}
	t.set(nodeKey(keySession, e.env.Node), packRow(&rowSession{putFixed(e.env.Session)}))
	out := done
	out.Detail = putFixed(e.env.Session)
	return out, nil
}

func (t *txn) clusterCmd(e logEntry, c ClusterCmd) (outcome, error) {
	if _, ok, err := t.Get([]byte{keyCluster}); err != nil {
		return outcome{}, err
	} else if ok {
		return refused("the cluster exists"), nil
	}
	level := c.Level
	if level == 0 {
		level = 1
	}
	if level > FeatureLevel {
		return outcome{}, fmt.Errorf("feature level %d: %w", level, ErrNewer)
	}
	if c.ID.IsZero() || c.First.ID.IsZero() || c.First.ID != e.env.Node {
		return refused("a cluster needs an ID and its first node"), nil
	}
	if reason := c.First.check(); reason != "" {
		return refused("%s", reason), nil
	}
	first := c.First
	first.Added, first.AdmittedBy = e.stamp(), first.ID
	t.set([]byte{keyCluster}, packRow(&rowCluster{putFixed(c.ID), level, e.time}))
	t.putNode(first)
	out := done
	out.Detail = []byte(first.Name)
	return out, nil
}

func (t *txn) putNode(r NodeRecord) {
	w := toWireNode(r)
	t.set(nodeKey(keyNode, r.ID), packRow(&w))
}

func (t *txn) feature(c FeatureCmd) (outcome, error) {
	if c.Level > FeatureLevel {
		return outcome{}, fmt.Errorf("feature level %d: %w", c.Level, ErrNewer)
	}
	w := new(rowCluster)
	if _, err := (reads{t}).row([]byte{keyCluster}, w); err != nil {
		return outcome{}, err
	}
	if c.Level <= w.Level {
		return outcome{Outcome: Outcome{Kind: Unchanged}}, nil
	}
	w.Level = c.Level
	t.set([]byte{keyCluster}, packRow(w))
	return done, nil
}

// check says why r cannot be a member's record.
func (r NodeRecord) check() string {
	switch {
	case id.CheckName(r.Name) != nil:
		return id.CheckName(r.Name).Error()
	case len(r.Address) > maxAddress:
		return fmt.Sprintf("address over %d bytes", maxAddress)
	case len(r.Signature) > maxSignature:
		return fmt.Sprintf("signature over %d bytes", maxSignature)
	case r.Role > RoleLearner:
		return fmt.Sprintf("unknown role %d", r.Role)
	}
	return ""
}

func (t *txn) nodeCmd(e logEntry, c NodeCmd) (outcome, error) {
	r := c.Record
	if r.ID.IsZero() {
		return refused("a node needs an ID"), nil
	}
	old, member, err := reads{t}.node(r.ID)
	if err != nil {
		return outcome{}, err
	}
	switch c.Op {
	case NodeAdmit:
		return t.admit(e, c, old, member)
	case NodeUpdate:
		return t.updateNode(r, old, member)
	case NodeRemove:
		return t.removeNode(r.ID, member)
	}
	return refused("unknown operation %d on a node", c.Op), nil
}

// removeNode ends a membership, and the invites that the node has made: who holds its
// machine may hold their tokens too.
func (t *txn) removeNode(n id.Node, member bool) (outcome, error) {
	if !member {
		return refused("no such node"), nil
	}
	if others, err := t.others(n); err != nil || len(others) == 0 {
		return refused("the last node cannot be removed"), err
	}
	invites, err := t.invites()
	if err != nil {
		return outcome{}, err
	}
	for _, inv := range invites {
		if inv.AddedBy == n && inv.UsedBy.IsZero() && !inv.Revoked {
			inv.Revoked = true
			t.set(inviteKey(inv.Hash), packRow(inv.row()))
		}
	}
	t.delete(nodeKey(keyNode, n))
	t.delete(nodeKey(keySession, n))
	return done, nil
}

// invites returns all, those of the batch under way too.
func (t *txn) invites() ([]Invite, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return reads{t.db}.invites()
}

// others returns the names of all members but n.
func (t *txn) others(n id.Node) (map[string]bool, error) {
	all, err := t.nodes()
	if err != nil {
		return nil, err
	}
	out := make(map[string]bool, len(all))
	for _, r := range all {
		if r.ID != n {
			out[r.Name] = true
		}
	}
	return out, nil
}

// nodes returns the members, those of the entries before this one too.
func (t *txn) nodes() ([]NodeRecord, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return reads{t.db}.nodes()
}

func (t *txn) admit(e logEntry, c NodeCmd, old NodeRecord, member bool) (outcome, error) {
	inv, ok, err := reads{t}.invite(c.Invite)
	if err != nil {
		return outcome{}, err
	}
	switch {
	case !ok || inv.Revoked:
		return refused(ReasonUnknownInvite), nil
	case !inv.UsedBy.IsZero() && (inv.UsedBy != c.Record.ID || !member):
		return refused(ReasonUsedInvite), nil
	case member && inv.UsedBy == c.Record.ID:
		return outcome{Outcome: Outcome{Kind: Unchanged, Detail: []byte(old.Name)}}, nil
	case !inv.Expires.IsZero() && e.stamp().After(inv.Expires):
		return refused(ReasonExpiredInvite), nil
	case member:
		return refused("the node is a member"), nil
	}
	r := c.Record
	r.Role, r.Added = inv.Role, e.stamp()
	if reason := r.check(); reason != "" {
		return refused("%s", reason), nil
	}
	if r.Name, err = t.freeName(r.ID, r.Name); err != nil {
		return outcome{}, err
	}
	inv.UsedBy = r.ID
	t.set(inviteKey(inv.Hash), packRow(inv.row()))
	t.putNode(r)
	out := done
	out.Detail = []byte(r.Name)
	return out, nil
}

// freeName returns name, or name-2, name-3, … where another node has it.
func (t *txn) freeName(n id.Node, name string) (string, error) {
	taken, err := t.others(n)
	if err != nil {
		return "", err
	}
	out := name
	for i := 2; taken[out]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		out = name[:min(len(name), id.MaxName-len(suffix))] + suffix
	}
	return out, nil
}

func (t *txn) updateNode(r, old NodeRecord, member bool) (outcome, error) {
	if !member {
		return refused("no such node"), nil
	}
	n := old
	if r.Name != "" {
		n.Name = r.Name
	}
	if r.Address != "" {
		n.Address = r.Address
	}
	if r.Role != RoleAuto {
		n.Role = r.Role
	}
	if reason := n.check(); reason != "" {
		return refused("%s", reason), nil
	}
	if n.Name != old.Name {
		var err error
		if n.Name, err = t.freeName(n.ID, n.Name); err != nil {
			return outcome{}, err
		}
	}
	out := done
	out.Detail = []byte(n.Name)
	t.putNode(n)
	return out, nil
}

func (t *txn) inviteCmd(e logEntry, c InviteCmd) (outcome, error) {
	old, ok, err := reads{t}.invite(c.Hash)
	if err != nil {
		return outcome{}, err
	}
	switch c.Op {
	case InviteAdd:
		if ok || c.Hash.IsZero() || c.Role > RoleLearner {
			return refused("the invite exists or is not valid"), nil
		}
		n := Invite{Hash: c.Hash, Role: c.Role, Expires: c.Expires, Added: e.stamp(), AddedBy: e.env.Node}
		t.set(inviteKey(c.Hash), packRow(n.row()))
		return done, nil
	case InviteRevoke:
		if !ok {
			return refused(ReasonUnknownInvite), nil
		}
		old.Revoked = true
		t.set(inviteKey(c.Hash), packRow(old.row()))
		return done, nil
	}
	return refused("unknown operation %d on an invite", c.Op), nil
}

func (t *txn) folderCmd(e logEntry, c FolderCmd) (outcome, error) {
	if reason := checkOptions(c.Options); reason != "" {
		return refused("%s", reason), nil
	}
	old, ok, err := reads{t}.folder(c.ID)
	if err != nil {
		return outcome{}, err
	}
	if c.Op != FolderCreate && (!ok || old.Removed) {
		return refused("no such folder"), nil
	}
	n := old
	switch c.Op {
	case FolderCreate:
		if ok || c.ID.IsZero() {
			return refused("the folder's ID is taken or zero"), nil
		}
		n = Folder{ID: c.ID, Name: c.Name, Created: e.stamp(), CreatedBy: e.env.Node}
	case FolderRemove:
		n.Removed = true
	case FolderSet:
		if c.Name != "" {
			n.Name = c.Name
		}
	default:
		return refused("unknown operation %d on a folder", c.Op), nil
	}
	if reason, err := t.checkFolderName(n, old); err != nil || reason != "" {
		return refused("%s", reason), err
	}
	n.Options = mergeOptions(old.Options, c.Options)
	if len(n.Options) > maxOptions {
		return refused("over %d options", maxOptions), nil
	}
	t.set(folderKey(keyFolder, n.ID), packRow(n.row()))
	out := done
	out.Detail = putFixed(n.ID)
	return out, nil
}

// checkFolderName says why n cannot have its name.
func (t *txn) checkFolderName(n, old Folder) (string, error) {
	if n.Removed || n.Name == old.Name && n.ID == old.ID {
		return "", nil
	}
	if err := id.CheckName(n.Name); err != nil {
		return err.Error(), nil
	}
	if err := t.flush(); err != nil {
		return "", err
	}
	all, err := reads{t.db}.folders()
	if err != nil {
		return "", err
	}
	for _, f := range all {
		if f.ID != n.ID && !f.Removed && f.Name == n.Name {
			return fmt.Sprintf("a folder %q exists", n.Name), nil
		}
	}
	return "", nil
}

func checkOptions(o map[string]string) string {
	if len(o) > maxOptions {
		return fmt.Sprintf("over %d options", maxOptions)
	}
	for k, v := range o {
		if k == "" || len(k) > maxOptionName || len(v) > maxOptionValue {
			return "an option's name or value is empty or too long"
		}
	}
	if v := o[optionConflicts]; v != "" && v != "copy" && v != conflictsHistory {
		return fmt.Sprintf("conflicts=%s: want copy or history", v)
	}
	return ""
}

// mergeOptions returns old with the options of n; an empty value removes one.
func mergeOptions(old, n map[string]string) map[string]string {
	out := maps.Clone(old)
	for k, v := range n {
		if v == "" {
			delete(out, k)
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[k] = v
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
