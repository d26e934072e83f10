package node

import (
	"context"
	"errors"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
)

// forgetTime bounds `folder forget`: before the commit it packs what history has only
// in the files.
const forgetTime = 5 * time.Minute

// FolderForget implements control.Service.
func (s service) FolderForget(ctx context.Context, r control.FolderForgetRequest) (control.FolderForgetResult, error) {
	res := control.FolderForgetResult{DryRun: r.DryRun}
	f, e, p, err := s.target(r.Target)
	switch {
	case err != nil:
		return res, err
	case e == nil:
		return res, control.Errorf(control.CodeFailed, "folder %q is not on this node; forget paths of it on a node that keeps it", f.Name)
	case p == "":
		return res, control.Errorf(control.CodeFailed, "forget %s: that is the whole folder", f.Name).WithHint("`lockstep folder rm %s` stops syncing it here", f.Name)
	}
	res.Folder = f.Name
	res.Path, res.PathB64 = control.EncodePath(string(p))
	const what = "forget"
	if !r.DryRun {
		lctx, cancel := context.WithTimeout(ctx, commitTime)
		err := s.n.led(lctx)
		cancel()
		if err != nil {
			return res, s.asked(what, err, "")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, forgetTime)
	defer cancel()
	rev, n, err := e.Forget(ctx, p, r.DryRun)
	res.Revision, res.Paths = uint64(rev), n
	var not *folder.NotForgettableError
	var blocked *folder.BlockedError
	var queued *folder.QueuedError
	switch {
	case errors.As(err, &not):
		out := control.Errorf(control.CodeFailed, "forget %s: %s", r.Target, not.Why)
		if not.Hint != "" {
			out = out.WithHint("%s", not.Hint)
		}
		return res, out
	case errors.As(err, &blocked):
		return res, s.waitError(f.ID, e, err)
	case errors.As(err, &queued):
		return res, s.asked(what, queued.Err, carriedOut)
	case err != nil:
		return res, s.asked(what, err, "nothing was changed")
	}
	return res, nil
}
