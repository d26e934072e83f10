package meta

import (
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// MaxChanges bounds the changes of one commit.
const MaxChanges = 1 << 18

// MaxSize is how many bytes of MaxCommand the change takes, at most.
func (c Change) MaxSize() int {
	// Each field has a tag of 2 bytes; numbers take up to 9, and what has a length 3 for
	// that.
	const fields, entry = 1 + 4 + 2*5 + 2*11 + 13 + 4, 4 + 7 + 2*11 + 2*37 + 5
	n := fields + len(c.Path) + len(c.From)
	if c.Entry != (Entry{}) {
		n += entry + len(c.Entry.Target)
	}
	return n
}

// encodeCommand returns the command's bytes: version, kind, msgpack.
func encodeCommand(c Command) ([]byte, error) {
	if c == nil {
		return nil, fmt.Errorf("encode command: nil")
	}
	var w any
	switch c := c.(type) {
	case Session:
		w = &wireEmpty{}
	case CommitCmd:
		if len(c.Changes) > MaxChanges {
			return nil, fmt.Errorf("encode commit of %d changes: %w (at most %d)", len(c.Changes), ErrTooLarge, MaxChanges)
		}
		w = toWireCommit(c)
	case RollbackCmd:
		w = &wireRollback{putFixed(c.Folder), bin(c.Path), uint64(c.Target), putFixed(c.TargetHash), bin(c.Message)}
	case ResolveCmd:
		w = &wireResolve{putFixed(c.Folder), c.Conflict, uint8(c.Keep), uint64(c.Seen.Revision), putFixed(c.Seen.Hash), toWireEntry(c.Entry), bin(c.Message)}
	case FolderCmd:
		w = &wireFolderCmd{uint8(c.Op), putFixed(c.ID), c.Name, c.Options}
	case NodeCmd:
		w = &wireNodeCmd{uint8(c.Op), toWireNode(c.Record), putFixed(c.Invite)}
	case InviteCmd:
		w = &wireInviteCmd{uint8(c.Op), putFixed(c.Hash), uint8(c.Role), nanos(c.Expires)}
	case ClusterCmd:
		w = &wireClusterCmd{putFixed(c.ID), toWireNode(c.First), c.Level}
	case TagCmd:
		w = &wireTag{putFixed(c.Folder), c.Name, uint64(c.Revision), c.Remove}
	case RetentionCmd:
		w = &wireRetention{putFixed(c.Folder), c.Policy}
	case PruneCmd:
		p := &wirePrune{Folder: putFixed(c.Folder)}
		for _, r := range c.Drop {
			p.Drop = append(p.Drop, wireRange{uint64(r.First), uint64(r.Last)})
		}
		w = p
	case FeatureCmd:
		w = &wireFeature{c.Level}
	default:
		return nil, fmt.Errorf("encode command: unknown type %T", c)
	}
	return pack([]byte{commandVersion, byte(c.kind())}, w), nil
}

// decodeCommand reads what encodeCommand wrote. ErrNewer: a version, kind or
// field that is not known here.
func decodeCommand(b []byte) (Command, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: command of %d bytes", ErrDamaged, len(b))
	}
	if b[0] != commandVersion {
		return nil, fmt.Errorf("command version %d: %w", b[0], ErrNewer)
	}
	kind, data := commandKind(b[1]), b[2:]
	switch kind {
	case kindSession:
		return Session{}, unpack(data, &wireEmpty{})
	case kindCommit:
		return decodeAs(data, fromWireCommit)
	case kindRollback:
		return decodeAs(data, fromWireRollback)
	case kindResolve:
		return decodeAs(data, fromWireResolve)
	case kindFolder:
		return decodeAs(data, fromWireFolderCmd)
	case kindNode:
		return decodeAs(data, fromWireNodeCmd)
	case kindInvite:
		return decodeAs(data, fromWireInviteCmd)
	case kindCluster:
		return decodeAs(data, fromWireClusterCmd)
	case kindTag:
		return decodeAs(data, fromWireTag)
	case kindRetention:
		return decodeAs(data, func(w *wireRetention) (RetentionCmd, error) {
			f, err := getFixed[id.Folder](w.Folder)
			return RetentionCmd{f, w.Policy}, err
		})
	case kindPrune:
		return decodeAs(data, fromWirePrune)
	case kindFeature:
		return decodeAs(data, func(w *wireFeature) (FeatureCmd, error) { return FeatureCmd{w.Level}, nil })
	}
	return nil, fmt.Errorf("command kind %d: %w", kind, ErrNewer)
}

// decodeAs unpacks data into a fresh W and converts it.
func decodeAs[W any, C Command](data []byte, from func(*W) (C, error)) (Command, error) {
	w := new(W)
	if err := unpack(data, w); err != nil {
		return nil, err
	}
	c, err := from(w)
	if err != nil {
		return nil, fmt.Errorf("decode %T: %w", c, err)
	}
	return c, nil
}

func toWireCommit(c CommitCmd) *wireCommit {
	w := &wireCommit{putFixed(c.Folder), uint8(c.Origin), bin(c.Message), make([]wireChange, len(c.Changes)), uint64(c.Acked),
		uint64(c.Seen.Revision), putFixed(c.Seen.Hash)}
	for i, ch := range c.Changes {
		e := toWireEntry(ch.Entry)
		w.Changes[i] = wireChange{
			Op: uint8(ch.Op), Path: bin(ch.Path), From: bin(ch.From),
			Own: uint64(ch.Base.Own), Revision: uint64(ch.Base.Revision), Hash: putFixed(ch.Base.Hash), Mask: uint8(ch.Mask),
			Kind: e.Kind, Mode: e.Mode, MTime: e.MTime, Size: e.Size, Content: e.Content, Manifest: e.Manifest, Target: e.Target,
		}
	}
	return w
}

func fromWireCommit(w *wireCommit) (c CommitCmd, err error) {
	if len(w.Changes) > MaxChanges {
		return c, fmt.Errorf("%w: %d changes", ErrDamaged, len(w.Changes))
	}
	c = CommitCmd{Origin: Origin(w.Origin), Message: string(w.Message), Acked: id.Sequence(w.Acked), Changes: make([]Change, len(w.Changes))}
	if c.Folder, err = getFixed[id.Folder](w.Folder); err != nil {
		return c, err
	}
	c.Seen.Revision = id.Revision(w.Seen)
	if c.Seen.Hash, err = getFixed[[8]byte](w.Hash); err != nil {
		return c, err
	}
	for i := range w.Changes {
		if c.Changes[i], err = fromWireChange(&w.Changes[i]); err != nil {
			return c, fmt.Errorf("change %d: %w", i, err)
		}
	}
	return c, nil
}

func fromWireChange(w *wireChange) (c Change, err error) {
	c = Change{Op: Op(w.Op), Path: id.Path(w.Path), From: id.Path(w.From), Mask: Fields(w.Mask)}
	c.Base = Base{Own: id.Sequence(w.Own), Revision: id.Revision(w.Revision)}
	if c.Base.Hash, err = getFixed[[8]byte](w.Hash); err != nil {
		return c, err
	}
	c.Entry, err = fromWireEntry(wireEntry{w.Kind, w.Mode, w.MTime, w.Size, w.Content, w.Manifest, w.Target})
	return c, err
}

func toWireEntry(e Entry) wireEntry {
	return wireEntry{uint8(e.Kind), e.Mode, e.MTime, e.Size, putFixed(e.Content), putFixed(e.Manifest), bin(e.Target)}
}

func fromWireEntry(w wireEntry) (e Entry, err error) {
	e = Entry{Kind: Kind(w.Kind), Mode: w.Mode, MTime: w.MTime, Size: w.Size, Target: string(w.Target)}
	if e.Content, err = getFixed[id.Digest](w.Content); err != nil {
		return e, err
	}
	e.Manifest, err = getFixed[id.Digest](w.Manifest)
	return e, err
}

func fromWireRollback(w *wireRollback) (c RollbackCmd, err error) {
	c = RollbackCmd{Path: id.Path(w.Path), Target: id.Revision(w.Target), Message: string(w.Message)}
	if c.Folder, err = getFixed[id.Folder](w.Folder); err != nil {
		return c, err
	}
	c.TargetHash, err = getFixed[[8]byte](w.TargetHash)
	return c, err
}

func fromWireResolve(w *wireResolve) (c ResolveCmd, err error) {
	c = ResolveCmd{Conflict: w.Conflict, Keep: Keep(w.Keep), Seen: Base{Revision: id.Revision(w.Revision)}, Message: string(w.Message)}
	if c.Folder, err = getFixed[id.Folder](w.Folder); err != nil {
		return c, err
	}
	if c.Seen.Hash, err = getFixed[[8]byte](w.Hash); err != nil {
		return c, err
	}
	c.Entry, err = fromWireEntry(w.Entry)
	return c, err
}

func fromWireFolderCmd(w *wireFolderCmd) (c FolderCmd, err error) {
	c = FolderCmd{Op: FolderOp(w.Op), Name: w.Name, Options: w.Options}
	c.ID, err = getFixed[id.Folder](w.ID)
	return c, err
}

func toWireNode(r NodeRecord) wireNode {
	return wireNode{putFixed(r.ID), r.Name, r.Address, uint8(r.Role), putFixed(r.AdmittedBy), r.Signature, nanos(r.Added)}
}

func fromWireNode(w wireNode) (r NodeRecord, err error) {
	r = NodeRecord{Name: w.Name, Address: w.Address, Role: Role(w.Role), Signature: w.Signature, Added: fromNanos(w.Added)}
	if r.ID, err = getFixed[id.Node](w.ID); err != nil {
		return r, err
	}
	r.AdmittedBy, err = getFixed[id.Node](w.AdmittedBy)
	return r, err
}

func fromWireNodeCmd(w *wireNodeCmd) (c NodeCmd, err error) {
	c = NodeCmd{Op: NodeOp(w.Op)}
	if c.Record, err = fromWireNode(w.Record); err != nil {
		return c, err
	}
	c.Invite, err = getFixed[id.Digest](w.Invite)
	return c, err
}

func fromWireInviteCmd(w *wireInviteCmd) (c InviteCmd, err error) {
	c = InviteCmd{Op: InviteOp(w.Op), Role: Role(w.Role), Expires: fromNanos(w.Expires)}
	c.Hash, err = getFixed[id.Digest](w.Hash)
	return c, err
}

func fromWireClusterCmd(w *wireClusterCmd) (c ClusterCmd, err error) {
	c = ClusterCmd{Level: w.Level}
	if c.ID, err = getFixed[id.Cluster](w.ID); err != nil {
		return c, err
	}
	c.First, err = fromWireNode(w.First)
	return c, err
}

func fromWireTag(w *wireTag) (c TagCmd, err error) {
	c = TagCmd{Name: w.Name, Revision: id.Revision(w.Revision), Remove: w.Remove}
	c.Folder, err = getFixed[id.Folder](w.Folder)
	return c, err
}

func fromWirePrune(w *wirePrune) (c PruneCmd, err error) {
	if c.Folder, err = getFixed[id.Folder](w.Folder); err != nil {
		return c, err
	}
	for _, r := range w.Drop {
		c.Drop = append(c.Drop, RevisionRange{id.Revision(r.First), id.Revision(r.Last)})
	}
	return c, nil
}
