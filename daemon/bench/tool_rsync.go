package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// rsyncTool runs rsync -a --delete of the whole first root for each change, against an
// rsync daemon on the loopback device, and sync. Nothing is encrypted. It is told to compare
// nanoseconds of mtimes: by default it overlooks a change of equal size within a second.
type rsyncTool struct{}

func (rsyncTool) name() string    { return "rsync" }
func (rsyncTool) missing() string { return installed("rsync", "sync") }

func (rsyncTool) start(ctx context.Context, _ *bench, dir string, n int) (session, error) {
	p, err := newPlain(dir, n)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("use chroot = no\nport = %d\naddress = 127.0.0.1\npid file = %s\n", port, filepath.Join(dir, "pid"))
	if os.Geteuid() == 0 {
		conf += "uid = 0\ngid = 0\n"
	}
	for i, root := range p.dirs {
		conf += fmt.Sprintf("[%s]\npath = %s\nread only = no\n", nodeName(i), root)
	}
	file := filepath.Join(dir, "rsyncd.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	d, err := startDaemon(dir, "log", nil, "rsync", "--daemon", "--no-detach", "--config", file)
	if err != nil {
		return nil, err
	}
	s := &rsyncSession{plain: p, d: d, port: port}
	return s, answers(ctx, port)
}

type rsyncSession struct {
	*plain
	d    *daemon
	port int
}

func (s *rsyncSession) push(ctx context.Context, _ ...string) (bool, error) {
	g, ctx := errgroup.WithContext(ctx)
	for i := range s.dirs[1:] {
		g.Go(func() error {
			url := fmt.Sprintf("rsync://127.0.0.1:%d/%s/", s.port, nodeName(i+1))
			return s.run(ctx, "", nil, "rsync", "-a", "--delete", "--modify-window=-1", s.dirs[0]+"/", url)
		})
	}
	return true, errors.Join(g.Wait(), s.sync(context.WithoutCancel(ctx), s.dirs[1]))
}

// used: the daemon's includes its connections' processes, which it waits for.
func (s *rsyncSession) used() []usage {
	return []usage{s.usage(), s.d.usage()}
}

func (s *rsyncSession) close() error {
	s.d.end()
	return nil
}
