package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/fetch"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// errEnough ends an iteration.
var errEnough = errors.New("enough")

// revision finds the commit that the user named.
func revision(v *meta.View, f meta.Folder, r control.Rev) (meta.Commit, error) {
	head, err := v.Head(f.ID)
	if err != nil {
		return head, err
	}
	var want id.Revision
	switch r.Kind {
	case control.RevNumber:
		want = id.Revision(r.Number)
	case control.RevHead:
		if r.Back > uint64(head.Revision) {
			return head, control.Errorf(control.CodeFailed, "folder %q has only %d revisions", f.Name, head.Revision)
		}
		want = head.Revision - id.Revision(r.Back)
	case control.RevTime:
		var later []id.Revision
		if want, later, err = v.RevisionAt(f.ID, r.Time); err != nil {
			return head, err
		}
		if len(later) > 0 {
			return head, control.Errorf(control.CodeFailed, "%q is ambiguous: revision %d was stamped by then, but so were earlier clocks' revisions %v", r.Text, want, later).
				WithHint("name the revision by its number")
		}
	default:
		return head, control.Errorf(control.CodeFailed, "revision %q: tags are not supported yet", r.Text).
			WithHint("name a revision by its number; see `lockstep log %s`", f.Name)
	}
	c, ok, err := v.Commit(f.ID, want)
	if err == nil && !ok {
		none := control.Errorf(control.CodeFailed, "folder %q has no revision %s; its newest is %d", f.Name, r.Text, head.Revision)
		if r.Kind == control.RevTime {
			none = control.Errorf(control.CodeFailed, "folder %q has no revision that was made by then (%s)", f.Name, r.Text)
		}
		err = none.WithHint("see `lockstep log %s`", f.Name)
	}
	return c, err
}

// Log implements control.Service.
func (s service) Log(ctx context.Context, r control.LogRequest, emit func(control.LogEntry) error) (control.Freshness, error) {
	fresh, err := s.freshen(ctx, r.Linearizable)
	if err != nil {
		return fresh, err
	}
	f, _, p, err := s.target(r.Target)
	if err != nil {
		return fresh, err
	}
	v := s.n.machine.View()
	defer v.Close()
	left := r.Limit
	send := func(at time.Time, e control.LogEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !r.Since.IsZero() && at.Before(r.Since) {
			return nil
		}
		if err := emit(e); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	if p == "" {
		err = s.logFolder(v, f.ID, send)
	} else {
		err = s.logPath(v, f, p, send)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return fresh, err
}

func (s service) logFolder(v *meta.View, f id.Folder, send func(time.Time, control.LogEntry) error) error {
	head, err := v.Head(f)
	if err != nil || head.Revision == 0 {
		return err
	}
	return v.Commits(f, head.Revision, 1, func(c meta.Commit) error {
		return send(c.Time, control.LogEntry{Commit: &control.LogCommit{
			Revision: uint64(c.Revision), Time: c.Time, Node: s.n.members.name(c.Node), Origin: c.Origin.String(),
			Message: c.Message, Changes: c.Changes, Hash: c.Hash.String(), Target: uint64(c.Target),
		}})
	})
}

// logPath lists the versions of a path, newest first, following it to where it
// was moved from.
func (s service) logPath(v *meta.View, f meta.Folder, p id.Path, send func(time.Time, control.LogEntry) error) error {
	var found bool
	asked := p
	below := id.Revision(1<<63 - 1)
	for p != "" {
		var rows []meta.Version
		err := v.History(f.ID, p, func(x meta.Version) error {
			if x.Revision > below {
				return nil
			}
			rows = append(rows, x)
			if x.From != "" && x.Entry.Kind != meta.Absent {
				return errEnough // older versions of this path were another file's
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		next := id.Path("")
		for i, x := range rows {
			found = true
			var before meta.Version
			if i+1 < len(rows) {
				before = rows[i+1]
			}
			if x.From != "" && x.Entry.Kind != meta.Absent {
				next, below = x.From, x.Revision-1
			}
			c, ok, err := v.Commit(f.ID, x.Revision)
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("revision %d of %q has no commit", x.Revision, f.Name)
			}
			if err := send(c.Time, control.LogEntry{Version: s.logVersion(c, x, before)}); err != nil {
				return err
			}
		}
		p = next
	}
	if !found {
		return noHistory(f, asked)
	}
	return nil
}

func (s service) logVersion(c meta.Commit, x, before meta.Version) *control.LogVersion {
	out := &control.LogVersion{
		Revision: uint64(x.Revision), Time: c.Time, Node: s.n.members.name(c.Node),
		Action: action(before.Entry, x.Entry, x.From), Kind: x.Entry.Kind.String(), Size: x.Entry.Size,
		Mode: fmt.Sprintf("%04o", x.Entry.Mode),
	}
	out.Path, out.PathB64 = control.EncodePath(string(x.Path))
	out.From, out.FromB64 = control.EncodePath(string(x.From))
	if x.Entry.Kind == meta.File {
		t := time.Unix(0, x.Entry.MTime)
		out.MTime, out.Content = &t, x.Entry.Content.String()
	}
	return out
}

func action(was, is meta.Entry, from id.Path) string {
	switch {
	case is.Kind == meta.Absent:
		return "delete"
	case from != "":
		return "rename"
	case was.Kind == meta.Absent:
		return "create"
	case was.SameContent(is):
		return "attributes"
	}
	return "modify"
}

// Cat implements control.Service.
func (s service) Cat(ctx context.Context, r control.CatRequest, start func(control.CatInfo) io.Writer) error {
	fresh, err := s.freshen(ctx, r.Linearizable)
	if err != nil {
		return err
	}
	f, _, p, err := s.target(r.Target)
	if err != nil {
		return err
	}
	v := s.n.machine.View()
	defer v.Close()
	c, err := revision(v, f, r.Rev)
	if err != nil {
		return err
	}
	x, ok, err := v.At(f.ID, p, c.Revision)
	if err != nil {
		return err
	}
	if p == "" || x.Entry.Kind == meta.Dir {
		return control.Errorf(control.CodeFailed, "%s@%s is a directory", r.Target, r.Rev).WithHint("name a file")
	}
	if x.Lost.Kind != meta.Absent && x.Revision == c.Revision {
		x.Entry = x.Lost // what lost a conflict without a copy has this name in history
	}
	if !ok || x.Entry.Kind == meta.Absent {
		return control.Errorf(control.CodeFailed, "%s does not exist at revision %d", r.Target, c.Revision).
			WithHint("see `lockstep log` of it")
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
	c, err := revision(v, f, r.Rev)
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
		res.Changes, err = rollbackChanges(ctx, v, f.ID, p, head.Revision, c.Revision, emit)
		return res, err
	}
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

func noHistory(f meta.Folder, p id.Path) error {
	return control.Errorf(control.CodeFailed, "folder %q has no history of %q", f.Name, string(p)).
		WithHint("a path after the colon is relative to the folder's root: see `lockstep status` for where that is")
}

// rollbackChanges lists what a rollback would do: the paths whose entries differ.
func rollbackChanges(ctx context.Context, v *meta.View, f id.Folder, p id.Path, head, target id.Revision, emit func(control.RollbackChange) error) (n uint64, err error) {
	one := func(path id.Path, was, is meta.Entry) error {
		if was == is {
			return ctx.Err()
		}
		n++
		c := control.RollbackChange{Action: action(was, is, ""), Kind: is.Kind.String(), Size: is.Size}
		if is.Kind == meta.Absent {
			c.Kind = was.Kind.String()
		}
		c.Path, c.PathB64 = control.EncodePath(string(path))
		return emit(c)
	}
	err = v.Tree(f, p, target, func(x meta.Version) error {
		now, _, err := v.At(f, x.Path, head)
		if err != nil {
			return err
		}
		return one(x.Path, now.Entry, x.Entry)
	})
	if err != nil {
		return n, err
	}
	return n, v.Tree(f, p, head, func(x meta.Version) error {
		then, _, err := v.At(f, x.Path, target)
		if err != nil || then.Entry.Kind != meta.Absent {
			return err
		}
		return one(x.Path, x.Entry, then.Entry)
	})
}
