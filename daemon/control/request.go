package control

import "time"

// Target names a place in a synced folder as the user did. At least one of
// Folder and Local is set. When both are, the user gave a bare word: it means
// the folder of that name if there is one, else the path Local.
type Target struct {
	// Folder is a folder's name; Rel the path below its root, "" for the root.
	Folder string  `json:"folder,omitempty"`
	Rel    RawPath `json:"rel,omitempty"`
	// Local is an absolute, clean path on this machine, symlinks not resolved.
	// The node finds the folder that holds it.
	Local RawPath `json:"local,omitempty"`
}

// String returns t as a user may write it.
func (t Target) String() string {
	switch {
	case t.Folder != "" && t.Rel == "":
		return t.Folder
	case t.Folder != "":
		text, _ := EncodePath(string(t.Rel))
		return t.Folder + ":" + text
	}
	text, _ := EncodePath(string(t.Local))
	return text
}

// RevKind says how a revision was named.
type RevKind string

// The ways to name a revision.
const (
	RevNumber RevKind = "number" // Number
	RevHead   RevKind = "head"   // the head, Back revisions ago
	RevTag    RevKind = "tag"    // Text
	RevTime   RevKind = "time"   // Time: the newest revision stamped at or before it
)

// Rev names a revision of a folder.
type Rev struct {
	Kind   RevKind   `json:"kind"`
	Number uint64    `json:"number,omitempty"`
	Back   uint64    `json:"back,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	// Text is what the user wrote.
	Text string `json:"text"`
}

// String returns what the user wrote.
func (r Rev) String() string { return r.Text }

// StatusRequest asks for the node's state.
type StatusRequest struct {
	Linearizable bool `json:"linearizable,omitempty"`
	// After is the Change of an earlier answer: the answer waits until there is another,
	// but not for long, so that what it says of time and bytes stays true.
	After uint64 `json:"after,omitempty"`
}

// FolderAddRequest starts syncing a directory.
type FolderAddRequest struct {
	Path RawPath `json:"path"` // absolute
	Name string  `json:"name,omitempty"`
	// Prefer is "", "cluster", "mine" or "both".
	Prefer string `json:"prefer,omitempty"`
	// Only are the patterns of what of the folder this node is to keep; "" for everything.
	Only string `json:"only,omitempty"`
	// DryRun only makes the plan.
	DryRun bool `json:"dry_run,omitempty"`
}

// FolderRemoveRequest unsubscribes this node, or ends the folder everywhere.
type FolderRemoveRequest struct {
	Name       string `json:"name"`
	Everywhere bool   `json:"everywhere,omitempty"`
	DryRun     bool   `json:"dry_run,omitempty"`
}

// WaitRequest waits until every change on this disk at the time of the call is
// committed and on this disk (All: on the disk of every member online then).
type WaitRequest struct {
	Folder       string        `json:"folder,omitempty"` // "": all folders of this node
	Timeout      time.Duration `json:"timeout_ns"`
	All          bool          `json:"all,omitempty"`
	Linearizable bool          `json:"linearizable,omitempty"`
}

// LogRequest lists commits of a folder, or versions of a path, newest first.
type LogRequest struct {
	Target Target `json:"target"`
	// Limit is how many to list; 0 is all.
	Limit        int       `json:"limit,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	Linearizable bool      `json:"linearizable,omitempty"`
	// Until leaves out what is stamped later.
	Until time.Time `json:"until,omitzero"`
	// Match lists patterns: only versions of paths that match one of them. With it,
	// and for a directory, the versions of all paths within Target are listed.
	Match []RawPath `json:"match,omitempty"`
}

// CatRequest asks for one version's bytes.
type CatRequest struct {
	Target       Target `json:"target"`
	Rev          Rev    `json:"rev"`
	Linearizable bool   `json:"linearizable,omitempty"`
}

// RollbackRequest commits, as one new revision, the state of Target at Rev.
type RollbackRequest struct {
	Target  Target `json:"target"`
	Rev     Rev    `json:"rev"`
	Message string `json:"message,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// ConflictsRequest lists conflicts.
type ConflictsRequest struct {
	Folder string `json:"folder,omitempty"` // "": all folders
	All    bool   `json:"all,omitempty"`    // resolved and automatic ones too
}

// InviteRequest makes a token.
type InviteRequest struct {
	Role string        `json:"role"` // "auto", "voter" or "learner"
	TTL  time.Duration `json:"ttl_ns"`
}

// TraceRequest asks for the steps of a path's way.
type TraceRequest struct {
	Target Target `json:"target"`
}
