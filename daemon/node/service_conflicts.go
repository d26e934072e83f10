package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// looks remembers which revision a user of this node was shown of a conflict, so that
// what others do to it afterwards is not decided on unseen. mu guards at.
type looks struct {
	mu sync.Mutex
	at map[look]id.Revision
}

type look struct {
	folder id.Folder
	number uint64
}

// maxLooks bounds what is remembered; beyond it all is forgotten, which refuses nothing.
const maxLooks = 10000

func (l *looks) set(k look, r id.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) >= maxLooks {
		l.at = make(map[look]id.Revision)
	}
	l.at[k] = r
}

func (l *looks) get(k look) id.Revision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[k]
}

// Conflicts implements control.Service.
func (s service) Conflicts(ctx context.Context, r control.ConflictsRequest, emit func(control.Conflict) error) error {
	v := s.n.machine.View()
	defer v.Close()
	recs, err := v.Folders()
	if err != nil {
		return err
	}
	found := r.Folder == ""
	for _, f := range recs {
		if f.Removed || r.Folder != "" && f.Name != r.Folder {
			continue
		}
		found = true
		var all []meta.Conflict
		err := v.Conflicts(f.ID, func(c meta.Conflict) error {
			if r.All || c.State == meta.ConflictOpen {
				all = append(all, c)
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		for i := len(all) - 1; i >= 0; i-- {
			if err := emit(s.conflict(f.Name, all[i])); err != nil {
				return err
			}
		}
	}
	if !found {
		return control.Errorf(control.CodeFailed, "there is no folder %q", r.Folder).WithHint("see `lockstep folder ls`")
	}
	return nil
}

func (s service) conflict(folder string, c meta.Conflict) control.Conflict {
	out := control.Conflict{
		ID: fmt.Sprintf("%s#%d", folder, c.Number), Folder: folder,
		BaseRevision: uint64(c.Base), WinnerRevision: uint64(c.Winner), LoserRevision: uint64(c.Loser),
		WinnerNode: s.n.members.name(c.WinnerNode), LoserNode: s.n.members.name(c.LoserNode),
		Kind: c.Kind.String(), State: c.State.String(), Time: c.Time,
		ResolvedBy: s.n.members.name(c.ResolvedBy), Resolution: c.Resolution,
	}
	out.Path, out.PathB64 = control.EncodePath(string(c.Path))
	if !c.Hidden {
		out.CopyPath, out.CopyPathB64 = control.EncodePath(string(c.CopyPath))
	}
	return out
}

// record finds the record that the user named.
func (s service) record(v *meta.View, r control.ConflictRequest) (meta.Folder, meta.Conflict, error) {
	f, err := s.byName(r.Folder)
	if err != nil {
		return f, meta.Conflict{}, err
	}
	x, ok, err := v.Conflict(f.ID, r.Number)
	if err == nil && !ok {
		err = control.Errorf(control.CodeFailed, "there is no conflict %s", r.ID()).WithHint("see `lockstep conflicts --all`")
	}
	return f, x, err
}

// ConflictShow implements control.Service.
func (s service) ConflictShow(_ context.Context, r control.ConflictRequest) (d control.ConflictDetail, err error) {
	v := s.n.machine.View()
	defer v.Close()
	f, x, err := s.record(v, r)
	if err != nil {
		return d, err
	}
	sides, err := v.Sides(x)
	if err != nil {
		return d, err
	}
	head, err := v.Head(f.ID)
	if err != nil {
		return d, err
	}
	d = control.ConflictDetail{Conflict: s.conflict(f.Name, x), Revision: uint64(head.Revision), Resolved: uint64(x.ResolvedAt)}
	for to, y := range map[**control.ConflictSide]meta.Version{&d.Base: sides.Base, &d.Current: sides.Current, &d.Other: sides.Other} {
		if *to, err = s.conflictSide(v, f.ID, y); err != nil {
			return d, err
		}
	}
	s.n.looks.set(look{f.ID, x.Number}, head.Revision)
	return d, nil
}

func (s service) conflictSide(v *meta.View, f id.Folder, y meta.Version) (*control.ConflictSide, error) {
	if y.Entry.Kind == meta.Absent {
		return nil, nil
	}
	c, _, err := v.Commit(f, y.Revision)
	if err != nil {
		return nil, err
	}
	out := &control.ConflictSide{
		Revision: uint64(y.Revision), Time: c.Time, Node: s.n.members.name(c.Node), Kind: y.Entry.Kind.String(),
		Size: y.Entry.Size, Mode: fmt.Sprintf("%04o", y.Entry.Mode),
	}
	out.Path, out.PathB64 = control.EncodePath(string(y.Path))
	switch y.Entry.Kind {
	case meta.File:
		t := time.Unix(0, y.Entry.MTime)
		out.MTime, out.Content = &t, y.Entry.Content.String()
	case meta.Symlink:
		out.Size = int64(len(y.Entry.Target))
	}
	return out, nil
}

var keeps = map[string]meta.Keep{
	control.KeepCurrent: meta.KeepWinner, control.KeepOther: meta.KeepLoser,
	control.KeepBoth: meta.KeepBoth, control.KeepWith: meta.KeepWith,
}

// ConflictResolve implements control.Service.
func (s service) ConflictResolve(ctx context.Context, r control.ResolveRequest, with io.Reader) (res control.ResolveResult, err error) {
	keep, ok := keeps[r.Keep]
	if !ok || (keep == meta.KeepWith) != (r.With != nil) {
		return res, control.Errorf(control.CodeUsage, "resolve %s: keep %q is none of current, other, both, or a file", r.ID(), r.Keep)
	}
	f, x, e, err := s.resolvable(r.ConflictRequest)
	if err != nil {
		return res, err
	}
	cmd := meta.ResolveCmd{Folder: f.ID, Conflict: x.Number, Keep: keep, Message: r.Message}
	if r.With != nil {
		if cmd.Entry, err = s.given(ctx, e, *r.With, with); err != nil {
			return res, fmt.Errorf("resolve %s: %w", r.ID(), err)
		}
	}
	if err := s.decided(ctx, e, r, &cmd); err != nil {
		return res, err
	}
	what, asked := "resolve "+r.ID(), ctx
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	out, err := e.Submit(ctx, cmd)
	if err != nil {
		return res, s.asked(what, err, carriedOut)
	}
	if out.Kind == meta.Refused {
		return res, control.Errorf(control.CodeFailed, "%s: %s", what, out.Reason).WithHint("see `lockstep conflicts show %s`", r.ID())
	}
	v := s.n.machine.View()
	defer v.Close()
	if x, _, err = v.Conflict(f.ID, x.Number); err != nil {
		return res, err
	}
	return control.ResolveResult{
		Conflict: s.conflict(f.Name, x), Revision: uint64(out.Revision), OnDisk: s.reached(asked, e, out.Revision),
	}, nil
}

// resolvable finds an open record of a folder that this node keeps.
func (s service) resolvable(r control.ConflictRequest) (meta.Folder, meta.Conflict, *folder.Engine, error) {
	v := s.n.machine.View()
	defer v.Close()
	f, x, err := s.record(v, r)
	if err != nil {
		return f, x, nil, err
	}
	switch x.State {
	case meta.ConflictResolved:
		return f, x, nil, control.Errorf(control.CodeFailed, "resolve %s: it is resolved already, by %s at revision %d: %s", r.ID(), s.n.members.name(x.ResolvedBy), x.ResolvedAt, x.Resolution).
			WithHint("see `lockstep conflicts show %s`", r.ID())
	case meta.ConflictAutomatic:
		return f, x, nil, control.Errorf(control.CodeFailed, "resolve %s: it was decided by rule, nothing is open", r.ID()).
			WithHint("see `lockstep conflicts show %s`", r.ID())
	}
	e := s.n.folders.engine(f.ID)
	if e == nil {
		return f, x, nil, control.Errorf(control.CodeFailed, "resolve %s: folder %q is not on this node; resolve it on a node that keeps it", r.ID(), f.Name)
	}
	return f, x, e, nil
}

// decided commits what the user has changed here, and sets the revision on which he
// decides: the one that he was shown, unless the changes since are this node's.
func (s service) decided(ctx context.Context, e *folder.Engine, r control.ResolveRequest, cmd *meta.ResolveCmd) error {
	what := "resolve " + r.ID()
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if err := s.n.led(ctx); err != nil {
		return s.asked(what, err, "")
	}
	if err := e.Flush(ctx); err != nil {
		return s.asked("commit the changes on this disk before "+r.ID()+" is resolved", err, "nothing was resolved")
	}
	v := s.n.machine.View()
	defer v.Close()
	x, _, err := v.Conflict(cmd.Folder, cmd.Conflict)
	if err != nil {
		return err
	}
	seen, err := v.Head(cmd.Folder)
	if err != nil {
		return err
	}
	shown := id.Revision(r.Seen)
	if shown == 0 {
		shown = s.n.looks.get(look{cmd.Folder, cmd.Conflict})
	}
	if shown != 0 {
		if seen, err = s.shown(v, x, r, seen, shown); err != nil {
			return err
		}
	}
	cmd.Seen = seen.Base()
	if cmd.Keep != meta.KeepWith {
		return nil
	}
	sides, err := v.Sides(x)
	if err != nil {
		return err
	}
	for _, y := range []meta.Version{sides.Other, sides.Current} {
		if y.Entry.Kind == meta.File {
			cmd.Entry.Mode = y.Entry.Mode
		}
	}
	return nil
}

// shown is the revision to decide on for who was shown one: that one, or the head where
// all that came to path and copy since is this node's.
func (s service) shown(v *meta.View, x meta.Conflict, r control.ResolveRequest, head meta.Commit, rev id.Revision) (meta.Commit, error) {
	c, ok, err := v.Commit(x.Folder, rev)
	if err != nil {
		return c, err
	}
	if !ok {
		return c, control.Errorf(control.CodeFailed, "resolve %s: there is no revision %d; the newest is %d", r.ID(), rev, head.Revision)
	}
	for _, p := range []id.Path{x.Path, x.CopyPath} {
		at, _, err := v.At(x.Folder, p, head.Revision)
		if err != nil {
			return c, err
		}
		if at.Revision <= rev {
			continue
		}
		made, _, err := v.Commit(x.Folder, at.Revision)
		if err != nil {
			return c, err
		}
		if made.Node != s.n.self {
			text, _ := control.EncodePath(string(p))
			return c, control.Errorf(control.CodeFailed, "resolve %s: %s has changed since it was looked at, by %s at revision %d", r.ID(), text, s.n.members.name(made.Node), at.Revision).
				WithHint("look again: `lockstep conflicts show %s`", r.ID())
		}
		c = head
	}
	return c, nil
}

// given keeps the bytes of a file that the user gives, durable, and returns its entry.
// They come as a stream: the daemon's user may not be able to read what the caller can.
func (s service) given(ctx context.Context, e *folder.Engine, w control.WithFile, r io.Reader) (out meta.Entry, err error) {
	if w.Size < 0 {
		return out, control.Errorf(control.CodeUsage, "size %d", w.Size)
	}
	spool, err := os.CreateTemp(string(s.n.home), ".given-*")
	if err != nil {
		return out, fmt.Errorf("keep the file that was given: %w", err)
	}
	_ = os.Remove(spool.Name()) // at once, where the system lets an open file go: nothing is left after a crash
	defer func() { _ = os.Remove(spool.Name()) }()
	defer spool.Close()
	n, err := io.Copy(spool, io.LimitReader(r, w.Size+1))
	if err != nil {
		return out, fmt.Errorf("keep the file that was given: %w", err)
	}
	if n != w.Size {
		return out, fmt.Errorf("keep the file that was given: %d bytes came, %d were announced", n, w.Size)
	}
	var f chunks.File
	if f, err = e.Store(ctx, spool, n); err != nil {
		return out, fmt.Errorf("keep the file that was given: %w", err)
	}
	return meta.Entry{Kind: meta.File, Mode: w.Mode & 0o7777, MTime: w.MTime, Size: f.Size, Content: f.Content, Manifest: f.Manifest}, nil
}
