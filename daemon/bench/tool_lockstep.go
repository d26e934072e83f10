package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// folderName is Lockstep's folder in all workloads.
const folderName = "bench"

// lockstepTool is the program of this repository: nodes made by init, invite and join,
// with the settings that they then have.
type lockstepTool struct{}

func (lockstepTool) name() string    { return "lockstep" }
func (lockstepTool) missing() string { return "" }

func (lockstepTool) start(ctx context.Context, b *bench, dir string, n int) (session, error) {
	c, err := harness.New(harness.Options{Binary: b.binary, Dir: dir, Direct: true})
	if err != nil {
		return nil, err
	}
	s := &lockstepSession{c: c, binary: b.binary, revs: map[string]uint64{}}
	for i := range n {
		if _, err := c.Add(ctx, nodeName(i)); err != nil {
			return s, err
		}
	}
	if n >= 3 {
		if err := c.WaitVoters(ctx, 3); err != nil {
			return s, err
		}
	}
	return s, c.Share(ctx, folderName)
}

type lockstepSession struct {
	commands // of a user's, beside the nodes
	c        *harness.Cluster
	binary   string
	revs     map[string]uint64
}

func (s *lockstepSession) roots() (out []string) {
	for _, n := range s.c.Nodes {
		out = append(out, n.Tree)
	}
	return out
}

func (s *lockstepSession) push(context.Context, ...string) (bool, error) { return false, nil }
func (s *lockstepSession) leaves() leave                                 { return leave{} }
func (s *lockstepSession) close() error                                  { return s.c.Close() }

func (s *lockstepSession) used() []usage {
	out := make([]usage, len(s.c.Nodes), len(s.c.Nodes)+1)
	for i, n := range s.c.Nodes {
		if pid := n.PID(); pid != 0 {
			out[i], _ = procUsage(pid) // none of one that has just ended
		}
	}
	return append(out, s.usage())
}

func (s *lockstepSession) stop(ctx context.Context, node int) error { return s.c.Nodes[node].Stop(ctx) }

// start does not wait until the daemon answers: what has to arrive is looked for on the
// disks.
func (s *lockstepSession) start(ctx context.Context, node int) error {
	n := s.c.Nodes[node]
	failed := make(chan error, 1)
	go func() { failed <- n.Start(ctx) }() // ends when the daemon answers, or by Start's own limit
	for n.PID() == 0 {
		select {
		case err := <-failed:
			return err
		case <-time.After(100 * time.Microsecond):
		}
	}
	return nil
}

func (s *lockstepSession) keep(ctx context.Context, name string) error {
	f, err := s.c.Nodes[0].Folder(ctx, folderName)
	s.revs[name] = f.HeadRevision
	return err
}

func (s *lockstepSession) revert(ctx context.Context, name string) (bool, error) {
	return false, s.run(ctx, "", nil, s.binary, "--home", s.c.Nodes[0].Home, "rollback", fmt.Sprintf("%s@%d", folderName, s.revs[name]))
}

func (s *lockstepSession) sent(ctx context.Context) (int64, error) {
	f, err := s.c.Nodes[0].Folder(ctx, folderName)
	return f.WireBytesSent, err
}
