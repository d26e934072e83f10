package main

import (
	"context"
	"path/filepath"
)

// saved is cp as the floor of a rollback: a copy of the former state, copied back.
func (s cpSession) keep(ctx context.Context, name string) error {
	return s.run(ctx, "", nil, "cp", "-a", s.dirs[0], s.dirs[0]+"."+name)
}

func (s cpSession) revert(ctx context.Context, name string) (bool, error) {
	if err := s.run(ctx, "", nil, "cp", "-a", s.dirs[0]+"."+name+"/.", s.dirs[0]); err != nil {
		return true, err
	}
	return true, s.sync(ctx, s.dirs[0])
}

// gitTool is git checkout of a commit, and sync. It has one root, and keeps no mtimes.
type gitTool struct{}

func (gitTool) name() string    { return "git" }
func (gitTool) missing() string { return installed("git", "sync") }

func (gitTool) start(ctx context.Context, _ *bench, dir string, _ int) (session, error) {
	p, err := newPlain(dir, 1)
	if err != nil {
		return nil, err
	}
	s := gitSession{p}
	return s, s.git(ctx, "init", "-q")
}

type gitSession struct{ *plain }

func (s gitSession) leaves() leave { return leave{mtimes: true} }

func (s gitSession) push(context.Context, ...string) (bool, error) { return true, nil }

func (s gitSession) git(ctx context.Context, args ...string) error {
	env := []string{"GIT_CONFIG_NOSYSTEM=1", "HOME=" + filepath.Dir(s.dirs[0]),
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.org", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.org"}
	return s.run(ctx, s.dirs[0], env, append([]string{"git"}, args...)...)
}

func (s gitSession) keep(ctx context.Context, name string) error {
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", name}, {"tag", name}} {
		if err := s.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (s gitSession) revert(ctx context.Context, name string) (bool, error) {
	if err := s.git(ctx, "checkout", "-q", name); err != nil {
		return true, err
	}
	return true, s.sync(ctx, s.dirs[0])
}

// resticTool is restic restore of a snapshot over what is there, and sync. It has one root.
type resticTool struct{}

func (resticTool) name() string    { return "restic" }
func (resticTool) missing() string { return installed("restic", "sync") }

func (resticTool) start(ctx context.Context, _ *bench, dir string, _ int) (session, error) {
	p, err := newPlain(dir, 1)
	if err != nil {
		return nil, err
	}
	s := resticSession{p}
	return s, s.restic(ctx, "init")
}

type resticSession struct{ *plain }

func (s resticSession) push(context.Context, ...string) (bool, error) { return true, nil }

func (s resticSession) restic(ctx context.Context, args ...string) error {
	dir := filepath.Dir(s.dirs[0])
	env := []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + filepath.Join(dir, "repo"), "RESTIC_CACHE_DIR=" + filepath.Join(dir, "cache")}
	return s.run(ctx, s.dirs[0], env, append([]string{"restic", "--quiet"}, args...)...)
}

func (s resticSession) keep(ctx context.Context, name string) error {
	return s.restic(ctx, "backup", "--tag", name, ".")
}

func (s resticSession) revert(ctx context.Context, name string) (bool, error) {
	if err := s.restic(ctx, "restore", "latest", "--tag", name, "--target", s.dirs[0]); err != nil {
		return true, err
	}
	return true, s.sync(ctx, s.dirs[0])
}
