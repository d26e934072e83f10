package node

import (
	"context"
	"path/filepath"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// FolderAdd implements control.Service.
func (s service) FolderAdd(ctx context.Context, r control.FolderAddRequest) (control.FolderAddResult, error) {
	res := control.FolderAddResult{DryRun: r.DryRun}
	switch r.Prefer {
	case "", "cluster", "mine", "both":
	default:
		return res, control.Errorf(control.CodeUsage, "add folder: --prefer %q is none of cluster, mine, both", r.Prefer)
	}
	only, err := onlyOf(r.Only)
	if err != nil {
		return res, err
	}
	root, err := filepath.EvalSymlinks(string(r.Path))
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "add folder: %w", err).WithHint("make the directory first, or let `lockstep up PATH` make it; --name says which of the cluster's folders it is to hold")
	}
	name := r.Name
	if name == "" {
		name = id.MakeName(filepath.Base(root), "folder")
	}
	if err := id.CheckName(name); err != nil {
		return res, control.Errorf(control.CodeUsage, "add folder: %w", err)
	}
	release, err := s.n.folders.claim(ctx, root)
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "add folder: %w", err)
	}
	defer release()
	f, joined, err := s.findOrCreateSoon(ctx, name, root, r.DryRun)
	if err != nil {
		return res, err
	}
	if e := s.n.folders.engine(f); e != nil {
		return res, addedAlready(name, e.Root())
	}
	res.Name, res.Path, res.Joined = name, root, joined
	if !f.IsZero() {
		res.ID = f.String()
	}
	if joined {
		return s.joinFolder(ctx, f, res, r.Prefer, only)
	}
	if !r.DryRun {
		err = s.n.folders.add(f, name, root, only)
	}
	return res, err
}

// onlyOf checks the patterns of what is to be kept, "" for everything.
func onlyOf(patterns string) (string, error) {
	v, err := mendOnly(patterns)
	if v == "*" {
		v = ""
	}
	return v, err
}

// findOrCreateSoon is findOrCreate within the time of a commit.
func (s service) findOrCreateSoon(ctx context.Context, name, root string, dryRun bool) (id.Folder, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	return s.findOrCreate(ctx, name, root, dryRun)
}
