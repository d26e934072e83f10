package node

import (
	"context"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Show implements control.Service.
func (s service) Show(ctx context.Context, r control.ShowRequest, emit func(control.ShowItem) error) error {
	v, f, p, c, err := s.versionOf(r.Target, r.Rev)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := known(v, f, p); err != nil {
		return err
	}
	tags, err := v.Tags(f.ID)
	if err != nil {
		return err
	}
	head := control.ShowCommit{Folder: f.Name, LogCommit: *s.logCommit(c), Tags: []string{}}
	for _, t := range tags {
		if t.Revision == c.Revision {
			head.Tags = append(head.Tags, t.Name)
		}
	}
	if err := emit(control.ShowItem{Commit: &head}); err != nil {
		return err
	}
	left := r.Limit
	err = commitChanges(v, f.ID, p, c.Revision, func(x control.PathChange) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := emit(control.ShowItem{Change: &x}); err != nil {
			return err
		}
		if x.Carried {
			return nil // comes with one that counts
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	})
	return enough(err)
}

// commitChanges tells what a revision changed within p.
func commitChanges(v *meta.View, f id.Folder, p id.Path, r id.Revision, fn func(control.PathChange) error) error {
	c := carrier{dirs: map[id.Path]id.Path{}}
	return v.Versions(f, p, r, r, func(x meta.Version) error {
		var from id.Path
		if x.To != "" {
			to, _, err := v.At(f, x.To, r)
			if err != nil {
				return err
			}
			if to.Revision == r && to.From == x.Path && to.Entry.Kind != meta.Absent {
				if x.To.Within(p) {
					return nil // told at its new path
				}
				x = to
			}
		}
		was := x.Path
		if x.From != "" && x.Entry.Kind != meta.Absent {
			left, _, err := v.At(f, x.From, r)
			if err != nil {
				return err
			}
			from = x.From
			if left.Entry.Kind == meta.Absent || left.Revision == r {
				was = x.From // moved; else a copy, and the original stays
			}
		}
		old, _, err := v.At(f, was, r-1)
		if err != nil {
			return err
		}
		old.Path = was
		return fn(c.change(old, x, from))
	})
}

// change tells how old became is; from is where it came from, if from elsewhere.
func (c carrier) change(old, is meta.Version, from id.Path) control.PathChange {
	lost := is.Lost.Kind != meta.Absent
	if lost {
		is.Entry = is.Lost
	}
	moved := old.Path != is.Path && old.Entry.Kind != meta.Absent && is.Entry.Kind != meta.Absent
	out := control.PathChange{Old: pathState(old), New: pathState(is)}
	if moved {
		from = old.Path
		same := old.Entry == is.Entry
		out.Action, out.Edited = "rename", !old.Entry.SameContent(is.Entry)
		out.Carried = c.along(is.Path, from, is.Entry.Kind == meta.Dir, same)
	} else {
		out.Action = action(old.Entry, is.Entry, "")
	}
	if lost {
		out.Action = actionConflict
	}
	p := is.Path
	if is.Entry.Kind == meta.Absent {
		p = old.Path
	}
	out.Path, out.PathB64 = control.EncodePath(string(p))
	out.From, out.FromB64 = control.EncodePath(string(from))
	return out
}

func pathState(x meta.Version) *control.PathState {
	e := x.Entry
	if e.Kind == meta.Absent {
		return nil
	}
	out := &control.PathState{Kind: e.Kind.String(), Size: e.Size, Mode: fmt.Sprintf("%04o", e.Mode), Revision: uint64(x.Revision)}
	switch e.Kind {
	case meta.File:
		t := time.Unix(0, e.MTime)
		out.MTime, out.Content = &t, e.Content.String()
	case meta.Symlink:
		out.Target, out.TargetB64 = control.EncodePath(e.Target)
	}
	return out
}

// side is one side of a diff.
type side struct {
	f meta.Folder
	p id.Path
	r id.Revision
}

// Diff implements control.Service.
func (s service) Diff(ctx context.Context, r control.DiffRequest, emit func(control.DiffItem) error) error {
	v := s.n.machine.View()
	defer v.Close()
	var info control.DiffInfo
	old, err := s.side(v, r.Old, r.OldRev, nil)
	if err != nil {
		return err
	}
	is, err := s.side(v, r.New, r.NewRev, &info)
	if err != nil {
		return err
	}
	info.Folder, info.OldRevision, info.NewFolder, info.NewRevision = old.f.Name, uint64(old.r), is.f.Name, uint64(is.r)
	info.OldPath, info.OldPathB64 = control.EncodePath(string(old.p))
	info.NewPath, info.NewPathB64 = control.EncodePath(string(is.p))
	a, err := old.kind(v)
	if err != nil {
		return err
	}
	b, err := is.kind(v)
	if err != nil {
		return err
	}
	same := old.f.ID == is.f.ID && old.p == is.p
	if a == meta.Absent && (!same || b == meta.Absent) {
		return s.absent(v, old.f, old.p, old.r)
	}
	if b == meta.Absent && !same {
		return s.absent(v, is.f, is.p, is.r)
	}
	info.File = a != meta.Dir && b != meta.Dir
	if err := emit(control.DiffItem{Info: &info}); err != nil {
		return err
	}
	c := carrier{dirs: map[id.Path]id.Path{}}
	one := func(old, is meta.Version, from id.Path) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		x := c.change(old, is, from)
		return emit(control.DiffItem{Change: &x})
	}
	if !same {
		return cross(v, old, is, one)
	}
	then, now := min(old.r, is.r), max(old.r, is.r)
	return v.Diff(old.f.ID, old.p, then, now, func(x, y meta.Version) error {
		if old.r > is.r {
			x, y = y, x
		}
		return one(x, y, "")
	})
}

func (s service) side(v *meta.View, t control.Target, r control.Rev, info *control.DiffInfo) (side, error) {
	f, e, p, err := s.target(t)
	if err != nil {
		return side{}, err
	}
	c, err := s.revision(v, f, r)
	if err != nil {
		return side{}, err
	}
	if e != nil && info != nil {
		in, err := e.Info()
		if err != nil {
			return side{}, err
		}
		info.LocalChanges = in.LocalChanges
	}
	return side{f, p, c.Revision}, nil
}

func (x side) kind(v *meta.View) (meta.Kind, error) {
	if x.p == "" {
		return meta.Dir, nil
	}
	y, _, err := v.At(x.f.ID, x.p, x.r)
	return y.Entry.Kind, err
}

// cross compares two paths, or one path of two folders: name by name, without moves.
func cross(v *meta.View, old, is side, fn func(old, is meta.Version, from id.Path) error) error {
	err := v.Tree(old.f.ID, old.p, old.r, func(x meta.Version) error {
		p := x.Path.Rebase(old.p, is.p)
		y := meta.Version{}
		if p != "" {
			var err error
			if y, _, err = v.At(is.f.ID, p, is.r); err != nil {
				return err
			}
		}
		if y.Entry == x.Entry {
			return nil
		}
		if y.Entry.Kind == meta.Absent {
			return fn(x, meta.Version{Path: x.Path}, "")
		}
		var from id.Path
		if x.Path != y.Path {
			from, x.Path = x.Path, y.Path // told, but it is no move
		}
		return fn(x, y, from)
	})
	if err != nil {
		return err
	}
	return v.Tree(is.f.ID, is.p, is.r, func(y meta.Version) error {
		if p := y.Path.Rebase(is.p, old.p); p != "" {
			if x, _, err := v.At(old.f.ID, p, old.r); err != nil || x.Entry.Kind != meta.Absent {
				return err
			}
		}
		return fn(meta.Version{Path: y.Path}, y, "")
	})
}

// Tree implements control.Service.
func (s service) Tree(ctx context.Context, r control.TreeRequest, emit func(control.TreeItem) error) error {
	v, f, p, c, err := s.versionOf(r.Target, r.Rev)
	if err != nil {
		return err
	}
	defer v.Close()
	info := control.TreeInfo{Folder: f.Name, Revision: uint64(c.Revision), Kind: meta.Dir.String()}
	info.Path, info.PathB64 = control.EncodePath(string(p))
	err = v.Tree(f.ID, p, c.Revision, func(x meta.Version) error {
		if x.Path == p {
			info.Kind = x.Entry.Kind.String()
		}
		switch x.Entry.Kind {
		case meta.File:
			info.Files++
			info.Bytes += x.Entry.Size
		case meta.Dir:
			info.Dirs++
		case meta.Symlink:
			info.Symlinks++
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if p != "" && info.Files+info.Dirs+info.Symlinks == 0 {
		return s.absent(v, f, p, c.Revision)
	}
	if err := emit(control.TreeItem{Info: &info}); err != nil {
		return err
	}
	return v.Tree(f.ID, p, c.Revision, func(x meta.Version) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		it := control.TreeItem{State: pathState(x)}
		it.Path, it.PathB64 = control.EncodePath(string(x.Path))
		return emit(it)
	})
}
