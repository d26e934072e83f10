package meta

import (
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// maxMessage is the longest commit message in bytes.
const maxMessage = 16 << 10

func refused(format string, a ...any) outcome {
	return outcome{Outcome: Outcome{Kind: Refused, Reason: fmt.Sprintf(format, a...)}}
}

// command does a whole proposal's command.
func (t *txn) command(e logEntry, c Command, lane *rowLane) (outcome, error) {
	cluster := e.env.Lane.IsZero()
	switch c := c.(type) {
	case CommitCmd:
		return t.revision(e, c.Folder, lane, c.Origin, c.Message, 0, c.Acked, func(x *commit) (string, error) { return x.changes(c) })
	case RollbackCmd:
		return t.revision(e, c.Folder, lane, OriginRollback, c.Message, c.Target, 0, func(x *commit) (string, error) { return x.rollbackCmd(c) })
	case ResolveCmd:
		return t.revision(e, c.Folder, lane, OriginResolve, c.Message, 0, 0, func(x *commit) (string, error) { return x.resolveConflict(c) })
	case TagCmd:
		if c.Folder != e.env.Lane {
			return refused("a tag belongs into its folder's lane"), nil
		}
		return t.tag(e, c)
	case RetentionCmd, PruneCmd:
		return refused(ReasonUnsupported), nil
	case ClusterCmd, Session:
		return refused("this command takes no sequence"), nil
	}
	if !cluster {
		return refused("this command belongs into the cluster's lane"), nil
	}
	t.trim(e.env, lane, e.env.Sequence-min(e.env.Sequence, keptClusterOutcomes))
	switch c := c.(type) {
	case FolderCmd:
		return t.folderCmd(e, c)
	case NodeCmd:
		return t.nodeCmd(e, c)
	case InviteCmd:
		return t.inviteCmd(e, c)
	case FeatureCmd:
		return t.feature(c)
	}
	return outcome{}, fmt.Errorf("%w: command %T", errInvariant, c)
}

// keptClusterOutcomes is how many outcomes the cluster's lane keeps: its commands
// carry no acknowledgement.
const keptClusterOutcomes = 256

// trim forgets a lane's outcomes up to acked.
func (t *txn) trim(env Envelope, lane *rowLane, acked id.Sequence) {
	first := max(lane.First, 1)
	last := min(uint64(acked), uint64(env.Sequence)-1)
	for s := first; s <= last; s++ {
		t.delete(outcomeKey(env.Node, env.Lane, id.Sequence(s)))
	}
	lane.First = max(lane.First, last+1)
}

// revision runs do as one commit of a folder. do refuses with a reason before it
// has made any effect.
func (t *txn) revision(e logEntry, f id.Folder, lane *rowLane, origin Origin, message string, target id.Revision, acked id.Sequence, do func(*commit) (string, error)) (outcome, error) {
	if f != e.env.Lane || f.IsZero() {
		return refused("a folder's command belongs into its lane"), nil
	}
	rec, ok, err := reads{t}.folder(f)
	if err != nil {
		return outcome{}, err
	}
	if !ok || rec.Removed {
		return refused("unknown or removed folder"), nil
	}
	if len(message) > maxMessage {
		return refused("message over %d bytes", maxMessage), nil
	}
	if origin < OriginEdit || origin > OriginForget {
		return refused("unknown origin %d", origin), nil
	}
	x, err := newCommit(t, f, e.env, e.time)
	if err != nil {
		return outcome{}, err
	}
	x.acked, x.history = acked, rec.Options[optionConflicts] == conflictsHistory
	reason, err := do(x)
	if err != nil {
		return outcome{}, err
	}
	if reason != "" {
		return refused("%s", reason), nil
	}
	made, err := x.finish(origin, message, target)
	if err != nil {
		return outcome{}, err
	}
	t.trim(e.env, lane, acked)
	o := outcome{Outcome: Outcome{Kind: Accepted, Revision: made.Revision, Hash: made.Hash, Changes: x.outcomes}, head: made}
	if made.IsNone() {
		o.Kind, o.head = Unchanged, x.head
	}
	return o, nil
}

// changes judges and applies the changes of a commit in their order.
func (c *commit) changes(cmd CommitCmd) (reason string, err error) {
	all := cmd.Changes
	if ok, err := c.holds(cmd.Seen); err != nil {
		return "", err
	} else if ok {
		c.seen = cmd.Seen
	}
	for i := range all {
		if reason := all[i].check(); reason != "" {
			return fmt.Sprintf("change %d: %s", i, reason), nil
		}
	}
	for _, ch := range all {
		switch ch.Op {
		case OpPut:
			err = c.put(ch)
		case OpDelete:
			err = c.delete(ch)
		case OpMove:
			err = c.move(ch)
		}
		if err != nil {
			return "", fmt.Errorf("change of %q: %w", string(ch.Path), err)
		}
	}
	return "", nil
}

// check says why ch is no valid change; it drops what its kind does not use.
func (ch *Change) check() string {
	if err := ch.Path.Check(); err != nil {
		return err.Error()
	}
	switch ch.Op {
	case OpPut:
		e, ok := ch.Entry.normal()
		if !ok {
			return fmt.Sprintf("%q: not a valid entry", string(ch.Path))
		}
		ch.Entry = e
		if ch.Mask == 0 || ch.Mask&^FieldsAll != 0 {
			return fmt.Sprintf("%q: mask %#x", string(ch.Path), uint8(ch.Mask))
		}
	case OpDelete:
	case OpMove:
		if err := ch.From.Check(); err != nil {
			return err.Error()
		}
	default:
		return fmt.Sprintf("%q: unknown operation %d", string(ch.Path), ch.Op)
	}
	return ""
}

// rollbackCmd checks and does a rollback.
func (c *commit) rollbackCmd(cmd RollbackCmd) (reason string, err error) {
	if cmd.Path != "" {
		if err := cmd.Path.Check(); err != nil {
			return err.Error(), nil
		}
	}
	if cmd.Target != 0 || cmd.TargetHash != [8]byte{} {
		if ok, err := c.holds(Base{Revision: cmd.Target, Hash: cmd.TargetHash}); err != nil {
			return "", err
		} else if !ok {
			return fmt.Sprintf("revision %s with that hash is not in this history", cmd.Target), nil
		}
	}
	return c.rollback(cmd.Path, cmd.Target)
}

// tag sets or removes a tag.
func (t *txn) tag(e logEntry, c TagCmd) (outcome, error) {
	if err := id.CheckName(c.Name); err != nil {
		return refused("tag: %v", err), nil
	}
	key := tagKey(c.Folder, c.Name)
	if _, ok, err := t.Get(key); err != nil {
		return outcome{}, err
	} else if ok != c.Remove {
		if ok {
			return refused("tag %q exists", c.Name), nil
		}
		return refused("no tag %q", c.Name), nil
	}
	if c.Remove {
		t.delete(key)
		return outcome{Outcome: Outcome{Kind: Accepted}}, nil
	}
	s, err := reads{t}.state(c.Folder)
	if err != nil {
		return outcome{}, err
	}
	if c.Revision == 0 || uint64(c.Revision) > s.Revision {
		return refused("no revision %s", c.Revision), nil
	}
	t.set(key, packRow(&rowTag{Revision: uint64(c.Revision), Time: e.time, Node: putFixed(e.env.Node)}))
	return outcome{Outcome: Outcome{Kind: Accepted}}, nil
}

// stamp is the entry's time.
func (e logEntry) stamp() time.Time { return fromNanos(e.time) }
