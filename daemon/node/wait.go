package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// Wait implements control.Service.
func (s service) Wait(ctx context.Context, r control.WaitRequest) (control.WaitResult, error) {
	started := time.Now()
	var res control.WaitResult
	engines := s.n.folders.all()
	if r.Folder != "" {
		rec, err := s.byName(r.Folder)
		if err != nil {
			return res, err
		}
		e := engines[rec.ID]
		if e == nil {
			return res, control.Errorf(control.CodeFailed, "wait: folder %q is not on this node", r.Folder).
				WithHint("add it with `lockstep folder add PATH --name %s`", r.Folder)
		}
		engines = map[id.Folder]*folder.Engine{rec.ID: e}
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	for f, e := range engines { // time mends none of these
		if err := e.Stopped(); err != nil {
			return res, s.waitError(f, e, err)
		}
	}
	if c := s.cluster(); c.Removed && !c.HasQuorum {
		return res, control.Errorf(control.CodeFailed, "wait: this node was removed from the cluster").WithHint("%s", staysHere)
	}
	if _, err := s.freshen(ctx, r.Linearizable); err != nil {
		return res, err
	}
	var online []id.Node
	for _, m := range s.n.members.Nodes() {
		if s.n.peers.Online(m) {
			online = append(online, m)
		}
	}
	for f, e := range engines {
		rev, err := e.Wait(ctx)
		if err != nil {
			return res, s.waitError(f, e, err)
		}
		w := control.WaitFolder{Name: s.folderName(f), Revision: uint64(rev)}
		if r.All {
			dropped, err := s.waitOthers(ctx, f, rev, online)
			if err != nil {
				return res, s.waitError(f, e, err)
			}
			res.Dropped = append(res.Dropped, dropped...)
		}
		w.Nodes = s.progress(f, rev)
		in, err := e.Info()
		if err != nil {
			return res, s.waitError(f, e, err)
		}
		w.NotBrought = in.Skipped
		res.Folders = append(res.Folders, w)
		for _, b := range e.NeverSynced() {
			bp := control.NewBlockedPath(string(b.Path), b.Reason)
			bp.Folder = w.Name
			res.Warnings = append(res.Warnings, bp)
		}
	}
	slices.SortFunc(res.Folders, func(a, b control.WaitFolder) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(res.Dropped)
	res.Dropped = slices.Compact(res.Dropped)
	res.ElapsedS = time.Since(started).Seconds()
	return res, nil
}

// waitOthers waits until each of the nodes that keeps the folder has the revision on
// its disk, and names those that went offline meanwhile. One that lacks paths of it
// for what time cannot mend ends the wait.
func (s service) waitOthers(ctx context.Context, f id.Folder, rev id.Revision, nodes []id.Node) (dropped []string, err error) {
	changed, stop := s.n.peers.Watch()
	defer stop()
	for left := slices.Clone(nodes); ; {
		var behind []string
		var next []id.Node
		for _, m := range left {
			name := s.n.members.name(m)
			if !s.n.peers.Online(m) {
				dropped = append(dropped, name)
				continue
			}
			h, heard := s.n.peers.Last(m)
			there, blocked := reached(h, f, rev)
			switch {
			case heard && !there && halted(h, f):
				return dropped, control.Errorf(control.CodeFailed, "wait for %q: on node %s the folder has halted", s.folderName(f), name).
					WithHint("`lockstep status` there says why; what is committed reaches it when it runs again")
			case heard && !there && paused(h, f):
				return dropped, control.Errorf(control.CodeFailed, "wait for %q: the folder is paused on node %s", s.folderName(f), name).
					WithHint("`lockstep folder resume %s` there lets it go on", s.folderName(f))
			case !heard || !there && blocked == 0:
				next, behind = append(next, m), append(behind, name)
			case blocked > 0:
				return dropped, control.Errorf(control.CodeFailed, "wait for %q: on node %s %s cannot be brought to the disk", s.folderName(f), name, pathsOf(blocked)).
					WithHint("`lockstep status` there lists them, each with the reason")
			}
		}
		if left = next; len(left) == 0 {
			return dropped, nil
		}
		s.n.peers.Kick()
		select {
		case <-ctx.Done():
			err := context.Cause(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				slices.Sort(behind)
				err = control.Errorf(control.CodeTimeout, "wait for %q: timed out: revision %d is not on the disk of %s yet", s.folderName(f), rev, strings.Join(behind, ", ")).
					WithHint("see `lockstep status` there")
			}
			return dropped, err
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s service) waitError(f id.Folder, e *folder.Engine, err error) error {
	name := s.folderName(f)
	if stopped := stoppedError(name, err); stopped != nil {
		return stopped
	}
	var blocked *folder.BlockedError
	if errors.As(err, &blocked) {
		var paths []control.BlockedPath
		for _, b := range blocked.Paths {
			bp := control.NewBlockedPath(string(b.Path), b.Reason)
			bp.Folder = name
			paths = append(paths, bp)
		}
		return control.Errorf(control.CodeFailed, "wait for %q: %w", name, err).WithPaths(paths)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		ce := control.Errorf(control.CodeTimeout, "wait for %q: timed out", name)
		if c := s.cluster(); c.Notice != "" {
			return ce.WithHint("%s", c.Notice)
		}
		in, ierr := e.Info()
		if ierr != nil {
			return ce
		}
		var paths []control.BlockedPath
		for _, b := range in.Waiting {
			bp := control.NewBlockedPath(string(b.Path), b.Reason)
			bp.Folder = name
			paths = append(paths, bp)
		}
		return ce.WithPaths(paths[:min(len(paths), 100)])
	}
	if _, ok := errors.AsType[*control.Error](err); ok || errors.Is(err, context.Canceled) {
		return err
	}
	return control.Errorf(control.CodeFailed, "wait for %q: %w", name, err)
}

// halted reports whether a member has said that a folder has stopped there.
func halted(h peers.Heartbeat, f id.Folder) bool {
	return slices.ContainsFunc(h.Folders, func(st peers.FolderState) bool { return st.Folder == f && st.Halted })
}

// paused reports whether a member has said that a folder is paused there.
func paused(h peers.Heartbeat, f id.Folder) bool {
	return slices.ContainsFunc(h.Folders, func(st peers.FolderState) bool { return st.Folder == f && st.Paused })
}

func pathsOf(n int) string {
	if n == 1 {
		return "a path of it"
	}
	return fmt.Sprintf("%d paths of it", n)
}

// reached reports whether a member has said that a revision is on its disk, but
// for so many blocked paths, or that so many keep it from there. A member that does
// not keep the folder is not waited for.
func reached(h peers.Heartbeat, f id.Folder, rev id.Revision) (ok bool, blocked int) {
	for _, st := range h.Folders {
		if st.Folder == f {
			if st.Applied >= rev {
				return true, st.Blocked
			}
			return false, st.Lacking
		}
	}
	return true, 0
}

// stoppedError is for a folder that waits for its user, nil for another error.
func stoppedError(name string, err error) error {
	what := fmt.Sprintf("wait for %q", name)
	root := func(reason string) []control.BlockedPath {
		return []control.BlockedPath{{Folder: name, Reason: reason}}
	}
	var held *folder.HeldError
	switch {
	case errors.Is(err, folder.ErrPaused):
		return pausedError(what, name).WithPaths(root("paused"))
	case errors.As(err, &held):
		return control.Errorf(control.CodeFailed, "%s: %w", what, err).
			WithHint("`lockstep folder allow %s` lets them go, `lockstep folder revert %s` puts the files back", name, name).
			WithPaths(root("held: " + err.Error()))
	}
	return nil
}
