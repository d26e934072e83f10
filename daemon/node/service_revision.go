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

// versionOf finds what PATH@REV names. The caller closes the view.
func (s service) versionOf(t control.Target, r control.Rev) (v *meta.View, f meta.Folder, p id.Path, c meta.Commit, err error) {
	if f, _, p, err = s.target(t); err != nil {
		return nil, f, p, c, err
	}
	v = s.n.machine.View()
	if c, err = s.revision(v, f, r); err != nil {
		return nil, f, p, c, errors.Join(err, v.Close())
	}
	return v, f, p, c, nil
}

// revision finds the commit that the user named.
func (s service) revision(v *meta.View, f meta.Folder, r control.Rev) (meta.Commit, error) {
	head, err := v.Head(f.ID)
	if err != nil {
		return head, err
	}
	var want id.Revision
	switch r.Kind {
	case control.RevNumber:
		want = id.Revision(r.Number)
	case control.RevHead:
		if r.Back >= uint64(head.Revision) && r.Back > 0 {
			return head, control.Errorf(control.CodeFailed, "folder %q has only %d revisions", f.Name, head.Revision)
		}
		want = head.Revision - id.Revision(r.Back)
	case control.RevTime:
		var later []id.Revision
		if want, later, err = v.RevisionAt(f.ID, r.Time); err != nil {
			return head, err
		}
		if len(later) > 0 {
			return head, s.ambiguous(v, f, r, want, later)
		}
	case control.RevTag:
		t, ok, err := v.Tag(f.ID, r.Text)
		if err != nil {
			return head, err
		}
		if !ok {
			return head, control.Errorf(control.CodeFailed, "folder %q has no tag %q", f.Name, r.Text).
				WithHint("see `lockstep tags %s`; a revision is a number, head, head~N, a tag, or a time such as \"2h ago\"", f.Name)
		}
		want = t.Revision
	default:
		return head, control.Errorf(control.CodeUsage, "revision %q: unknown kind %q", r.Text, string(r.Kind))
	}
	c, ok, err := v.Commit(f.ID, want)
	if err == nil && !ok {
		none := control.Errorf(control.CodeFailed, "folder %q has no revision %s; its newest is %d", f.Name, r.Text, head.Revision)
		if r.Kind == control.RevTime {
			none = control.Errorf(control.CodeFailed, "folder %q has no revision that was made by then (%s, %s)", f.Name, r.Text, r.Time.Format(time.DateTime))
		}
		err = none.WithHint("see `lockstep log %s`", f.Name)
	}
	return c, err
}

// maxListed bounds the candidates of an ambiguous time that are shown.
const maxListed = 20

// ambiguous lists the revisions that a time may mean where a clock stood wrong: the
// newest stamped by then, the earlier ones that are stamped later, and the last one
// before those.
func (s service) ambiguous(v *meta.View, f meta.Folder, r control.Rev, want id.Revision, later []id.Revision) error {
	type candidate struct {
		r   id.Revision
		why string
	}
	list := []candidate{{want, "the newest that is stamped by then"}}
	for i := len(later) - 1; i >= 0; i-- {
		list = append(list, candidate{later[i], "older, but stamped later"})
	}
	if before := later[0] - 1; before > 0 && len(list) <= maxListed {
		list = append(list, candidate{before, "the last before those"})
	}
	var paths []control.BlockedPath
	for i, x := range list {
		if i == maxListed {
			paths = append(paths, control.BlockedPath{Path: f.Name, Reason: fmt.Sprintf("%d more down to revision %d", len(list)-i, later[0])})
			break
		}
		c, _, err := v.Commit(f.ID, x.r)
		if err != nil {
			return err
		}
		paths = append(paths, control.BlockedPath{
			Path:   fmt.Sprintf("%s@%d", f.Name, x.r),
			Reason: fmt.Sprintf("%s by %s, %s", c.Time.Local().Format(time.DateTime), s.n.members.name(c.Node), x.why),
		})
	}
	return control.Errorf(control.CodeFailed, "%q names no one revision of folder %q: a clock stood wrong, and older revisions are stamped later than it",
		r.Text, f.Name).WithHint("name one of these by its number").WithPaths(paths)
}

// absent says why nothing is at p at a revision.
func (s service) absent(v *meta.View, f meta.Folder, p id.Path, r id.Revision) error {
	name := f.Name + ":" + shown(p)
	x, ok, err := v.At(f.ID, p, r)
	if err != nil {
		return err
	}
	if ok {
		c, _, err := v.Commit(f.ID, x.Revision)
		if err != nil {
			return err
		}
		who := fmt.Sprintf("in revision %d by %s", x.Revision, s.n.members.name(c.Node))
		if x.To != "" {
			return control.Errorf(control.CodeFailed, "%s does not exist at revision %d: it was renamed to %s:%s %s", name, r, f.Name, shown(x.To), who)
		}
		return control.Errorf(control.CodeFailed, "%s does not exist at revision %d: it was deleted %s", name, r, who).
			WithHint("what it was before that is %s@%d", name, x.Revision-1)
	}
	var first meta.Version
	err = v.History(f.ID, p, func(x meta.Version) error { first = x; return nil })
	if err != nil {
		return err
	}
	if first.Path == "" {
		return noHistory(f, p)
	}
	none := control.Errorf(control.CodeFailed, "%s does not exist at revision %d: its first is revision %d", name, r, first.Revision)
	was, err := v.Was(f.ID, p, r, ^id.Revision(0))
	if err != nil {
		return err
	}
	if was != "" {
		return none.WithHint("then it was %s:%s@%d", f.Name, shown(was), r)
	}
	return none.WithHint("see `lockstep log %s`", name)
}

// shown is a path as messages show it.
func shown(p id.Path) string {
	text, _ := control.EncodePath(string(p))
	return text
}

func noHistory(f meta.Folder, p id.Path) error {
	return control.Errorf(control.CodeFailed, "folder %q has no history of %q", f.Name, string(p)).
		WithHint("a path after the colon is relative to the folder's root: see `lockstep status` for where that is")
}

// kind is what p was when it last was anything; Absent if it never was.
func kind(v *meta.View, f id.Folder, p id.Path) (k meta.Kind, err error) {
	if p == "" {
		return meta.Dir, nil
	}
	err = v.History(f, p, func(x meta.Version) error {
		if k = x.Entry.Kind; k != meta.Absent {
			return errEnough
		}
		return nil
	})
	return k, enough(err)
}

// rollbackChanges lists what a rollback would do: the paths whose entries differ,
// the directories above p that it would make among them.
func rollbackChanges(ctx context.Context, v *meta.View, f id.Folder, p id.Path, res *control.RollbackResult, emit func(control.RollbackChange) error) error {
	head, target := id.Revision(res.Previous), id.Revision(res.Target)
	res.Counts = map[string]uint64{"create": 0, "modify": 0, "attributes": 0, "delete": 0}
	one := func(path id.Path, was, is meta.Entry) error {
		res.Changes++
		c := control.RollbackChange{Action: action(was, is, ""), Kind: is.Kind.String(), Size: is.Size}
		if is.Kind == meta.Absent {
			c.Kind, c.Size = was.Kind.String(), was.Size
		}
		res.Counts[c.Action]++
		c.Path, c.PathB64 = control.EncodePath(string(path))
		if err := ctx.Err(); err != nil {
			return err
		}
		return emit(c)
	}
	if err := rollbackParents(v, f, p, head, target, one); err != nil {
		return err
	}
	return v.Compare(f, p, target, head, func(then, now meta.Version) error { return one(then.Path, now.Entry, then.Entry) })
}

// rollbackParents tells the missing directories above what comes back.
func rollbackParents(v *meta.View, f id.Folder, p id.Path, head, target id.Revision, one func(id.Path, meta.Entry, meta.Entry) error) error {
	if p == "" {
		return nil
	}
	if then, _, err := v.At(f, p, target); err != nil || then.Entry.Kind == meta.Absent {
		return err
	}
	for i, c := range []byte(p) {
		if c != '/' {
			continue
		}
		now, _, err := v.At(f, p[:i], head)
		if err != nil {
			return err
		}
		switch now.Entry.Kind {
		case meta.Dir:
		case meta.Absent:
			if err := one(p[:i], meta.Entry{}, meta.Entry{Kind: meta.Dir}); err != nil {
				return err
			}
		default:
			return control.Errorf(control.CodeFailed, "roll back %s: %s is a %s now", shown(p), shown(p[:i]), now.Entry.Kind).
				WithHint("roll back %s instead", shown(p[:i]))
		}
	}
	return nil
}
