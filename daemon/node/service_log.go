package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

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
	match, err := compilePatterns(r.Match)
	if err != nil {
		return fresh, err
	}
	v := s.n.machine.View()
	defer v.Close()
	l := &logger{s: s, v: v, f: f, match: match, r: r, left: r.Limit, send: func(e control.LogEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return emit(e)
	}}
	k, err := kind(v, f.ID, p)
	switch {
	case err != nil:
	case p == "" && len(r.Match) == 0:
		err = l.folder()
	case k == meta.Absent:
		err = noHistory(f, p)
	case k == meta.Dir:
		err = l.tree(p)
	default:
		err = l.path(p)
	}
	return fresh, enough(err)
}

// logger lists one log.
type logger struct {
	s     service
	v     *meta.View
	f     meta.Folder
	match patterns
	r     control.LogRequest
	left  int
	send  func(control.LogEntry) error
	last  meta.Commit // the commit read last
}

// emit sends an entry stamped at a time that the user asked for.
func (l *logger) emit(at time.Time, e func() (control.LogEntry, error)) error {
	if !l.r.Since.IsZero() && at.Before(l.r.Since) || !l.r.Until.IsZero() && at.After(l.r.Until) {
		return nil
	}
	x, err := e()
	if err != nil {
		return err
	}
	if err := l.send(x); err != nil {
		return err
	}
	if l.left--; l.left == 0 {
		return errEnough
	}
	return nil
}

func (l *logger) folder() error {
	head, err := l.v.Head(l.f.ID)
	if err != nil || head.Revision == 0 {
		return err
	}
	return l.v.Commits(l.f.ID, head.Revision, 1, func(c meta.Commit) error {
		return l.emit(c.Time, func() (control.LogEntry, error) {
			return control.LogEntry{Commit: l.s.logCommit(c)}, nil
		})
	})
}

func (s service) logCommit(c meta.Commit) *control.LogCommit {
	return &control.LogCommit{
		Revision: uint64(c.Revision), Time: c.Time, Node: s.n.members.name(c.Node), Origin: c.Origin.String(),
		Message: c.Message, Changes: c.Changes, Hash: c.Hash.String(), Target: uint64(c.Target),
	}
}

func (l *logger) commit(r id.Revision) (meta.Commit, error) {
	if l.last.Revision == r {
		return l.last, nil
	}
	c, ok, err := l.v.Commit(l.f.ID, r)
	if err == nil && !ok {
		err = fmt.Errorf("revision %d of %q has no commit", r, l.f.Name)
	}
	l.last = c
	return c, err
}

// version sends one version of a path.
func (l *logger) version(x meta.Version) error {
	c, err := l.commit(x.Revision)
	if err != nil {
		return err
	}
	return l.emit(c.Time, func() (control.LogEntry, error) {
		before, _, err := l.v.At(l.f.ID, x.Path, x.Revision-1)
		return control.LogEntry{Version: l.s.logVersion(c, x, before)}, err
	})
}

// path lists the versions of a path, newest first, following it to where it was
// moved from.
func (l *logger) path(p id.Path) error {
	below := ^id.Revision(0)
	for p != "" {
		next := id.Path("")
		err := l.v.History(l.f.ID, p, func(x meta.Version) error {
			if x.Revision > below {
				return nil
			}
			if err := l.version(x); err != nil {
				return err
			}
			if x.From != "" && x.Entry.Kind != meta.Absent {
				next, below = x.From, x.Revision-1
				return errMoved // older versions of this path were another file's
			}
			return nil
		})
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
		p = next
	}
	return nil
}

// errMoved ends the versions of a path where it came from another.
var errMoved = errors.New("moved")

// tree lists the versions of all paths within a directory, newest first, following
// the directory to where it was moved from. What only moved along with a directory
// is left out.
func (l *logger) tree(under id.Path) error {
	newest := ^id.Revision(0)
	for {
		var next id.Path
		var at id.Revision // the revision where under came from next
		var c carrier
		err := l.v.Versions(l.f.ID, under, newest, 1, func(x meta.Version) error {
			if at != 0 && x.Revision < at {
				return errMoved
			}
			if x.Revision != c.revision {
				c = carrier{revision: x.Revision, dirs: map[id.Path]id.Path{}}
			}
			if x.Path == under && x.From != "" && x.Entry.Kind == meta.Dir {
				next, at = x.From, x.Revision
			}
			return l.within(x, under, c)
		})
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
		if at == 0 {
			return nil
		}
		under, newest = next, at-1
	}
}

// within sends a version of a path within a directory, if it is asked for.
func (l *logger) within(x meta.Version, under id.Path, c carrier) error {
	shows := func(p id.Path) bool { return p.Within(under) && l.match.any(p, under) }
	if x.To != "" && shows(x.To) {
		return nil // told at its new path
	}
	other := x.From
	if x.Entry.Kind == meta.Absent {
		other = x.To
	}
	if other != "" {
		was, _, err := l.v.At(l.f.ID, x.Path, x.Revision-1)
		if x.Entry.Kind != meta.Absent && err == nil {
			was, _, err = l.v.At(l.f.ID, other, x.Revision-1)
		}
		if err != nil {
			return err
		}
		same := x.Entry.Kind == meta.Absent || was.Entry == x.Entry
		if c.along(x.Path, other, was.Entry.Kind == meta.Dir, same) {
			return nil
		}
	}
	if !shows(x.Path) {
		return nil
	}
	return l.version(x)
}

// carrier knows the directories that moved in one revision, to tell what only moved
// along with them. It sees each directory before what is in it.
type carrier struct {
	revision id.Revision
	dirs     map[id.Path]id.Path // where each is on this side -> on the other
}

// along reports whether p, whose other side is other, only moved along.
func (c carrier) along(p, other id.Path, dir, same bool) bool {
	for q := p.Dir(); q != "" && same; q = q.Dir() {
		if o, ok := c.dirs[q]; ok && other == p.Rebase(q, o) {
			return true
		}
	}
	if dir {
		c.dirs[p] = other
	}
	return false
}

func (s service) logVersion(c meta.Commit, x, before meta.Version) *control.LogVersion {
	lost := x.Lost.Kind != meta.Absent
	if lost {
		x.Entry = x.Lost
	}
	out := &control.LogVersion{
		Revision: uint64(x.Revision), Time: c.Time, Node: s.n.members.name(c.Node),
		Action: action(before.Entry, x.Entry, x.From), Kind: x.Entry.Kind.String(), Size: x.Entry.Size,
		Mode: fmt.Sprintf("%04o", x.Entry.Mode),
	}
	switch {
	case lost:
		out.Action = actionConflict
	case x.To != "":
		out.Action = "rename"
	}
	out.Path, out.PathB64 = control.EncodePath(string(x.Path))
	out.From, out.FromB64 = control.EncodePath(string(x.From))
	out.To, out.ToB64 = control.EncodePath(string(x.To))
	if x.Entry.Kind == meta.File {
		t := time.Unix(0, x.Entry.MTime)
		out.MTime, out.Content = &t, x.Entry.Content.String()
	}
	return out
}

// actionConflict is the action of what lost a conflict and is in history alone.
const actionConflict = "conflict"

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
