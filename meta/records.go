package meta

import (
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// FeatureLevel is the newest level of replicated behaviour that this version
// knows. A command that needs a newer one stops the node.
const FeatureLevel uint32 = 1

// Role is the part a node may take in the cluster. The numbers are part of the
// format.
type Role uint8

// The roles. RoleAuto lets the leader decide.
const (
	RoleAuto    Role = 0
	RoleVoter   Role = 1
	RoleLearner Role = 2
)

// String returns "auto", "voter" or "learner".
func (r Role) String() string {
	switch r {
	case RoleAuto:
		return "auto"
	case RoleVoter:
		return "voter"
	case RoleLearner:
		return "learner"
	}
	return "unknown"
}

// ClusterInfo is the cluster's own record.
type ClusterInfo struct {
	ID           id.Cluster // zero before the first command
	FeatureLevel uint32
	Created      time.Time
}

// Folder is the record of one folder.
type Folder struct {
	ID      id.Folder
	Name    string // unique among folders that are not removed
	Removed bool
	Options map[string]string
	Created time.Time
	// CreatedBy is the node whose user made the folder.
	CreatedBy id.Node
}

// NodeRecord is one member.
type NodeRecord struct {
	ID      id.Node
	Name    string // unique; a taken one gets -2, -3, …
	Address string // host:port that others dial
	Role    Role
	// AdmittedBy signed ID and cluster with its key: Signature.
	AdmittedBy id.Node
	Signature  []byte
	Added      time.Time
}

// Invite is a single-use permission to join.
type Invite struct {
	Hash    id.Digest // of the secret
	Role    Role
	Expires time.Time
	Added   time.Time
	AddedBy id.Node
	// UsedBy is the node that it admitted, zero while it is unused.
	UsedBy  id.Node
	Revoked bool
}

// Lane is how far a node's proposals in one folder (or the cluster) have come.
type Lane struct {
	// Session is the node's current one: proposals of any other are refused.
	Session id.Session
	// Last is the highest sequence that has an outcome.
	Last id.Sequence
}

// Totals counts a folder's live entries at its head.
type Totals struct {
	Files, Dirs, Symlinks uint64
	Bytes                 uint64 // sum of the files' sizes
}

// Tag is a named revision.
type Tag struct {
	Folder   id.Folder
	Name     string
	Revision id.Revision
	Time     time.Time
	Node     id.Node
}

// Body is an encoded command, split into what fits into log entries. It is what
// the durable queue keeps and what goes over the wire.
type Body struct {
	Parts [][]byte
	// Hash identifies the body: the same sequence with another hash is refused.
	Hash id.Digest
}

// Envelope says whose proposal a body is.
type Envelope struct {
	Node     id.Node
	Session  id.Session
	Lane     id.Folder // the zero folder is the cluster's lane
	Sequence id.Sequence
}

// IndexedEntry is one entry of the Raft log. Empty Data only moves the applied
// index on.
type IndexedEntry struct {
	Index uint64
	Data  []byte
}
