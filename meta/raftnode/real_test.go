package raftnode

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestRealMachine runs the real state machine on three nodes: a cluster is founded,
// two nodes are admitted by invites and become voters, a folder's commits survive
// power cuts and a snapshot, and every node ends at the same revision and hash.
func TestRealMachine(t *testing.T) {
	bubble(t, 3, Timings{MinTrailing: 1, TrailingBytes: 1, SnapshotBytes: 8 << 10}, func(t *testing.T, c *cluster) {
		c.real = true
		c.start(c.hosts[0])
		a := &author{node: c.hosts[0].id, session: id.NewSession()}
		now := func(seq id.Sequence, cmd meta.Command) meta.Outcome {
			t.Helper()
			body, err := meta.EncodeCommand(cmd)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.leader().node.Propose(context.Background(), a.env(seq), body)
			if err != nil || out.Kind != meta.Accepted {
				t.Fatalf("%T: %+v, %v", cmd, out, err)
			}
			return out
		}
		next := func(cmd meta.Command) meta.Outcome {
			t.Helper()
			body, err := meta.EncodeCommand(cmd)
			if err != nil {
				t.Fatal(err)
			}
			out := c.propose(a, body)
			if out.Kind != meta.Accepted {
				t.Fatalf("%T: %+v", cmd, out)
			}
			return out
		}
		now(0, meta.ClusterCmd{ID: id.NewCluster(), First: meta.NodeRecord{ID: a.node, Name: "one", Address: "one:1"}})
		now(0, meta.Session{})
		for i, h := range c.hosts[1:] {
			c.start(h)
			secret := id.Sum([]byte{byte(i)})
			next(meta.InviteCmd{Op: meta.InviteAdd, Hash: secret, Expires: time.Now().Add(time.Hour)})
			next(meta.NodeCmd{Op: meta.NodeAdmit, Invite: secret, Record: meta.NodeRecord{
				ID: h.id, Name: fmt.Sprint("node", i+2), Address: "x:1", AdmittedBy: a.node,
			}})
		}
		c.wantVoters(3)

		folder := id.NewFolder()
		next(meta.FolderCmd{Op: meta.FolderCreate, ID: folder, Name: "docs"})
		a.lane, a.last = folder, 0
		const commits = 60
		for i := range commits {
			if i%20 == 10 {
				c.crash(c.leader())
			}
			next(meta.CommitCmd{Folder: folder, Origin: meta.OriginEdit, Changes: []meta.Change{{
				Op: meta.OpPut, Path: id.Path(fmt.Sprint("f", i)), Mask: meta.FieldsAll,
				Entry: meta.Entry{Kind: meta.File, Mode: 0o644, Size: 1, Content: id.Sum([]byte{byte(i)})},
			}}})
			if i%20 == 15 {
				for _, h := range c.hosts {
					if h.node == nil {
						c.start(h)
					}
				}
			}
		}
		var want meta.Commit
		c.eventually("all nodes at one head", func() bool {
			for i, h := range c.hosts {
				v := h.real.View()
				head, err := v.Head(folder)
				if err := errors.Join(err, v.Close()); err != nil {
					return false
				}
				if i == 0 {
					want = head
				}
				if head.Revision != commits || head.Hash != want.Hash {
					return false
				}
			}
			return true
		})
		if c.leader().node.snaps.newest() == 0 {
			t.Error("no snapshot was taken")
		}
		for reason, env := range map[string]meta.Envelope{
			meta.ReasonFenced:    {Node: a.node, Session: id.NewSession(), Lane: folder, Sequence: a.last + 1},
			meta.ReasonGap:       {Node: a.node, Session: a.session, Lane: folder, Sequence: a.last + 9},
			meta.ReasonNotMember: {Node: id.Node{99}, Session: a.session, Lane: folder, Sequence: 1},
		} {
			body, _ := meta.EncodeCommand(meta.CommitCmd{Folder: folder, Origin: meta.OriginEdit})
			if out, err := c.leader().node.Propose(context.Background(), env, body); err != nil || out.Reason != reason {
				t.Errorf("Propose: %+v, %v, want the refusal %q", out, err, reason)
			}
		}
	})
}
