package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// members waits until n sees these members in these roles.
func members(t *testing.T, ctx context.Context, n *harness.Node, want map[string]string) {
	t.Helper()
	must(t, harness.Until(ctx, fmt.Sprintf("the members of %s to be %v", n.Name, want), func() error {
		nodes, err := n.Client().Nodes(ctx)
		if err != nil {
			return err
		}
		got := map[string]string{}
		for _, m := range nodes {
			got[m.Name] = m.Role
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("%v", got)
		}
		return nil
	}))
}

// A machine that is removed is shut out at once, knows it, keeps its files, and what
// is written on it stays there; its unused tokens are void. The one that held the only
// vote hands it over first.
func TestRemovedNodeIsShutOut(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "x", []byte("1"))
	everywhere(t, ctx, c, a)
	token := strings.TrimSpace(lockstep(t, ctx, a, 0, "invite").Stdout)
	refused(t, ctx, a, 2, []string{"this node itself"}, "node", "rm", "a")
	refused(t, ctx, a, 1, []string{"no node", "node ls"}, "node", "rm", "nobody")

	// a has the only vote.
	r := lockstep(t, ctx, b, 0, "node", "rm", "a", "--dry-run")
	if !strings.Contains(r.Stdout, "would be removed") {
		t.Errorf("dry run: %q", r.Stdout)
	}
	members(t, ctx, b, map[string]string{"a": "voter", "b": "learner"})
	lockstep(t, ctx, b, 0, "node", "rm", "a")
	members(t, ctx, b, map[string]string{"b": "voter"})

	must(t, harness.Until(ctx, "a to know that it was removed", func() error {
		st, err := a.Client().Status(ctx, control.StatusRequest{})
		if err == nil && !strings.Contains(st.Cluster.Notice, "not a member") {
			err = fmt.Errorf("notice %q", st.Cluster.Notice)
		}
		return err
	}))
	writeFile(t, a, "late", []byte("stays here"))
	writeFile(t, b, "y", []byte("2"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	if got := snapshot(t, b); len(got) != 2 {
		t.Errorf("on the one that is left: %v", got)
	}
	if got := snapshot(t, a); len(got) != 2 || got["late"].Size == 0 || got["x"].Size == 0 {
		t.Errorf("on the removed one: %v", got)
	}

	// Whoever holds the removed machine holds its tokens.
	d, err := c.New("d")
	must(t, err)
	refused(t, ctx, d, 1, nil, "join", token, "--name", "d", "--listen", "127.0.0.1:0")
	must(t, a.Stop(ctx))
	must(t, a.Start(ctx))
	members(t, ctx, b, map[string]string{"b": "voter"})
}

// A voter that is gone for good is removed by the others; should it come back, it hears
// from nobody that it was removed, but sees that everybody refuses it.
func TestRemovedWhileAway(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 3)
	must(t, c.WaitVoters(ctx, 3))
	a, b, gone := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	writeFile(t, gone, "x", []byte("1"))
	everywhere(t, ctx, c, gone)
	must(t, gone.Kill())
	lockstep(t, ctx, a, 0, "node", "rm", gone.Name)
	members(t, ctx, b, map[string]string{"a": "voter", "b": "learner"})
	must(t, gone.Start(ctx))
	must(t, harness.Until(ctx, "the removed node to know it", func() error {
		st, err := gone.Client().Status(ctx, control.StatusRequest{})
		if err == nil && !strings.Contains(st.Cluster.Notice, "not a member") {
			err = fmt.Errorf("notice %q", st.Cluster.Notice)
		}
		return err
	}))
	writeFile(t, b, "y", []byte("2"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--all")
	if got := snapshot(t, gone); len(got) != 1 {
		t.Errorf("the removed node has %v", got)
	}
}

// One of three voters is off when another is removed: the two that were left could
// commit nothing, so the one that is off loses its vote first.
func TestRemovedWhileAnotherIsAway(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 3)
	must(t, c.WaitVoters(ctx, 3))
	leader := c.Leader(ctx)
	var others []*harness.Node
	for _, n := range c.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	off, out := others[0], others[1]
	must(t, off.Kill())
	must(t, harness.Until(ctx, off.Name+" to be seen as offline", func() error {
		nodes, err := out.Client().Nodes(ctx)
		for _, m := range nodes {
			if m.Name == off.Name && m.Online {
				err = fmt.Errorf("it is online")
			}
		}
		return err
	}))
	lockstep(t, ctx, leader, 0, "node", "rm", out.Name)
	members(t, ctx, leader, map[string]string{leader.Name: "voter", off.Name: "learner"})
	writeFile(t, leader, "x", []byte("1"))
	lockstep(t, ctx, leader, 0, "wait", folderName)
	must(t, off.Start(ctx))
	must(t, harness.WaitTree(ctx, snapshot(t, leader), off))
}

// Votes go where the user wants them, without a moment that could stop commits.
func TestPromoteDemoteAndTransfer(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 4)
	must(t, c.WaitVoters(ctx, 3))
	a, d := c.Nodes[0], c.Nodes[3]
	nodes, err := a.Client().Nodes(ctx)
	must(t, err)
	var voter, learner *harness.Node
	for i, m := range nodes {
		if m.Role == "learner" {
			learner = c.Nodes[i]
		} else if m.Name != c.Leader(ctx).Name {
			voter = c.Nodes[i]
		}
	}
	lockstep(t, ctx, learner, 0, "node", "demote", voter.Name)
	want := map[string]string{"a": "voter", "b": "voter", "c": "voter", "d": "voter", voter.Name: "learner"}
	members(t, ctx, a, want)
	members(t, ctx, d, want)
	// There are four, so it may vote but does not: an even number never votes.
	r := lockstep(t, ctx, a, 0, "node", "promote", voter.Name)
	if !strings.Contains(r.Stdout, "will vote once") {
		t.Errorf("promoted beyond an odd number: %q", r.Stdout)
	}
	leader := c.Leader(ctx)
	refused(t, ctx, voter, 1, []string{"does not lead", leader.Name + " leads"}, "node", "transfer-leadership")
	r = lockstep(t, ctx, leader, 0, "node", "transfer-leadership")
	if strings.HasPrefix(r.Stdout, leader.Name+" ") || !strings.HasSuffix(r.Stdout, " leads\n") {
		t.Errorf("transferred: %q", r.Stdout)
	}
	writeFile(t, leader, "x", []byte("1"))
	everywhere(t, ctx, c, leader)
}

// A member that keeps a part of the folder does not stand for one that has all of it.
func TestRemoveTheOnlyWholeOne(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := shared(t, ctx, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "docs/x", []byte("1"))
	writeFile(t, a, "big/y", []byte("2"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	only := func() []string {
		t.Helper()
		return decode[control.NodeRemoveResult](t, lockstep(t, ctx, b, 0, "node", "rm", "a", "--dry-run", "--json").Stdout).Only
	}
	if got := only(); len(got) != 0 {
		t.Errorf("both have all: only on a: %v", got)
	}
	lockstep(t, ctx, b, 0, "folder", "set", folderName, "only=/docs")
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	if got := only(); len(got) != 1 || got[0] != folderName {
		t.Errorf("b keeps a part: only on a: %v", got)
	}
	refused(t, ctx, b, 1, []string{folderName, "--force"}, "node", "rm", "a")
}

// A machine that was off while the only one that it knew was replaced refuses the new
// one, which it does not know. That one is the cluster, and does not take itself for
// removed.
func TestRefusedByWhoWasOff(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 2, func(o *harness.Options) { o.LogLevel = "debug" })
	old, off := c.Nodes[0], c.Nodes[1]
	must(t, off.Stop(ctx))
	token := strings.TrimSpace(lockstep(t, ctx, old, 0, "invite").Stdout)
	heir, err := c.New("heir")
	must(t, err)
	must(t, heir.Make(ctx, "join", token))
	must(t, heir.Start(ctx))
	members(t, ctx, heir, map[string]string{"a": "voter", "b": "learner", "heir": "learner"})
	lockstep(t, ctx, heir, 0, "node", "rm", old.Name)
	members(t, ctx, heir, map[string]string{"b": "learner", "heir": "voter"})
	must(t, old.Kill())
	must(t, off.Start(ctx))
	must(t, harness.Until(ctx, "a heartbeat of the new node to be refused", func() error {
		log, err := os.ReadFile(heir.LogPath())
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "heartbeat failed") && strings.Contains(line, "refused by the other node") {
				return nil
			}
		}
		return errors.Join(err, errors.New("none was"))
	}))
	st, err := heir.Client().Status(ctx, control.StatusRequest{})
	must(t, err)
	if st.Cluster.Removed || st.Cluster.Notice != "" {
		t.Errorf("removed %v, notice %q", st.Cluster.Removed, st.Cluster.Notice)
	}
}

// Who joined later received what the folder was then: old versions may be on the one
// that was there before alone, which is not removed unasked.
func TestRemoveOfWhoHasOldVersions(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := newCluster(t)
	a, err := c.Add(ctx, "a")
	must(t, err)
	lockstep(t, ctx, a, 0, "folder", "add", ".", "--name", folderName)
	for _, text := range []string{"1", "2"} {
		writeFile(t, a, "x", []byte(text))
		lockstep(t, ctx, a, 0, "wait", folderName)
	}
	b, err := c.Add(ctx, "b")
	must(t, err)
	lockstep(t, ctx, b, 0, "folder", "add", ".", "--name", folderName)
	everywhere(t, ctx, c, a)
	refused(t, ctx, b, 1, []string{"old versions of " + folderName, "a alone", "--force", "restore"}, "node", "rm", "a")
	got := decode[control.NodeRemoveResult](t, lockstep(t, ctx, b, 0, "node", "rm", "a", "--dry-run", "--json").Stdout)
	if len(got.History) != 1 || got.History[0] != folderName || len(got.Only) != 0 {
		t.Errorf("of a: %+v", got)
	}
	got = decode[control.NodeRemoveResult](t, lockstep(t, ctx, a, 0, "node", "rm", "b", "--dry-run", "--json").Stdout)
	if len(got.History) != 0 {
		t.Errorf("of b, which has nothing that a lacks: %+v", got)
	}
	lockstep(t, ctx, b, 0, "node", "rm", "a", "--force")
	members(t, ctx, b, map[string]string{"b": "voter"})
}
