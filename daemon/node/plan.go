package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// planLimit is how many differing paths a first join takes without asking: more
// is likely a wrong directory, and would litter it with conflict copies.
const planLimit = 100

// joinFolder makes this node keep a folder of the cluster at a directory that may
// have content. What history holds is taken as known; what it does not hold is kept
// as prefer says, and where that is much and nothing is said nothing is done.
func (s service) joinFolder(ctx context.Context, f id.Folder, res control.FolderAddResult, prefer, only string) (_ control.FolderAddResult, err error) {
	release, err := s.n.folders.claimID(f, res.Name)
	if err != nil {
		return res, err
	}
	defer release()
	kept, err := ignore.ParseOnly(only)
	if err != nil {
		return res, err
	}
	o := folder.SurveyOptions{ID: f, Root: res.Path, Machine: s.n.machine, Local: s.n.local, Self: s.n.self, Only: kept}
	if !res.DryRun {
		o.Chunks = s.n.chunks
	}
	sv, err := folder.NewSurvey(o)
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "add folder: compare %s with the folder: %w", res.Path, err)
	}
	defer func() {
		if err != nil && !res.DryRun && !s.n.folders.mapped(f) {
			err = withCleanup(err, sv.Undo())
		}
		err = withCleanup(err, sv.Close())
	}()
	// Comparing reads files: it is bounded by the caller, not by the time of a commit.
	plan, err := sv.Run(ctx)
	if err != nil {
		return res, control.Errorf(control.CodeFailed, "add folder: compare %s with the folder: %w", res.Path, err)
	}
	res.Plan = planOf(plan, prefer)
	if res.DryRun {
		return res, nil
	}
	if res.Plan.Stops {
		return res, stopped(res)
	}
	if res.Plan.Different.Count > 0 {
		if res.Kept, err = s.prefer(ctx, f, sv, prefer); err != nil {
			return res, err
		}
	}
	if err := s.n.chunks.Sync(ctx); err != nil {
		return res, err
	}
	return res, s.n.folders.add(f, res.Name, res.Path, only)
}

// withCleanup keeps an error as it is, with its class, where cleaning up worked.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return errors.Join(err, cleanup)
}

// prefer settles what is neither equal nor in history, before the folder runs.
func (s service) prefer(ctx context.Context, f id.Folder, sv *folder.Survey, prefer string) (*control.KeptMine, error) {
	switch prefer {
	case "mine":
		return nil, sv.PreferMine()
	case "cluster":
		kept, err := s.keepMine(ctx, f, sv)
		if err != nil {
			return nil, err
		}
		return kept, sv.PreferCluster()
	}
	return nil, nil // the folder's engine makes conflicts of them
}

// keepBytes bounds the paths of one commit, as the folder's engine does, with room for
// the entries.
const (
	keepBytes   = 8 << 20
	keepPerPath = 200
)

// keepMine gives what differs to history: commits that put it below a new directory,
// and one right behind them that deletes it, so that it is restorable and on nobody's
// disk.
func (s service) keepMine(ctx context.Context, f id.Folder, sv *folder.Survey) (*control.KeptMine, error) {
	dir := id.Path(fmt.Sprintf("replaced-on-%s-%s", s.n.cfg.Name, time.Now().UTC().Format("20060102-150405")))
	changes, err := sv.Mine(ctx, dir)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	parts := split(changes)
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	outs, err := s.n.propose.Series(ctx, f, len(parts)+1, func(i int, before id.Sequence) meta.Command {
		cmd := meta.CommitCmd{Folder: f, Origin: meta.OriginEdit, Message: "kept before the folder was joined with --prefer cluster"}
		if i < len(parts) {
			cmd.Changes = parts[i]
		} else {
			cmd.Changes = []meta.Change{{Op: meta.OpDelete, Path: dir, Base: meta.Base{Own: before}}}
		}
		return cmd
	})
	if err != nil {
		return nil, s.asked("add folder", err, "nothing here was changed: run it again later")
	}
	for _, o := range outs {
		if o.Kind == meta.Refused {
			return nil, control.Errorf(control.CodeFailed, "add folder: keep in history what differs: the cluster refused it: %s", o.Reason)
		}
	}
	last := outs[len(parts)-1]
	return &control.KeptMine{Path: string(dir), Revision: uint64(last.Revision), Files: len(changes)}, nil
}

// split cuts changes into commits of bounded size.
func split(all []meta.Change) (out [][]meta.Change) {
	size, from := 0, 0
	for i, c := range all {
		n := len(c.Path) + len(c.Entry.Target) + keepPerPath
		if size += n; size > keepBytes && i > from {
			out, from, size = append(out, all[from:i]), i, n
		}
	}
	return append(out, all[from:])
}

// planOf puts a survey's plan into the control API's words.
func planOf(p folder.Plan, prefer string) *control.FolderPlan {
	by := func(st reconcile.Standing) control.PlanPaths { return planPaths(p.By[st], p.First[st]) }
	out := &control.FolderPlan{
		Equal: by(reconcile.Equal), Older: by(reconcile.Older), DeletedThere: by(reconcile.Gone),
		OnlyThere: planPaths(p.OnlyThere, p.FirstOnlyThere), OnlyHere: by(reconcile.Fresh),
		Different: by(reconcile.Different), Unread: planPaths(p.Unread, p.FirstUnread),
		Limit: planLimit, Prefer: prefer,
	}
	out.Stops = prefer == "" && out.Different.Count > planLimit
	return out
}

func planPaths(n int, first []id.Path) control.PlanPaths {
	out := control.PlanPaths{Count: n, First: []control.PlanPath{}}
	for _, p := range first {
		text, b64 := control.EncodePath(string(p))
		out.First = append(out.First, control.PlanPath{Path: text, PathB64: b64})
	}
	return out
}

// stopped is why a join was not carried out.
func stopped(res control.FolderAddResult) error {
	p := res.Plan
	var paths []control.BlockedPath
	add := func(of control.PlanPaths, what string) {
		for _, f := range of.First {
			paths = append(paths, control.BlockedPath{Path: f.Path, PathB64: f.PathB64, Reason: what})
		}
	}
	add(p.Different, "differs from every version of it in the folder")
	add(p.OnlyHere, "only here")
	add(p.OnlyThere, "only in the folder")
	add(p.DeletedThere, "deleted in the folder since")
	add(p.Older, "an older version")
	return control.Errorf(control.CodeFailed,
		"add folder: %d paths in %s differ from folder %q (%d equal, %d older, %d deleted there, %d only there, %d only here); nothing was changed",
		p.Different.Count, res.Path, res.Name, p.Equal.Count, p.Older.Count, p.DeletedThere.Count, p.OnlyThere.Count, p.OnlyHere.Count).
		WithHint("is this the right directory? then --prefer cluster (theirs; yours stay in history), mine (yours; theirs stay in history) or both (a conflict each)").
		WithPaths(paths)
}
