package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

func TestJoinMakesThreeVoters(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	c := newCluster(t)
	roles := func(want map[string]string) {
		t.Helper()
		must(t, harness.Until(ctx, fmt.Sprint("roles ", want), func() error {
			for _, n := range c.Nodes {
				nodes, err := n.Client().Nodes(ctx)
				if err != nil {
					return err
				}
				got := map[string]string{}
				for _, m := range nodes {
					if m.Online {
						got[m.Name] = m.Role
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					return fmt.Errorf("%s sees %v", n.Name, got)
				}
			}
			return nil
		}))
	}
	for i, want := range []map[string]string{
		{"a": "voter"},
		{"a": "voter", "b": "learner"}, // never two voters at rest: the loss of either would stop writes
		{"a": "voter", "b": "voter", "c": "voter"},
	} {
		if _, err := c.Add(ctx, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
		roles(want)
	}
	must(t, c.WaitVoters(ctx, 3))
	var ids []string
	for _, n := range c.Nodes {
		st, err := n.Client().Status(ctx, control.StatusRequest{})
		must(t, err)
		ids = append(ids, st.Cluster.ID)
	}
	if ids[0] == "" || ids[1] != ids[0] || ids[2] != ids[0] {
		t.Errorf("cluster IDs %q", ids)
	}
}

func TestFourthNodeIsALearnerAndSyncs(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 3)
	writeFile(t, c.Nodes[0], "before", []byte("it joined"))
	everywhere(t, ctx, c, c.Nodes[0])
	d, err := c.Add(ctx, "d")
	must(t, err)
	lockstep(t, ctx, d, 0, "folder", "add", ".", "--name", folderName)
	everywhere(t, ctx, c, c.Nodes[0])
	writeFile(t, d, "from d", []byte("a learner's edit"))
	everywhere(t, ctx, c, d)
}

func TestRestartKeepsAddressAndState(t *testing.T) {
	t.Parallel()
	ctx := within(t, 90*time.Second)
	c := shared(t, ctx, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "kept", []byte("over a restart"))
	everywhere(t, ctx, c, a)
	before, err := a.Client().Status(ctx, control.StatusRequest{})
	must(t, err)
	must(t, c.Stop(ctx))

	// While no daemon runs, the user goes on.
	writeFile(t, a, "new/from a", []byte("1"))
	must(t, os.Remove(at(a, "kept")))
	writeFile(t, b, "new/from b", []byte("2"))
	for _, n := range c.Nodes {
		must(t, n.Start(ctx))
	}
	must(t, c.WaitVoters(ctx, 3))
	after, err := a.Client().Status(ctx, control.StatusRequest{})
	must(t, err)
	if after.Node.Listen != before.Node.Listen || after.Node.ID != before.Node.ID {
		t.Errorf("node %s on %s became %s on %s", before.Node.ID, before.Node.Listen, after.Node.ID, after.Node.Listen)
	}
	must(t, harness.Until(ctx, "both sides' changes everywhere", func() error {
		want := snapshot(t, a)
		if _, ok := want["new/from a"]; !ok {
			return fmt.Errorf("a's file is missing")
		}
		if _, ok := want["new/from b"]; !ok {
			return fmt.Errorf("b's file is missing")
		}
		if _, ok := want["kept"]; ok {
			return fmt.Errorf("the removed file is still there")
		}
		for _, n := range c.Nodes {
			if d := harness.Diff(want, snapshot(t, n)); len(d) > 0 {
				return fmt.Errorf("%s: %s", n.Name, harness.Summary(d))
			}
		}
		return nil
	}))
	if got := conflicts(t, ctx, a, "--all"); len(got) > 0 {
		t.Errorf("conflicts without a clash: %+v", got)
	}
}

func TestNoQuorumIsExit4(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 3)
	a := c.Nodes[0]
	writeFile(t, a, "x", []byte("1"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	must(t, c.Nodes[1].Kill())
	must(t, c.Nodes[2].Kill())
	writeFile(t, a, "x", []byte("2"))
	lockstep(t, ctx, a, 4, "wait", folderName, "--timeout", "2s")
	must(t, harness.Until(ctx, "state offline", func() error {
		f, err := a.Folder(ctx, folderName)
		if err == nil && f.State != control.StateOffline {
			err = fmt.Errorf("state %s", f.State)
		}
		return err
	}))
	lockstep(t, ctx, a, 5, "status", "--check")
	// What was written without a quorum is committed when there is one again.
	must(t, c.Nodes[1].Start(ctx))
	lockstep(t, ctx, a, 0, "wait", folderName, "--timeout", "30s")
	must(t, c.Nodes[2].Start(ctx))
	everywhere(t, ctx, c, a)
}
