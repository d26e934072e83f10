package control

import "time"

// Freshness says how current a local answer is.
type Freshness struct {
	// Linearizable is true when the leader was asked first.
	Linearizable bool `json:"linearizable"`
	// LeaderContactS is how many seconds ago this node last heard from the leader;
	// 0 on the leader itself, -1 if it never did since its start.
	LeaderContactS float64 `json:"leader_contact_s"`
}

// Status is the whole state of a node.
type Status struct {
	Node    NodeStatus     `json:"node"`
	Cluster ClusterStatus  `json:"cluster"`
	Folders []FolderStatus `json:"folders"`
	// Elsewhere names the cluster's folders that this node does not keep.
	Elsewhere []string  `json:"elsewhere"`
	Freshness Freshness `json:"freshness"`
	// Change numbers the state, for StatusRequest.After.
	Change uint64 `json:"change"`
}

// NodeStatus is this node.
type NodeStatus struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Address string  `json:"address"` // what others are told to dial
	Listen  string  `json:"listen"`  // what is bound
	UptimeS float64 `json:"uptime_s"`
	PID     int     `json:"pid"`
}

// ClusterStatus is the cluster as this node sees it.
type ClusterStatus struct {
	ID        string          `json:"id"`
	Leader    string          `json:"leader"` // name; "" if none is known
	Term      uint64          `json:"term"`
	HasQuorum bool            `json:"has_quorum"`
	Nodes     []ClusterMember `json:"nodes"`
	// Removed: as far as this node knows it is no member any more, so nothing of it
	// will be committed, whoever comes back.
	Removed bool `json:"removed,omitempty"`
	// Notice says what the user should know: "commits need NODE".
	Notice string `json:"notice,omitempty"`
}

// ClusterMember is one member.
type ClusterMember struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Role     string     `json:"role"` // "voter" or "learner"
	Online   bool       `json:"online"`
	Address  string     `json:"address"`
	Version  string     `json:"version,omitempty"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
}

// FolderState is what a folder does now.
type FolderState string

// The states.
const (
	StateScanning FolderState = "scanning"
	StateSyncing  FolderState = "syncing"
	StateIdle     FolderState = "idle"
	StatePaused   FolderState = "paused"
	StateOffline  FolderState = "offline" // no quorum: local changes are queued
	StateHalted   FolderState = "halted"  // Error says why
)

// FolderStatus is one folder of this node.
type FolderStatus struct {
	Name  string      `json:"name"`
	ID    string      `json:"id"`
	Path  string      `json:"path"`
	State FolderState `json:"state"`
	Error string      `json:"error,omitempty"`
	// Summary is the state in one phrase: see Summarize.
	Summary string `json:"summary"`
	// HeadRevision is the newest revision that this node knows; AppliedRevision
	// the one that is on its disk.
	HeadRevision    uint64 `json:"head_revision"`
	AppliedRevision uint64 `json:"applied_revision"`
	HistoryHash     string `json:"history_hash"`
	Files           uint64 `json:"files"`
	Bytes           uint64 `json:"bytes"`
	Directories     uint64 `json:"directories"`
	Symlinks        uint64 `json:"symlinks"`
	// LocalChanges counts paths on this disk not yet committed; Pending* is what
	// this disk lacks of the head.
	LocalChanges  int           `json:"local_changes"`
	PendingFiles  int           `json:"pending_files"`
	PendingBytes  int64         `json:"pending_bytes"`
	ConflictsOpen int           `json:"conflicts_open"`
	Blocked       []BlockedPath `json:"blocked"`
	Held          []Held        `json:"held"`
	// Mode is which way changes go here: "both", "send" or "receive".
	Mode string `json:"mode"`
	// Only are the patterns of what of the folder this node keeps; left out where that is
	// everything.
	Only string `json:"only,omitempty"`
	// Kept are changes on this disk that are not committed, for the node only receives.
	Kept []BlockedPath `json:"kept"`
	// NotBrought counts paths whose head is not on this disk, for the node only sends.
	NotBrought int `json:"not_brought"`
	// UnprotectedBytes are committed by location only: see the guarantees.
	UnprotectedBytes  int64        `json:"unprotected_bytes"`
	WireBytesSent     int64        `json:"wire_bytes_sent"`
	WireBytesReceived int64        `json:"wire_bytes_received"`
	Nodes             []FolderNode `json:"nodes"`
	// ReceiveRate is in bytes a second, over the last seconds; 0 while it is not known.
	// Sources names the members from which something came then.
	ReceiveRate int64    `json:"receive_rate"`
	Sources     []string `json:"sources"`
}

// BlockedPath is a path that cannot be synced here, with the reason.
type BlockedPath struct {
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	Reason  string `json:"reason"`
	// Folder is set in lists that mix folders.
	Folder string `json:"folder,omitempty"`
}

// NewBlockedPath makes a BlockedPath of a path's bytes.
func NewBlockedPath(path, reason string) BlockedPath {
	text, b64 := EncodePath(path)
	return BlockedPath{Path: text, PathB64: b64, Reason: reason}
}

// Held is a commit that waits for the user: a mass deletion.
type Held struct {
	Reason  string    `json:"reason"`
	Deletes int       `json:"deletes"`
	Since   time.Time `json:"since"`
}

// FolderNode is how far one member is with a folder.
type FolderNode struct {
	Name            string `json:"name"`
	AppliedRevision uint64 `json:"applied_revision"`
	Online          bool   `json:"online"`
	// Paused: the folder was paused there when it was last heard of.
	Paused bool `json:"paused"`
	// BehindSince is set while it is online and behind, and not paused: since when its
	// disk stays at AppliedRevision, as far as this node saw it.
	BehindSince *time.Time `json:"behind_since,omitempty"`
}

// Folder is one line of `folder ls`.
type Folder struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Path is where it is on this node; "" when this node does not sync it.
	Path         string      `json:"path"`
	Subscribed   bool        `json:"subscribed"`
	State        FolderState `json:"state,omitempty"`
	HeadRevision uint64      `json:"head_revision"`
	Files        uint64      `json:"files"`
	Bytes        uint64      `json:"bytes"`
	// Settings are all that hold here, by key: see `folder set`.
	Settings map[string]string `json:"settings"`
}

// FolderAddResult is what `folder add` did.
type FolderAddResult struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Path string `json:"path"`
	// Joined: the cluster had a folder of that name, and this node joined it.
	Joined bool `json:"joined"`
	DryRun bool `json:"dry_run"`
	// Plan is how the directory's content stood to the folder's; nil for a new folder.
	Plan *FolderPlan `json:"plan,omitempty"`
	// Kept is where history keeps what --prefer cluster replaced.
	Kept *KeptMine `json:"kept,omitempty"`
}

// FolderRemoveResult is what `folder rm` did, or would do.
type FolderRemoveResult struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Path       string `json:"path"`
	Everywhere bool   `json:"everywhere"`
	DryRun     bool   `json:"dry_run"`
	// NotPacked counts files with something that history has and this node's store has
	// not, for they could not be read as they were.
	NotPacked int `json:"not_packed,omitempty"`
}

// WaitResult is what was waited for.
type WaitResult struct {
	Folders []WaitFolder `json:"folders"`
	// Dropped names the members that went offline meanwhile (All only).
	Dropped []string `json:"dropped"`
	// Warnings lists kinds that are never synced: FIFO, socket, device, mount point.
	Warnings []BlockedPath `json:"warnings"`
	ElapsedS float64       `json:"elapsed_s"`
}

// WaitFolder is one folder's revision that was reached.
type WaitFolder struct {
	Name     string       `json:"name"`
	Revision uint64       `json:"revision"`
	Nodes    []FolderNode `json:"nodes"`
	// NotBrought counts paths of that revision that are not on this disk, for the node
	// only sends.
	NotBrought int `json:"not_brought"`
}

// LogEntry is one line of `log`: a commit of a folder, or a version of a path.
// Exactly one field is set.
type LogEntry struct {
	Commit  *LogCommit  `json:"commit,omitempty"`
	Version *LogVersion `json:"version,omitempty"`
}

// LogCommit is one commit.
type LogCommit struct {
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	Origin   string    `json:"origin"`
	Message  string    `json:"message"`
	Changes  uint64    `json:"changes"`
	Hash     string    `json:"hash"`
	// Target is the revision that a rollback restored.
	Target uint64 `json:"target,omitempty"`
}

// LogVersion is one version of a path.
type LogVersion struct {
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	// Action is "create", "modify", "attributes", "rename" or "delete".
	Action string `json:"action"`
	// Path is where it was then: renames are followed.
	Path    string     `json:"path"`
	PathB64 string     `json:"path_b64,omitempty"`
	Kind    string     `json:"kind"`
	Size    int64      `json:"size"`
	Mode    string     `json:"mode"` // octal: "0644"
	MTime   *time.Time `json:"mtime"`
	Content string     `json:"content"` // BLAKE3-256 in hex; "" for no file
	From    string     `json:"from,omitempty"`
	FromB64 string     `json:"from_b64,omitempty"`
	// To is where it went: on the last version of an old path, of action "rename".
	To    string `json:"to,omitempty"`
	ToB64 string `json:"to_b64,omitempty"`
}

// CatInfo is sent before a version's bytes.
type CatInfo struct {
	Folder   string    `json:"folder"`
	Path     string    `json:"path"`
	PathB64  string    `json:"path_b64,omitempty"`
	Revision uint64    `json:"revision"` // the revision that made this version
	Size     int64     `json:"size"`
	Content  string    `json:"content"`
	Fresh    Freshness `json:"freshness"`
}

// RollbackChange is one path that a rollback changes.
type RollbackChange struct {
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	// Action is "create", "modify", "attributes" or "delete".
	Action string `json:"action"`
	Kind   string `json:"kind"`
	Size   int64  `json:"size"`
}

// RollbackResult is what a rollback did, or would do.
type RollbackResult struct {
	Folder  string `json:"folder"`
	Path    string `json:"path"` // "" for the whole folder
	PathB64 string `json:"path_b64,omitempty"`
	// Target is the revision restored; Revision the one made, 0 when nothing
	// differed or DryRun; Previous the head before it: rolling back to it undoes.
	Target   uint64 `json:"target"`
	Previous uint64 `json:"previous"`
	Revision uint64 `json:"revision"`
	Changes  uint64 `json:"changes"`
	DryRun   bool   `json:"dry_run"`
	// OnDisk: Revision, or a later one, is on this node's disk. A large change goes on
	// after the answer.
	OnDisk bool `json:"on_disk"`
	// Counts are of the listed changes by action; with DryRun only.
	Counts map[string]uint64 `json:"counts,omitempty"`
}

// Conflict is one record.
type Conflict struct {
	ID             string    `json:"id"` // FOLDER#n
	Folder         string    `json:"folder"`
	Path           string    `json:"path"`
	PathB64        string    `json:"path_b64,omitempty"`
	BaseRevision   uint64    `json:"base_revision"` // 0: none
	WinnerRevision uint64    `json:"winner_revision"`
	LoserRevision  uint64    `json:"loser_revision"`
	WinnerNode     string    `json:"winner_node"`
	LoserNode      string    `json:"loser_node"`
	CopyPath       string    `json:"copy_path"` // "" if no disk has a copy
	CopyPathB64    string    `json:"copy_path_b64,omitempty"`
	Kind           string    `json:"kind"`
	State          string    `json:"state"`
	Time           time.Time `json:"time"`
	ResolvedBy     string    `json:"resolved_by"`
	Resolution     string    `json:"resolution"`
}

// Invite is a fresh token.
type Invite struct {
	Token   string    `json:"token"`
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
}

// Step is one time stamp on a path's way from one disk to another.
type Step struct {
	// Name is the step: event, settled, hashed, queued, outcome at the author;
	// arrived, staged, on-disk, recorded at a receiver.
	Name string    `json:"name"`
	Time time.Time `json:"time"`
	// Detail says more: the revision, the peer.
	Detail string `json:"detail,omitempty"`
}
