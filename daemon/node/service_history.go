package node

import (
	"context"
	"errors"
	"io"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// errEnough ends an iteration.
var errEnough = errors.New("enough")

// Cat implements control.Service.
func (s service) Cat(ctx context.Context, r control.CatRequest, start func(control.CatInfo) io.Writer) error {
	fresh, err := s.freshen(ctx, r.Linearizable)
	if err != nil {
		return err
	}
	v, f, p, c, err := s.versionOf(r.Target, r.Rev)
	if err != nil {
		return err
	}
	defer v.Close()
	x, ok, err := v.At(f.ID, p, c.Revision)
	if err != nil {
		return err
	}
	if p == "" || x.Entry.Kind == meta.Dir {
		return control.Errorf(control.CodeFailed, "%s@%s is a directory", r.Target, r.Rev).
			WithHint("name a file; `lockstep restore` writes whole directories")
	}
	if x.Lost.Kind != meta.Absent && x.Revision == c.Revision {
		x.Entry = x.Lost // what lost a conflict without a copy has this name in history
	}
	if !ok || x.Entry.Kind == meta.Absent {
		return s.absent(v, f, p, c.Revision)
	}
	info := control.CatInfo{Folder: f.Name, Revision: uint64(x.Revision), Size: x.Entry.Size, Fresh: fresh}
	info.Path, info.PathB64 = control.EncodePath(string(p))
	if x.Entry.Kind == meta.Symlink {
		info.Size = int64(len(x.Entry.Target))
		_, err := io.WriteString(start(info), x.Entry.Target)
		return err
	}
	info.Content = x.Entry.Content.String()
	author, _, err := v.Commit(f.ID, x.Revision)
	if err != nil {
		return err
	}
	src := fetch.Reader(ctx, s.n.chunks, s.n.peers, f.ID, []id.Node{author.Node}, chunks.File{
		Size: x.Entry.Size, Content: x.Entry.Content, Manifest: x.Entry.Manifest,
	})
	defer src.Close()
	_, err = io.Copy(start(info), src)
	if errors.Is(err, chunks.ErrMissing) {
		err = control.Errorf(control.CodeFailed, "its bytes are not on this node, and no member that is online has them: %w", err).
			WithHint("%s made this version: start it and run this again", s.n.members.name(author.Node))
	}
	return err
}

// Rollback implements control.Service.
func (s service) Rollback(ctx context.Context, r control.RollbackRequest, emit func(control.RollbackChange) error) (control.RollbackResult, error) {
	var res control.RollbackResult
	f, e, p, err := s.target(r.Target)
	if err != nil {
		return res, err
	}
	res.Folder, res.DryRun = f.Name, r.DryRun
	res.Path, res.PathB64 = control.EncodePath(string(p))
	if e != nil && !r.DryRun {
		// What the user changed before he asked is committed first, so that it is in
		// history and the rollback goes over it.
		fctx, cancel := context.WithTimeout(ctx, commitTime)
		err := e.Flush(fctx)
		cancel()
		if err != nil {
			return res, s.asked("commit the changes on this disk before the rollback", err, "nothing was rolled back")
		}
	}
	v := s.n.machine.View()
	defer v.Close()
	c, err := s.revision(v, f, r.Rev)
	if err != nil {
		return res, err
	}
	head, err := v.Head(f.ID)
	if err != nil {
		return res, err
	}
	res.Target, res.Previous = uint64(c.Revision), uint64(head.Revision)
	if err := known(v, f, p); err != nil {
		return res, err
	}
	if r.DryRun {
		return res, rollbackChanges(ctx, v, f.ID, p, &res, emit)
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	cmd := meta.RollbackCmd{Folder: f.ID, Path: p, Target: c.Revision, TargetHash: c.Hash.Prefix(), Message: r.Message}
	if e == nil {
		return res, control.Errorf(control.CodeFailed, "folder %q is not on this node; roll it back on a node that keeps it", f.Name)
	}
	const what = "roll back"
	if err := s.n.led(ctx); err != nil {
		return res, s.asked(what, err, "")
	}
	out, err := e.Submit(ctx, cmd)
	if err != nil {
		return res, s.asked(what, err, carriedOut)
	}
	if out.Kind == meta.Refused {
		return res, control.Errorf(control.CodeFailed, "roll back %s: %s", r.Target, out.Reason)
	}
	res.Revision = uint64(out.Revision)
	if out.Revision != 0 {
		now := s.n.machine.View()
		defer now.Close()
		made, _, err := now.Commit(f.ID, out.Revision)
		if err != nil {
			return res, err
		}
		res.Changes = made.Changes
		res.OnDisk = s.reached(asked, e, out.Revision)
	}
	return res, nil
}

// known refuses a path that history does not know: a typing error, for which
// "nothing to do" would be the wrong answer.
func known(v *meta.View, f meta.Folder, p id.Path) error {
	if p == "" {
		return nil
	}
	err := v.History(f.ID, p, func(meta.Version) error { return errEnough })
	if errors.Is(err, errEnough) {
		return nil
	}
	if err != nil {
		return err
	}
	return noHistory(f, p)
}
