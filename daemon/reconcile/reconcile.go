// Package reconcile decides, for one path, what a node does next: one pure and
// total function of the committed head, the node's own changes under way, what
// the local index recorded, and what the disk says.
package reconcile

import (
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Head is the committed entry of the path, as far as this node's own state
// machine has applied the log.
type Head struct {
	// Revision is the folder's newest applied revision and Hash its hash's prefix.
	Revision id.Revision
	Hash     [8]byte
	// Entry is the path's; the zero Entry where it is absent.
	Entry meta.Entry
	// Forgotten: the path is absent because its tracking was ended, which leaves
	// everybody's file.
	Forgotten bool
}

// Base names the head's version for the local index.
func (h Head) Base() meta.Base { return meta.Base{Revision: h.Revision, Hash: h.Hash} }

// Queue is the newest of this node's own changes to the path that its own state
// machine has not applied yet. Sequence 0 means that there is none.
type Queue struct {
	Sequence id.Sequence
}

// Lineage is how the recorded version stands to the history that this node's
// state machine holds.
type Lineage uint8

const (
	// Unrecorded: there is no record of the path.
	Unrecorded Lineage = iota
	// Held: the version is in this history, whether it won or lost.
	Held
	// Ahead: its revision is newer than the head: the state machine is behind.
	Ahead
	// Foreign: this history does not hold it (a recovery made another one).
	Foreign
)

// Recorded is the version whose bytes the disk is known to hold, and the stat of
// the file at that time.
type Recorded struct {
	Lineage Lineage
	// Base is what a change made from these bytes names: none for bytes that history
	// holds, though the user has seen no version of the path.
	Base  meta.Base
	Entry meta.Entry
	Stat  vfs.Stat
	// Outside: this node does not keep what is recorded. Of the head it has then nothing,
	// or something else that it does keep.
	Outside bool
}

// Disk is what is at the path now.
type Disk struct {
	Stat vfs.Stat
	// Entry is what the bytes are; valid when Hashed. A directory or a symlink
	// counts as hashed once it was listed or read.
	Entry  meta.Entry
	Hashed bool
	// Blocked says why the path cannot be read; such a path is left alone.
	Blocked bool
	// Ignored: this node's ignore rules leave the path out where nobody tracks it.
	Ignored bool
	// Outside: what this node keeps of the folder leaves it out. It is Ignored too.
	Outside bool
}

// Action is what to do with the path.
type Action uint8

const (
	// Nothing: disk, record and head agree.
	Nothing Action = iota
	// Propose: the disk holds a change of the user's; Decision.Change is it.
	Propose
	// Materialize: the disk holds recorded bytes (or nothing) and the head another
	// entry: bring the head to the disk.
	Materialize
	// Adopt: the disk holds Decision.Record's content already; only the record is
	// to be brought up to date.
	Adopt
	// Wait: nothing can be decided until what Decision.Why names has happened.
	Wait
	// LetGo: the head forgot the path, or this node does not keep it: drop the record, and
	// leave what is there.
	LetGo
)

// String returns the action's name.
func (a Action) String() string {
	return [...]string{"nothing", "propose", "materialize", "adopt", "wait", "let go"}[a]
}

// Why says what a Wait waits for.
type Why uint8

const (
	// ForNothing is the Why of every other action.
	ForNothing Why = iota
	// ForHash: the disk's bytes are not known; hash them and ask again.
	ForHash
	// ForOutcome: an own change of the path is under way.
	ForOutcome
	// ForLog: the recorded version is newer than the head.
	ForLog
	// ForAccess: the path cannot be read, or is of a kind that is never synced.
	ForAccess
	// ForIgnored: a directory of ignored files, which are not in history, or anything
	// that this node does not keep is where the head has something else.
	ForIgnored
)

// Decision is the answer.
type Decision struct {
	Action Action
	Why    Why
	// Change is set for Propose.
	Change meta.Change
	// Base and Entry are what to record for Adopt: the zero Entry drops the record.
	Base  meta.Base
	Entry meta.Entry
}

// Decide answers for one path. It is total: every combination has an answer, and
// no answer overwrites bytes that are not recorded.
//
// The rules, in order:
//
//  1. what is ignored and not tracked, neither recorded nor at the head nor under way,
//     is left alone;
//  2. a record of what this node does not keep is let go, whatever is there;
//  3. what cannot be read is left alone;
//  4. a disk that is as recorded ("clean") never makes a change: it waits for own
//     changes under way and for a log that is behind, else follows the head;
//  5. a disk that differs from the record ("dirty") is never overwritten: it is
//     adopted where it equals the head or the record, else proposed on the base
//     that the record names, or on the own change under way.
func Decide(path id.Path, h Head, q Queue, r Recorded, d Disk) Decision {
	if d.Ignored && r.Lineage == Unrecorded && d.Stat.Kind != vfs.Absent {
		switch {
		case q.Sequence != 0: // its deletion: until that is applied it is tracked
			return Decision{Action: Wait, Why: ForOutcome}
		case h.Entry.Kind == meta.Absent:
			return Decision{Action: Nothing}
		case d.Outside, d.Stat.Kind == vfs.Dir && h.Entry.Kind != meta.Dir:
			return Decision{Action: Wait, Why: ForIgnored}
		}
	}
	if r.Outside && q.Sequence == 0 && h.Entry.Kind == meta.Absent {
		return Decision{Action: LetGo}
	}
	if d.Blocked || d.Stat.Kind == vfs.Other {
		return Decision{Action: Wait, Why: ForAccess}
	}
	if clean(r, d) {
		return decideClean(path, h, q, r, d)
	}
	if d.Stat.Kind == vfs.Absent {
		return decideDeleted(path, h, q, r)
	}
	return decideDirty(path, h, q, r, d)
}

// clean reports whether the disk is what was recorded, or both are nothing.
func clean(r Recorded, d Disk) bool {
	if r.Lineage == Unrecorded {
		return d.Stat.Kind == vfs.Absent
	}
	return r.Stat.Same(d.Stat)
}

func decideClean(path id.Path, h Head, q Queue, r Recorded, d Disk) Decision {
	switch {
	case q.Sequence != 0:
		return Decision{Action: Wait, Why: ForOutcome}
	case r.Lineage == Ahead:
		return Decision{Action: Wait, Why: ForLog}
	case r.Entry == h.Entry && (r.Lineage == Unrecorded || r.Lineage == Held && !r.Base.IsNone()):
		return Decision{Action: Nothing}
	case r.Entry == h.Entry:
		return Decision{Action: Adopt, Base: h.Base(), Entry: h.Entry}
	case r.Lineage == Foreign:
		return put(path, meta.Base{}, r.Entry, meta.FieldsAll)
	case r.Lineage == Held && h.Forgotten && h.Entry.Kind == meta.Absent:
		return Decision{Action: LetGo}
	}
	return Decision{Action: Materialize}
}

// decideDeleted is for a recorded path that is gone from the disk.
func decideDeleted(path id.Path, h Head, q Queue, r Recorded) Decision {
	switch {
	case q.Sequence == 0 && r.Lineage != Ahead && h.Entry.Kind == meta.Absent:
		return Decision{Action: Adopt, Base: h.Base()}
	case q.Sequence == 0 && r.Lineage == Foreign:
		// Whether the user deleted it from this history cannot be known: keep the
		// file rather than delete it everywhere.
		return Decision{Action: Materialize}
	}
	return Decision{Action: Propose, Change: meta.Change{Op: meta.OpDelete, Path: path, Base: base(q, r)}}
}

// decideDirty is for something on the disk that is not as recorded.
func decideDirty(path id.Path, h Head, q Queue, r Recorded, d Disk) Decision {
	switch {
	case !d.Hashed:
		return Decision{Action: Wait, Why: ForHash}
	case r.Lineage != Unrecorded && d.Entry == r.Entry:
		// Touched and put back, copied over itself, or restored: the same version
		// with another stat.
		return Decision{Action: Adopt, Base: r.Base, Entry: r.Entry}
	case q.Sequence == 0 && r.Lineage != Ahead && d.Entry == h.Entry:
		return Decision{Action: Adopt, Base: h.Base(), Entry: h.Entry}
	case q.Sequence == 0 && r.Lineage == Unrecorded && d.Entry.SameContent(h.Entry):
		// The head's bytes under other attributes, with no record that the user
		// changed those: record what is there as known bytes; the next decision
		// brings the attributes.
		return Decision{Action: Adopt, Base: h.Base(), Entry: d.Entry}
	case r.Lineage == Unrecorded || r.Lineage == Foreign:
		return put(path, base(q, r), d.Entry, meta.FieldsAll)
	}
	return put(path, base(q, r), d.Entry, Mask(r.Entry, d.Entry))
}

// Mask says which fields differ between what was recorded and what is there now.
func Mask(was, is meta.Entry) meta.Fields {
	if !was.SameContent(is) {
		m := meta.FieldContent | meta.FieldMTime
		if was.Mode != is.Mode || was.Kind != is.Kind {
			m |= meta.FieldMode
		}
		return m
	}
	var m meta.Fields
	if was.Mode != is.Mode {
		m |= meta.FieldMode
	}
	if was.MTime != is.MTime {
		m |= meta.FieldMTime
	}
	return m
}

// base is what a change of the path names: the own change under way if there is
// one, else what was recorded, unless this history does not hold it.
func base(q Queue, r Recorded) meta.Base {
	switch {
	case q.Sequence != 0:
		return meta.Base{Own: q.Sequence}
	case r.Lineage == Held, r.Lineage == Ahead:
		return r.Base
	}
	return meta.Base{}
}

func put(path id.Path, b meta.Base, e meta.Entry, m meta.Fields) Decision {
	return Decision{Action: Propose, Change: meta.Change{Op: meta.OpPut, Path: path, Base: b, Entry: e, Mask: m}}
}
