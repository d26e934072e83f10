package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// unisonTool runs unison in batch mode for each change, against a server on the loopback
// device, and sync. Nothing is encrypted. Both ends keep their archives in the run's
// directory. It rounds mtimes to a microsecond or two, as floating-point seconds.
type unisonTool struct{}

func (unisonTool) name() string    { return "unison" }
func (unisonTool) missing() string { return installed("unison", "sync") }

func (unisonTool) start(ctx context.Context, _ *bench, dir string, n int) (session, error) {
	if n != 2 {
		return nil, errNotApplicable
	}
	p, err := newPlain(dir, n)
	if err != nil {
		return nil, err
	}
	s := &unisonSession{plain: p, dir: dir}
	for i := range n {
		if err := os.MkdirAll(s.archive(i), 0o755); err != nil {
			return nil, err
		}
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if s.d, err = startDaemon(dir, "log", []string{"UNISON=" + s.archive(1)}, "unison", "-socket", fmt.Sprint(s.port)); err != nil {
		return nil, err
	}
	return s, s.answers(ctx)
}

type unisonSession struct {
	*plain
	dir  string
	d    *daemon
	port int
}

func (s *unisonSession) archive(i int) string { return filepath.Join(s.dir, "archive-"+nodeName(i)) }

// answers waits for the server by a first run, of the empty roots: a bare connection
// would be taken for a client.
func (s *unisonSession) answers(ctx context.Context) error {
	for {
		if _, err := s.push(ctx); err == nil {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *unisonSession) push(ctx context.Context, _ ...string) (bool, error) {
	err := s.run(ctx, "", []string{"UNISON=" + s.archive(0)}, "unison", s.dirs[0], fmt.Sprintf("socket://127.0.0.1:%d/%s", s.port, s.dirs[1]),
		"-ui", "text", "-batch", "-silent", "-times", "-confirmbigdel=false")
	if err != nil {
		return true, err
	}
	return true, errors.Join(err, s.sync(ctx, s.dirs[1]))
}

// used: the server's includes its connections' processes, which it waits for.
func (s *unisonSession) used() []usage { return []usage{s.usage(), s.d.usage()} }

func (s *unisonSession) leaves() leave { return leave{round: 2 * time.Microsecond} }

func (s *unisonSession) close() error {
	s.d.end()
	return nil
}
