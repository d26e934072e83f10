package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/meta/raftnode"
)

// backend answers other members: peers.Backend.
type backend struct{ n *Node }

// Object serves a chunk or a manifest node as it is stored, or as it is in a file that
// is still being filled.
func (b backend) Object(ctx context.Context, k chunks.Kind, d id.Digest) ([]byte, bool, error) {
	if k == chunks.Chunk {
		if data, err := b.n.share.Get(ctx, d); err == nil {
			return data, false, nil
		}
	}
	data, zstd, err := b.n.chunks.Raw(ctx, d, k)
	if k == chunks.Chunk && errors.Is(err, chunks.ErrMissing) && b.n.share.Expects(d) {
		err = fmt.Errorf("%w: %w", peers.ErrSoon, err)
	}
	return data, zstd, err
}

// Head is the newest revision of a folder that this node knows.
func (b backend) Head(f id.Folder) id.Revision {
	v := b.n.machine.View()
	defer v.Close()
	c, err := v.Head(f)
	if err != nil {
		return 0
	}
	return c.Revision
}

// Propose takes another member's proposal to the log, if this node leads.
func (b backend) Propose(ctx context.Context, from id.Node, env meta.Envelope, body meta.Body) (meta.Outcome, id.Node, error) {
	if env.Node != from {
		return meta.Outcome{}, id.Node{}, fmt.Errorf("a proposal of %s came from %s", env.Node.Short(), from.Short())
	}
	out, err := b.n.raft.Propose(ctx, env, body)
	var not *raftnode.NotLeaderError
	if errors.As(err, &not) {
		return out, not.Leader, fmt.Errorf("%w: %w", peers.ErrNotLeader, err)
	}
	return out, b.n.self, err
}

// Heartbeat tells how far this node is.
func (b backend) Heartbeat(from id.Node, h peers.Heartbeat) peers.Heartbeat {
	b.n.heardFrom(from, h.Address)
	return b.n.heartbeat()
}

// State is what this node tells the others of itself.
func (b backend) State() peers.Heartbeat { return b.n.heartbeat() }

// heartbeat is what this node tells the others every second.
func (n *Node) heartbeat() peers.Heartbeat {
	h := peers.Heartbeat{Node: n.self, AppliedIndex: n.machine.AppliedIndex(), Version: Version, Address: n.address()}
	if n.folders != nil {
		h.Folders = n.folders.states()
	}
	return h
}

// sender proposes to the leader, wherever it is: propose.Sender.
type sender struct{ n *Node }

var errNoLeader = errors.New("no leader is known")

func (s sender) Propose(ctx context.Context, env meta.Envelope, body meta.Body) (meta.Outcome, error) {
	out, err := s.n.raft.Propose(ctx, env, body)
	var not *raftnode.NotLeaderError
	if !errors.As(err, &not) {
		return out, err
	}
	if not.Leader.IsZero() || not.Leader == s.n.self {
		return out, errNoLeader
	}
	out, _, err = s.n.peers.Propose(ctx, not.Leader, env, body)
	return out, err
}

// admit lets new nodes in: join.Admit.
type admit struct{ n *Node }

// Precheck implements join.Precheck.
func (a admit) Precheck(node id.Node, secret id.Digest) error {
	v := a.n.machine.View()
	defer v.Close()
	inv, ok, err := v.Invite(secret)
	switch {
	case err != nil:
		return err
	case !ok || inv.Revoked:
		return join.ErrUnknownToken
	case inv.UsedBy == node:
		return nil
	case !inv.UsedBy.IsZero():
		return join.ErrUsedToken
	case time.Now().After(inv.Expires):
		return join.ErrExpiredToken
	}
	return nil
}

// Admit implements join.Admit: one entry of the log admits the node and uses the
// invite up.
func (a admit) Admit(ctx context.Context, from id.Node, r join.AdmitRequest) (join.Response, error) {
	rec := meta.NodeRecord{
		ID: from, Name: r.Name, Address: r.Advertise,
		AdmittedBy: a.n.self, Signature: a.n.sign(from),
	}
	if rec.Name == "" {
		rec.Name = "node"
	}
	wait, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if err := a.n.led(wait); err != nil {
		return join.Response{}, fmt.Errorf("%w: %w", join.ErrUnavailable, err)
	}
	out, err := a.n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeAdmit, Record: rec, Invite: r.Secret.Hash()})
	if errors.Is(err, context.DeadlineExceeded) {
		return join.Response{}, fmt.Errorf("%w: %w", join.ErrUndecided, err)
	}
	if err != nil {
		return join.Response{}, err
	}
	if out.Kind == meta.Refused {
		if err := a.Precheck(from, r.Secret.Hash()); err != nil {
			return join.Response{}, err
		}
		return join.Response{}, fmt.Errorf("%w: %s", join.ErrBadRequest, out.Reason)
	}
	if err := a.n.members.refresh(); err != nil {
		return join.Response{}, err
	}
	if err := a.readdress(ctx, from, r.Advertise); err != nil {
		return join.Response{}, err
	}
	resp := join.Response{Cluster: a.n.cfg.Cluster, Nodes: a.n.members.records()}
	resp.Name = a.n.members.name(from)
	return resp, nil
}

// readdress makes the cluster dial a node that asks again, because the answer was
// lost or late, where it listens now: its port may be another one than before, and
// nobody could reach it to send it the log.
func (a admit) readdress(ctx context.Context, node id.Node, address string) error {
	if now, ok := a.n.members.Address(node); ok && now == address {
		return nil
	}
	out, err := a.n.propose.Do(ctx, meta.NodeCmd{Op: meta.NodeUpdate, Record: meta.NodeRecord{ID: node, Address: address}})
	switch {
	case errors.Is(err, context.DeadlineExceeded): // it is a member, and the same command finishes it
		return fmt.Errorf("%w: %w", join.ErrUndecided, err)
	case err != nil:
		return err
	case out.Kind == meta.Refused:
		return fmt.Errorf("tell the cluster the node's address: %s", out.Reason)
	}
	return a.n.members.refresh()
}

// locations opens the files that chunk locations name: chunks.FileOpener.
type locations struct{ n *Node }

func (l locations) OpenLocation(file uint64) (chunks.LocationFile, error) {
	f, p, ok, err := l.n.local.FilePath(file)
	if err != nil {
		return nil, err
	}
	if !ok || l.n.folders == nil {
		return nil, fmt.Errorf("file number %d: %w", file, errUnknownFile)
	}
	e := l.n.folders.engine(f)
	if e == nil {
		return nil, fmt.Errorf("file number %d: %w", file, errUnknownFile)
	}
	return e.OpenLocation(p)
}

// errUnknownFile is for a location whose folder is not running: it may come back.
var errUnknownFile = errors.New("the folder of this location is not open")

// appliedAt is how far a member's state machine is, as it last said.
func (n *Node) appliedAt(m id.Node) uint64 {
	h, ok := n.peers.Last(m)
	if !ok {
		return 0
	}
	return h.AppliedIndex
}
