package meta

import (
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Command is what a proposal asks the state machine to do. The set is closed:
// the types of this file.
type Command interface{ kind() commandKind }

// commandKind is a command's number in its encoding. Append only.
type commandKind uint8

const (
	kindSession   commandKind = 1
	kindCommit    commandKind = 2
	kindRollback  commandKind = 3
	kindResolve   commandKind = 4
	kindFolder    commandKind = 5
	kindNode      commandKind = 6
	kindInvite    commandKind = 7
	kindCluster   commandKind = 8
	kindTag       commandKind = 9
	kindRetention commandKind = 10
	kindPrune     commandKind = 11
	kindFeature   commandKind = 12
)

// Session starts a run of a daemon: from its entry on, proposals of the
// envelope's node count only under the envelope's session. It is proposed in the
// cluster's lane with sequence 0 and consumes none.
type Session struct{}

// CommitCmd commits an atomic set of changes to one folder. It is proposed in
// that folder's lane.
type CommitCmd struct {
	Folder  id.Folder
	Origin  Origin
	Message string
	Changes []Change
	// Acked: the author has taken in its outcomes up to this sequence and will name
	// none of them in a base own(sequence); the state machine forgets them.
	Acked id.Sequence
	// Seen is the newest revision of which the author's disk held every path when
	// it made the changes. A delete or move of a directory takes what is below it as
	// seen up to Seen (and the author's own work), for a base speaks of its path
	// only. Without Seen the directory's own base is taken for all that is below.
	Seen Base
}

// RollbackCmd commits, as one revision, the state that Path ("" is the whole
// folder) had at Target. TargetHash is the prefix of that revision's hash: on
// another history the command is refused.
type RollbackCmd struct {
	Folder     id.Folder
	Path       id.Path
	Target     id.Revision
	TargetHash [8]byte
	Message    string
}

// Keep says how a conflict is resolved. The numbers are part of the format.
type Keep uint8

// The resolutions. KeepWinner removes the copy; KeepLoser puts the copy's content
// at the path and removes the copy; KeepBoth only closes the record; KeepWith
// puts a given entry at the path and removes the copy.
const (
	KeepWinner Keep = 1
	KeepLoser  Keep = 2
	KeepBoth   Keep = 3
	KeepWith   Keep = 4
)

// String returns the word that `conflicts --json` shows as the resolution.
func (k Keep) String() string {
	switch k {
	case KeepWinner:
		return "current"
	case KeepLoser:
		return "other"
	case KeepBoth:
		return "both"
	case KeepWith:
		return "with"
	}
	return "unknown"
}

// ResolveCmd closes an open conflict.
type ResolveCmd struct {
	Folder   id.Folder
	Conflict uint64
	Keep     Keep
	// Seen is the head that the user looked at: if path or copy changed after it the
	// command is refused.
	Seen    Base
	Entry   Entry // KeepWith only
	Message string
}

// FolderOp is what a FolderCmd does. The numbers are part of the format.
type FolderOp uint8

// The operations on folders.
const (
	FolderCreate FolderOp = 1
	FolderRemove FolderOp = 2
	FolderSet    FolderOp = 3
)

// FolderCmd creates, removes or changes a folder. A create of a name that exists
// is refused; Options are merged, an empty value removes an option.
type FolderCmd struct {
	Op      FolderOp
	ID      id.Folder
	Name    string
	Options map[string]string
}

// NodeOp is what a NodeCmd does. The numbers are part of the format.
type NodeOp uint8

// The operations on nodes.
const (
	NodeAdmit  NodeOp = 1
	NodeUpdate NodeOp = 2
	NodeRemove NodeOp = 3
)

// NodeCmd admits, changes or removes a member. An admit needs the hash of an
// invite's secret: the invite must exist, be unexpired by the entry's time and
// unused, and is used up by it. The same node may repeat its admit. An update
// takes over Name, Address and Role where they are not zero.
type NodeCmd struct {
	Op     NodeOp
	Record NodeRecord
	Invite id.Digest
}

// InviteOp is what an InviteCmd does. The numbers are part of the format.
type InviteOp uint8

// The operations on invites.
const (
	InviteAdd    InviteOp = 1
	InviteRevoke InviteOp = 2
)

// InviteCmd adds or revokes an invite. Hash is of its secret, which no node keeps.
type InviteCmd struct {
	Op      InviteOp
	Hash    id.Digest
	Role    Role
	Expires time.Time
}

// ClusterCmd is the first command of a cluster: it names the cluster and admits
// its first node. It is proposed with sequence 0 and refused ever after.
type ClusterCmd struct {
	ID    id.Cluster
	First NodeRecord
	// Level is the feature level the cluster starts with; 0 means FeatureLevel.
	Level uint32
}

// TagCmd names a revision, or drops the name when Remove is set.
type TagCmd struct {
	Folder   id.Folder
	Name     string
	Revision id.Revision
	Remove   bool
}

// RetentionCmd sets a folder's retention policy. Refused at this feature level.
type RetentionCmd struct {
	Folder id.Folder
	Policy string
}

// RevisionRange is a range of revisions, both ends included.
type RevisionRange struct{ First, Last id.Revision }

// PruneCmd drops whole revisions from a folder's history; their headers stay.
// Refused at this feature level.
type PruneCmd struct {
	Folder id.Folder
	Drop   []RevisionRange
}

// FeatureCmd raises the cluster's feature level. A node that does not know the
// level stops.
type FeatureCmd struct{ Level uint32 }

func (Session) kind() commandKind      { return kindSession }
func (CommitCmd) kind() commandKind    { return kindCommit }
func (RollbackCmd) kind() commandKind  { return kindRollback }
func (ResolveCmd) kind() commandKind   { return kindResolve }
func (FolderCmd) kind() commandKind    { return kindFolder }
func (NodeCmd) kind() commandKind      { return kindNode }
func (InviteCmd) kind() commandKind    { return kindInvite }
func (ClusterCmd) kind() commandKind   { return kindCluster }
func (TagCmd) kind() commandKind       { return kindTag }
func (RetentionCmd) kind() commandKind { return kindRetention }
func (PruneCmd) kind() commandKind     { return kindPrune }
func (FeatureCmd) kind() commandKind   { return kindFeature }
