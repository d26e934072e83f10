package main

import (
	"context"
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// cpTool is the floor: cp -a and sync, to all other roots at once.
type cpTool struct{}

func (cpTool) name() string    { return "cp" }
func (cpTool) missing() string { return installed("cp", "sync") }

func (cpTool) start(_ context.Context, _ *bench, dir string, n int) (session, error) {
	p, err := newPlain(dir, n)
	return cpSession{p}, err
}

type cpSession struct{ *plain }

func (s cpSession) push(ctx context.Context, paths ...string) (bool, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, to := range s.dirs[1:] {
		g.Go(func() error {
			for _, p := range paths {
				from, to := filepath.Join(s.dirs[0], filepath.FromSlash(p)), filepath.Join(to, filepath.FromSlash(path.Dir(p)))
				if p == "." {
					from += "/."
				}
				if err := s.run(ctx, "", nil, "cp", "-a", from, to+"/"); err != nil {
					return err
				}
			}
			return s.sync(ctx, to)
		})
	}
	return true, g.Wait()
}
