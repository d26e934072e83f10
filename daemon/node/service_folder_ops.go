package node

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/meta"
)

// kept finds a folder that this node keeps, with its engine.
func (s service) kept(what, name string) (meta.Folder, *folder.Engine, error) {
	rec, err := s.byName(name)
	if err != nil {
		return rec, nil, err
	}
	e := s.n.folders.engine(rec.ID)
	if e == nil {
		return rec, nil, control.Errorf(control.CodeFailed, "%s: %q is not on this node", what, name).
			WithHint("see `lockstep folder ls`")
	}
	return rec, e, nil
}

// FolderPause implements control.Service.
func (s service) FolderPause(ctx context.Context, r control.FolderPauseRequest) (control.FolderPauseResult, error) {
	res := control.FolderPauseResult{Name: r.Name, Paused: r.Paused}
	what, why := "pause folder", folder.ErrPaused
	if !r.Paused {
		what, why = "resume folder", errSettings
	}
	rec, e, err := s.kept(what, r.Name)
	if err != nil {
		return res, err
	}
	res.ID = rec.ID.String()
	_, onDisk, err := e.Progress()
	if err != nil {
		return res, err
	}
	err = s.n.folders.setOwn(ctx, rec.ID, why, func(st *local.Settings) {
		if st.Paused == r.Paused {
			return
		}
		st.Paused, st.OnDisk = r.Paused, 0
		if r.Paused {
			st.OnDisk = onDisk
		}
	})
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "%s: %w", what, err)
	}
	return res, nil
}

// FolderMove implements control.Service.
func (s service) FolderMove(ctx context.Context, r control.FolderMoveRequest) (control.FolderMoveResult, error) {
	const what = "move folder"
	res := control.FolderMoveResult{Name: r.Name}
	rec, e, err := s.kept(what, r.Name)
	if err != nil {
		return res, err
	}
	res.ID, res.Previous = rec.ID.String(), e.Root()
	root, err := filepath.EvalSymlinks(string(r.Path))
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "%s: %w", what, err).
			WithHint("move the directory there first: this only tells the node where it is")
	}
	res.Path = root
	if root == res.Previous {
		return res, control.Errorf(control.CodeFailed, "%s: %q is at %s already", what, r.Name, root)
	}
	if err := s.n.folders.move(ctx, rec.ID, root); err != nil {
		if errors.Is(err, errNotMoved) {
			return res, control.Errorf(control.CodeFailed, "%s: %s is not the directory of folder %q: %w", what, root, r.Name, err).
				WithHint("the hidden directory .lockstep in it has to come along; for a directory that never was this folder use `lockstep folder rm` and `folder add`")
		}
		return res, control.Errorf(control.CodeFailed, "%s: %w", what, err)
	}
	res.Left = folder.CheckRoot(res.Previous, rec.ID) == nil
	return res, nil
}

// FolderAllow implements control.Service.
func (s service) FolderAllow(ctx context.Context, r control.FolderAllowRequest) (control.FolderAllowResult, error) {
	const what = "allow deletions"
	res := control.FolderAllowResult{Name: r.Name, DryRun: r.DryRun}
	rec, e, err := s.kept(what, r.Name)
	if err != nil {
		return res, err
	}
	res.ID = rec.ID.String()
	by := r.By
	if by == "" {
		by = "the user"
	}
	out, err := e.Allow(ctx, by+" on "+s.n.members.name(s.n.self), r.DryRun)
	res.Deletes, res.Stay = out.Deletes, out.Stay
	return res, heldError(what, r.Name, err)
}

// FolderRevert implements control.Service.
func (s service) FolderRevert(ctx context.Context, r control.FolderRevertRequest) (control.FolderRevertResult, error) {
	const what = "revert"
	res := control.FolderRevertResult{Name: r.Name, DryRun: r.DryRun}
	rec, e, err := s.kept(what, r.Name)
	if err != nil {
		return res, err
	}
	res.ID = rec.ID.String()
	out, err := e.Revert(ctx, r.DryRun)
	res.Restored, res.SetAside = out.Restored, out.SetAside
	if out.Where != "" {
		res.Where = filepath.Join(e.Root(), filepath.FromSlash(out.Where))
	}
	return res, heldError(what, r.Name, err)
}

// heldError puts what allow and revert say into the API's words.
func heldError(what, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, folder.ErrNothingHeld):
		return control.Errorf(control.CodeFailed, "%s: nothing is held in folder %q", what, name).
			WithHint("see `lockstep status`")
	case errors.Is(err, folder.ErrPaused):
		return pausedError(what, name)
	}
	return control.Errorf(control.CodeFailed, "%s: folder %q: %w", what, name, err)
}

func pausedError(what, name string) *control.Error {
	return control.Errorf(control.CodeFailed, "%s: folder %q is paused on this node", what, name).
		WithHint("`lockstep folder resume %s` lets it go on", name)
}
