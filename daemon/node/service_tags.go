package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Tag implements control.Service.
func (s service) Tag(ctx context.Context, r control.TagRequest) (control.Tag, error) {
	var none control.Tag
	if err := id.CheckName(r.Name); err != nil {
		return none, control.Errorf(control.CodeUsage, "tag: %w", err)
	}
	if r.Name == "head" || strings.Trim(r.Name, "0123456789") == "" {
		return none, control.Errorf(control.CodeUsage, "tag %q: reads as a revision", r.Name)
	}
	f, e, p, err := s.target(r.Target)
	if err != nil {
		return none, err
	}
	if p != "" {
		return none, control.Errorf(control.CodeUsage, "tag %s: a tag names a revision of a whole folder", r.Name).
			WithHint("leave %q out", shown(p))
	}
	if e == nil {
		return none, control.Errorf(control.CodeFailed, "folder %q is not on this node", f.Name).WithHint("tag it on a node that keeps it")
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if !r.Remove && r.Rev.Kind == control.RevHead && r.Rev.Back == 0 {
		// The head means what the user sees on his disk.
		if err := e.Flush(ctx); err != nil {
			return none, s.asked("commit the changes on this disk before the tag", err, "no tag was set")
		}
	}
	cmd := meta.TagCmd{Folder: f.ID, Name: r.Name, Remove: r.Remove}
	tag, err := s.named(f, r, &cmd)
	if err != nil {
		return none, err
	}
	const what = "tag"
	if err := s.n.led(ctx); err != nil {
		return none, s.asked(what, err, "")
	}
	out, err := e.Submit(ctx, cmd)
	if err != nil {
		return none, s.asked(what, err, carriedOut)
	}
	if out.Kind == meta.Refused {
		return none, control.Errorf(control.CodeFailed, "tag: %s", out.Reason).WithHint("see `lockstep tags %s`", f.Name)
	}
	if r.Remove {
		return tag, nil
	}
	v := s.n.machine.View()
	defer v.Close()
	set, ok, err := v.Tag(f.ID, r.Name)
	if err == nil && !ok {
		err = errors.New("the tag was removed again")
	}
	if err != nil {
		return none, err
	}
	return s.tag(v, f, set)
}

// named fills in what the command is about, and returns the tag that there is.
func (s service) named(f meta.Folder, r control.TagRequest, cmd *meta.TagCmd) (control.Tag, error) {
	v := s.n.machine.View()
	defer v.Close()
	old, ok, err := v.Tag(f.ID, r.Name)
	switch {
	case err != nil:
		return control.Tag{}, err
	case r.Remove && !ok:
		return control.Tag{}, control.Errorf(control.CodeFailed, "folder %q has no tag %q", f.Name, r.Name).
			WithHint("see `lockstep tags %s`", f.Name)
	case r.Remove:
		return s.tag(v, f, old)
	case ok:
		return control.Tag{}, control.Errorf(control.CodeFailed, "folder %q has a tag %q already, of revision %d", f.Name, r.Name, old.Revision).
			WithHint("choose another name, or first `lockstep tag --delete %s %s`", r.Name, f.Name)
	}
	c, err := s.revision(v, f, r.Rev)
	if err == nil && c.Revision == 0 {
		err = control.Errorf(control.CodeFailed, "folder %q has no revision yet", f.Name)
	}
	cmd.Revision = c.Revision
	return control.Tag{}, err
}

// Tags implements control.Service.
func (s service) Tags(ctx context.Context, r control.TagsRequest) ([]control.Tag, error) {
	v := s.n.machine.View()
	defer v.Close()
	recs, err := v.Folders()
	if err != nil {
		return nil, err
	}
	var out []control.Tag
	found := r.Folder == ""
	for _, f := range recs {
		if f.Removed || r.Folder != "" && f.Name != r.Folder {
			continue
		}
		found = true
		tags, err := v.Tags(f.ID)
		if err != nil {
			return nil, err
		}
		for _, t := range tags {
			x, err := s.tag(v, f, t)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
	}
	if !found {
		return nil, control.Errorf(control.CodeFailed, "there is no folder %q", r.Folder).WithHint("see `lockstep folder ls`")
	}
	slices.SortStableFunc(out, func(a, b control.Tag) int { return strings.Compare(a.Folder, b.Folder) })
	return out, nil
}

func (s service) tag(v *meta.View, f meta.Folder, t meta.Tag) (control.Tag, error) {
	c, _, err := v.Commit(f.ID, t.Revision)
	return control.Tag{
		Name: t.Name, Folder: f.Name, Revision: uint64(t.Revision), Time: t.Time,
		Node: s.n.members.name(t.Node), RevisionTime: c.Time,
	}, err
}

// enough is err, or nil where a list was ended on purpose.
func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
