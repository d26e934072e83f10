package meta

import (
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// rowVersion is the first byte of every row but versions, which have their own.
const rowVersion = 1

type rowCluster struct {
	ID      []byte `codec:"i"`
	Level   uint32 `codec:"l"`
	Created int64  `codec:"t"`
}

type rowFolder struct {
	Name      string            `codec:"n"`
	Removed   bool              `codec:"d,omitempty"`
	Options   map[string]string `codec:"p,omitempty"`
	Created   int64             `codec:"t"`
	CreatedBy []byte            `codec:"b,omitempty"`
}

// rowState is a folder's head: what makes its newest commit visible.
type rowState struct {
	Revision  uint64 `codec:"r"`
	Hash      []byte `codec:"h,omitempty"`
	Files     uint64 `codec:"f,omitempty"`
	Dirs      uint64 `codec:"d,omitempty"`
	Symlinks  uint64 `codec:"l,omitempty"`
	Bytes     uint64 `codec:"b,omitempty"`
	Conflicts uint64 `codec:"c,omitempty"` // records ever made
	Open      uint64 `codec:"o,omitempty"`
	Records   []byte `codec:"x,omitempty"` // digest of the records, as in a commit
}

type rowCommit struct {
	Time     int64  `codec:"t"`
	Node     []byte `codec:"n,omitempty"`
	Sequence uint64 `codec:"s,omitempty"`
	Origin   uint8  `codec:"o"`
	Message  []byte `codec:"m,omitempty"`
	Target   uint64 `codec:"g,omitempty"`
	Changes  uint64 `codec:"c"`
	Effects  []byte `codec:"e"`
	Hash     []byte `codec:"h"`
	Records  []byte `codec:"x,omitempty"`
}

type rowConflict struct {
	Path       []byte `codec:"p"`
	CopyPath   []byte `codec:"c,omitempty"`
	Kind       uint8  `codec:"k"`
	State      uint8  `codec:"s"`
	Base       uint64 `codec:"b,omitempty"`
	Winner     uint64 `codec:"w,omitempty"`
	Loser      uint64 `codec:"l,omitempty"`
	WinnerNode []byte `codec:"x,omitempty"`
	LoserNode  []byte `codec:"y,omitempty"`
	Time       int64  `codec:"t"`
	ResolvedBy []byte `codec:"n,omitempty"`
	ResolvedAt uint64 `codec:"r,omitempty"`
	Resolution string `codec:"o,omitempty"`
	Hidden     bool   `codec:"h,omitempty"`
}

// rowOpen names the open records that have a path as theirs or as their copy's.
type rowOpen struct {
	Numbers []uint64 `codec:"n"`
}

type rowTag struct {
	Revision uint64 `codec:"r"`
	Time     int64  `codec:"t"`
	Node     []byte `codec:"n,omitempty"`
}

type rowSession struct {
	Session []byte `codec:"s"`
}

// rowLane also says which parts of a body are under way.
type rowLane struct {
	Last      uint64 `codec:"l,omitempty"`
	PartSeq   uint64 `codec:"s,omitempty"`
	PartHash  []byte `codec:"h,omitempty"`
	PartNext  int    `codec:"k,omitempty"`
	PartCount int    `codec:"n,omitempty"`
	// PartSession sent the parts: those of an ended session are dead.
	PartSession []byte `codec:"i,omitempty"`
	// First is the lowest sequence whose outcome may still be stored.
	First uint64 `codec:"f,omitempty"`
}

type rowChangeOutcome struct {
	Proposed []byte `codec:"p"`
	Kind     uint8  `codec:"k"`
	Path     []byte `codec:"q,omitempty"`
	Own      uint64 `codec:"s,omitempty"`
	Revision uint64 `codec:"r,omitempty"`
	Hash     []byte `codec:"h,omitempty"`
	Conflict uint64 `codec:"c,omitempty"`
	BasePath []byte `codec:"b,omitempty"`
}

type rowOutcome struct {
	Entry    []byte             `codec:"e"`
	Kind     uint8              `codec:"k"`
	Reason   string             `codec:"m,omitempty"`
	Revision uint64             `codec:"r,omitempty"`
	Hash     []byte             `codec:"h,omitempty"`
	Changes  []rowChangeOutcome `codec:"c,omitempty"`
	Detail   []byte             `codec:"d,omitempty"`
	// Head is the folder's head after the proposal was judged.
	Head     uint64 `codec:"g,omitempty"`
	HeadHash []byte `codec:"j,omitempty"`
}

type rowInvite struct {
	Role    uint8  `codec:"r,omitempty"`
	Expires int64  `codec:"e,omitempty"`
	Added   int64  `codec:"t"`
	AddedBy []byte `codec:"b,omitempty"`
	UsedBy  []byte `codec:"u,omitempty"`
	Revoked bool   `codec:"x,omitempty"`
}

func packRow(v any) []byte { return pack([]byte{rowVersion}, v) }

// unpackRow reads what packRow wrote.
func unpackRow(b []byte, v any) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: empty row for %T", ErrDamaged, v)
	}
	if b[0] != rowVersion {
		return fmt.Errorf("row version %d for %T: %w", b[0], v, ErrNewer)
	}
	return unpack(b[1:], v)
}

func (c Commit) row() *rowCommit {
	return &rowCommit{nanos(c.Time), putFixed(c.Node), uint64(c.Sequence), uint8(c.Origin), bin(c.Message),
		uint64(c.Target), c.Changes, putFixed(c.Effects), putFixed(c.Hash), putFixed(c.Records)}
}

func decodeCommit(f id.Folder, r id.Revision, b []byte) (Commit, error) {
	w := new(rowCommit)
	if err := unpackRow(b, w); err != nil {
		return Commit{}, err
	}
	c := Commit{Folder: f, Revision: r, Time: fromNanos(w.Time), Sequence: id.Sequence(w.Sequence), Origin: Origin(w.Origin),
		Message: string(w.Message), Target: id.Revision(w.Target), Changes: w.Changes}
	var e1, e2, e3, e4 error
	c.Node, e1 = getFixed[id.Node](w.Node)
	c.Effects, e2 = getFixed[id.Digest](w.Effects)
	c.Records, e3 = getFixed[id.Digest](w.Records)
	c.Hash, e4 = getFixed[id.Digest](w.Hash)
	return c, errors.Join(e1, e2, e3, e4)
}

func (c Conflict) row() *rowConflict {
	return &rowConflict{bin(c.Path), bin(c.CopyPath), uint8(c.Kind), uint8(c.State), uint64(c.Base), uint64(c.Winner),
		uint64(c.Loser), putFixed(c.WinnerNode), putFixed(c.LoserNode), nanos(c.Time), putFixed(c.ResolvedBy), uint64(c.ResolvedAt), c.Resolution, c.Hidden}
}

func decodeConflict(f id.Folder, n uint64, b []byte) (Conflict, error) {
	w := new(rowConflict)
	if err := unpackRow(b, w); err != nil {
		return Conflict{}, err
	}
	c := Conflict{Folder: f, Number: n, Path: id.Path(w.Path), CopyPath: id.Path(w.CopyPath), Kind: ConflictKind(w.Kind),
		State: ConflictState(w.State), Base: id.Revision(w.Base), Winner: id.Revision(w.Winner), Loser: id.Revision(w.Loser),
		Time: fromNanos(w.Time), ResolvedAt: id.Revision(w.ResolvedAt), Resolution: w.Resolution, Hidden: w.Hidden}
	var e1, e2, e3 error
	c.WinnerNode, e1 = getFixed[id.Node](w.WinnerNode)
	c.LoserNode, e2 = getFixed[id.Node](w.LoserNode)
	c.ResolvedBy, e3 = getFixed[id.Node](w.ResolvedBy)
	return c, errors.Join(e1, e2, e3)
}

// outcome is what a lane stores for a sequence.
type outcome struct {
	Outcome
	// head is the folder's head after the proposal was judged.
	head Base
}

func (o outcome) row() *rowOutcome {
	w := &rowOutcome{putFixed(o.Entry), uint8(o.Kind), o.Reason, uint64(o.Revision), putFixed(o.Hash), nil, o.Detail,
		uint64(o.head.Revision), putFixed(o.head.Hash)}
	for _, c := range o.Changes {
		w.Changes = append(w.Changes, rowChangeOutcome{bin(c.Proposed), uint8(c.Kind), bin(c.Path), uint64(c.Base.Own),
			uint64(c.Base.Revision), putFixed(c.Base.Hash), c.Conflict, bin(c.BasePath)})
	}
	return w
}

func decodeOutcome(s id.Sequence, b []byte) (o outcome, err error) {
	w := new(rowOutcome)
	if err := unpackRow(b, w); err != nil {
		return o, err
	}
	o.Outcome = Outcome{Sequence: s, Kind: OutcomeKind(w.Kind), Reason: w.Reason, Revision: id.Revision(w.Revision), Detail: w.Detail}
	o.head.Revision = id.Revision(w.Head)
	var e1, e2, e3 error
	o.Entry, e1 = getFixed[id.Digest](w.Entry)
	o.Hash, e2 = getFixed[[8]byte](w.Hash)
	o.head.Hash, e3 = getFixed[[8]byte](w.HeadHash)
	err = errors.Join(e1, e2, e3)
	for _, c := range w.Changes {
		h, cerr := getFixed[[8]byte](c.Hash)
		err = errors.Join(err, cerr)
		o.Changes = append(o.Changes, ChangeOutcome{Proposed: id.Path(c.Proposed), Kind: OutcomeKind(c.Kind), Path: id.Path(c.Path),
			Base: Base{Own: id.Sequence(c.Own), Revision: id.Revision(c.Revision), Hash: h}, Conflict: c.Conflict, BasePath: id.Path(c.BasePath)})
	}
	return o, err
}

func decodeFolder(f id.Folder, b []byte) (Folder, error) {
	w := new(rowFolder)
	if err := unpackRow(b, w); err != nil {
		return Folder{}, err
	}
	by, err := getFixed[id.Node](w.CreatedBy)
	return Folder{ID: f, Name: w.Name, Removed: w.Removed, Options: w.Options, Created: fromNanos(w.Created), CreatedBy: by}, err
}

func (f Folder) row() *rowFolder {
	return &rowFolder{f.Name, f.Removed, f.Options, nanos(f.Created), putFixed(f.CreatedBy)}
}

func decodeNode(b []byte) (NodeRecord, error) {
	w := new(wireNode)
	if err := unpackRow(b, w); err != nil {
		return NodeRecord{}, err
	}
	return fromWireNode(*w)
}

func decodeInvite(h id.Digest, b []byte) (Invite, error) {
	w := new(rowInvite)
	if err := unpackRow(b, w); err != nil {
		return Invite{}, err
	}
	by, e1 := getFixed[id.Node](w.AddedBy)
	used, e2 := getFixed[id.Node](w.UsedBy)
	return Invite{Hash: h, Role: Role(w.Role), Expires: fromNanos(w.Expires), Added: fromNanos(w.Added), AddedBy: by, UsedBy: used, Revoked: w.Revoked}, errors.Join(e1, e2)
}

func (i Invite) row() *rowInvite {
	return &rowInvite{uint8(i.Role), nanos(i.Expires), nanos(i.Added), putFixed(i.AddedBy), putFixed(i.UsedBy), i.Revoked}
}
