// Package meta is the replicated, versioned metadata of Lockstep.
package meta

import (
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Kind is what a path is at a revision. The numbers are part of the format.
type Kind uint8

// The kinds of an entry. Absent is a tombstone, or a path that never was.
const (
	Absent  Kind = 0
	File    Kind = 1
	Dir     Kind = 2
	Symlink Kind = 3
)

// String returns "absent", "file", "directory" or "symlink".
func (k Kind) String() string {
	switch k {
	case Absent:
		return "absent"
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return "unknown kind"
}

// Entry is what a path is at a revision. Entries are compared with ==.
// Fields that a kind does not use are zero: see Check.
type Entry struct {
	Kind Kind
	// Mode holds the permission bits 0o7777 of a file or directory.
	Mode uint32
	// MTime is a file's modification time in nanoseconds since 1970.
	MTime int64
	// Size is a file's size in bytes.
	Size int64
	// Content is the plain BLAKE3-256 of a file's bytes.
	Content id.Digest
	// Manifest is the root of the tree of a file's chunks; zero for a file of one
	// chunk (whose ID is Content) and for an empty one.
	Manifest id.Digest
	// Target is a symlink's text.
	Target string
}

// SameContent reports whether e and f differ at most in attributes (mode, mtime).
func (e Entry) SameContent(f Entry) bool {
	return e.Kind == f.Kind && e.Content == f.Content && e.Target == f.Target && e.Size == f.Size
}

// Fields is a mask of what a put changed.
type Fields uint8

// The fields. Content covers kind, size, content, manifest and target.
const (
	FieldContent Fields = 1 << 0
	FieldMode    Fields = 1 << 1
	FieldMTime   Fields = 1 << 2
	FieldsAll           = FieldContent | FieldMode | FieldMTime
)

// Base names the version that a change was made from. The zero Base is "none":
// the author knew no version of the path.
type Base struct {
	// Own is this node's earlier proposal in the same folder, whose outcome the
	// author did not know yet. When it is set the other fields are zero.
	Own id.Sequence
	// Revision is a revision of the folder at which the path was what the author
	// saw; Hash its hash's first eight bytes, so that a revision of another history
	// (after a recovery) is recognised and counts as none.
	Revision id.Revision
	Hash     [8]byte
}

// IsNone reports whether b names no version.
func (b Base) IsNone() bool { return b == Base{} }

// Op is what a change does. The numbers are part of the format.
type Op uint8

// The operations.
const (
	OpPut    Op = 1
	OpDelete Op = 2
	OpMove   Op = 3
)

// Change is one change of one path, or of one subtree for a delete or move of a
// directory. Changes of a commit are judged in their order, each seeing the
// effects of those before it.
type Change struct {
	Op   Op
	Path id.Path
	// From is the old path of a move; Path is the new one.
	From id.Path
	// Base is of Path for a put or delete, of From for a move.
	Base Base
	// Entry and Mask are a put's. Entry is always complete; Mask says what the
	// author changed in it.
	Entry Entry
	Mask  Fields
}

// Origin is why a commit was made. The numbers are part of the format.
type Origin uint8

// The origins.
const (
	OriginEdit     Origin = 1
	OriginRollback Origin = 2
	OriginResolve  Origin = 3
	OriginMerge    Origin = 4
	OriginImport   Origin = 5
	// OriginForget: its deletions end the tracking of paths, and remove nobody's file.
	OriginForget Origin = 6
)

// String returns the word that `log --json` shows.
func (o Origin) String() string {
	switch o {
	case OriginEdit:
		return "edit"
	case OriginRollback:
		return "rollback"
	case OriginResolve:
		return "resolve"
	case OriginMerge:
		return "merge"
	case OriginImport:
		return "import"
	case OriginForget:
		return "forget"
	}
	return "unknown"
}

// Commit is the header of one revision of a folder. Headers stay forever.
type Commit struct {
	Folder   id.Folder
	Revision id.Revision
	Time     time.Time // the leader's clock; order is the revision alone
	Node     id.Node   // the author
	Sequence id.Sequence
	Origin   Origin
	Message  string
	// Target is the revision that a rollback restored.
	Target id.Revision
	// Changes counts the versions of this revision.
	Changes uint64
	// Effects is the digest of those versions, Records that of all conflict records
	// up to here; Hash chains both to the past.
	Effects id.Digest
	Records id.Digest
	Hash    id.Digest
}

// Base returns the base that names this revision.
func (c Commit) Base() Base { return Base{Revision: c.Revision, Hash: c.Hash.Prefix()} }

// Version is what a path became at a revision: one row of the history.
type Version struct {
	Path     id.Path
	Revision id.Revision
	Entry    Entry
	// From is set when this version came by a move or became a conflict copy: the
	// path where it was before.
	From id.Path
	// To is set on a tombstone left by a move: where the path went.
	To id.Path
	// Lost is what lost a conflict that made no copy (conflicts=history), Absent on
	// all other versions. Entry is Absent then: no disk holds it, and Path, the
	// copy's name, is only where history keeps it.
	Lost Entry
}

// ConflictKind says what clashed. The numbers are part of the format.
type ConflictKind uint8

// The kinds of conflict.
const (
	ConflictEditEdit     ConflictKind = 1
	ConflictEditDelete   ConflictKind = 2
	ConflictCreateCreate ConflictKind = 3
	ConflictRenameRename ConflictKind = 4
	ConflictKinds        ConflictKind = 5
)

// String returns the word that `conflicts --json` shows.
func (k ConflictKind) String() string {
	switch k {
	case ConflictEditEdit:
		return "edit/edit"
	case ConflictEditDelete:
		return "edit/delete"
	case ConflictCreateCreate:
		return "create/create"
	case ConflictRenameRename:
		return "rename/rename"
	case ConflictKinds:
		return "kind"
	}
	return "unknown"
}

// ConflictState is how far a conflict is. The numbers are part of the format.
type ConflictState uint8

// The states. Automatic ones were decided by rule and need nobody.
const (
	ConflictOpen      ConflictState = 1
	ConflictResolved  ConflictState = 2
	ConflictAutomatic ConflictState = 3
)

// String returns the word that `conflicts --json` shows.
func (s ConflictState) String() string {
	switch s {
	case ConflictOpen:
		return "open"
	case ConflictResolved:
		return "resolved"
	case ConflictAutomatic:
		return "automatic"
	}
	return "unknown"
}

// Conflict is one record. Its name for people is FOLDER#Number.
type Conflict struct {
	Folder     id.Folder
	Number     uint64
	Path       id.Path
	CopyPath   id.Path // where the loser is; empty if it is nowhere else
	Hidden     bool    // no disk has CopyPath: history keeps the loser there (Version.Lost)
	Kind       ConflictKind
	State      ConflictState
	Base       id.Revision // 0: none
	Winner     id.Revision
	Loser      id.Revision
	WinnerNode id.Node
	LoserNode  id.Node
	Time       time.Time
	ResolvedBy id.Node
	ResolvedAt id.Revision
	Resolution string
}

// OutcomeKind is what became of a change or of a whole proposal. The numbers are
// part of the format.
type OutcomeKind uint8

// The outcomes.
const (
	// Accepted: the change is in history as it was proposed.
	Accepted OutcomeKind = 1
	// Unchanged: nothing to do, the history had it already (or both deleted).
	Unchanged OutcomeKind = 2
	// Merged: in history, combined with a concurrent change of other fields.
	Merged OutcomeKind = 3
	// Copied: lost a conflict; its content was committed at Path beside the winner.
	Copied OutcomeKind = 4
	// Followed: was applied at Path, where the entry had been moved.
	Followed OutcomeKind = 5
	// Dropped: a delete or move that lost against an edit; nothing was changed.
	Dropped OutcomeKind = 6
	// Refused: the command is not valid here (unknown folder, bad path, name
	// taken); Reason says why. Nothing was changed.
	Refused OutcomeKind = 7
)

// Outcome is the stored answer to one proposal.
type Outcome struct {
	Sequence id.Sequence
	// Entry is the hash of the proposal's body: the same sequence with another
	// hash is refused.
	Entry id.Digest
	Kind  OutcomeKind // Accepted, Unchanged or Refused for the whole
	// Reason is for people; set when Kind is Refused.
	Reason string
	// Revision that the proposal made, 0 if none.
	Revision id.Revision
	// Hash is that revision's hash's first eight bytes.
	Hash [8]byte
	// Changes lists the paths whose outcome is not plainly Accepted.
	// A Refused one (a move of what history does not know) is not in history: the
	// author's bytes there count as new.
	Changes []ChangeOutcome
	// Detail holds what a command made: a folder's ID, say. May be empty.
	Detail []byte
}

// ChangeOutcome is what became of the change to Proposed.
type ChangeOutcome struct {
	Proposed id.Path
	Kind     OutcomeKind
	// Path is where the content is now: the copy's, or the followed path.
	Path id.Path
	// Base names the version that the author's bytes are now known as. For Copied
	// and Followed it is a version of Path.
	Base Base
	// BasePath is where Base's version is, if that is not Path: the author's bytes
	// are of a version before a move.
	BasePath id.Path
	// Conflict is the record's number, 0 if none.
	Conflict uint64
}
