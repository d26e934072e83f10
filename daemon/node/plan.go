package node

import (
	"context"
	"errors"
	"io"

	"github.com/zeebo/blake3"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// planLimit is how many differing paths a first join takes without asking: more
// is likely a wrong directory, and would litter it with conflict copies.
const planLimit = 100

// planJoin refuses a first join of a directory whose content differs from the
// folder's at many paths, unless the user said what to do.
func (s service) planJoin(ctx context.Context, f meta.Folder, root, prefer string) error {
	switch prefer {
	case "", "both":
	case "cluster", "mine":
		return control.Errorf(control.CodeUsage, "add folder: --prefer %s is not supported yet", prefer).
			WithHint("--prefer both keeps both sides of every difference as a conflict; or move the directory's content away first")
	default:
		return control.Errorf(control.CodeUsage, "add folder: --prefer %q is none of cluster, mine, both", prefer)
	}
	if prefer == "both" {
		return nil
	}
	v := s.n.machine.View()
	defer v.Close()
	head, err := v.Head(f.ID)
	if err != nil || head.Revision == 0 {
		return err
	}
	disk, err := vfs.OpenReal(root)
	if err != nil {
		return err
	}
	defer disk.Close()
	p := planner{ctx: ctx, v: v, folder: f.ID, head: head.Revision, disk: disk}
	if err := p.walk(""); err != nil {
		return control.Errorf(control.CodeFailed, "add folder: compare %s with the folder: %w", root, err)
	}
	if len(p.differ) <= planLimit {
		return nil
	}
	var paths []control.BlockedPath
	for _, d := range p.differ {
		paths = append(paths, control.NewBlockedPath(string(d), "differs from every version that the folder had here"))
	}
	return control.Errorf(control.CodeFailed, "add folder: %d paths in %s differ from folder %q; %d are equal", len(p.differ), root, f.Name, p.equal).
		WithHint("is this the right directory? --prefer both adds it and keeps both sides of each as a conflict").
		WithPaths(paths)
}

// planner compares a directory with the head, and what differs with history.
type planner struct {
	ctx    context.Context
	v      *meta.View
	folder id.Folder
	head   id.Revision
	disk   vfs.FS
	differ []id.Path
	equal  int
}

func (p *planner) walk(dir id.Path) error {
	names, err := p.disk.ReadDir(dir)
	if err != nil {
		return nil // unreadable: listed as blocked once the folder runs
	}
	for _, name := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		at := dir.Join(name)
		if at.Check() != nil {
			continue
		}
		st, err := p.disk.Lstat(at)
		if err != nil {
			continue
		}
		switch st.Kind {
		case vfs.Dir:
			if err := p.walk(at); err != nil {
				return err
			}
		case vfs.File:
			if err := p.file(at, st); err != nil {
				return err
			}
		}
	}
	return nil
}

// file counts a file whose path the folder has now, as equal if its content is
// that of any version of the path.
func (p *planner) file(at id.Path, st vfs.Stat) error {
	head, _, err := p.v.At(p.folder, at, p.head)
	if err != nil || head.Entry.Kind == meta.Absent {
		return err
	}
	sum, err := p.hash(at)
	if err != nil {
		return nil
	}
	found := errors.New("found")
	err = p.v.History(p.folder, at, func(v meta.Version) error {
		if v.Entry.Kind == meta.File && v.Entry.Content == sum && v.Entry.Size == st.Size {
			return found
		}
		return nil
	})
	switch {
	case errors.Is(err, found):
		p.equal++
		return nil
	case err == nil:
		p.differ = append(p.differ, at)
	}
	return err
}

func (p *planner) hash(at id.Path) (d id.Digest, err error) {
	h, err := p.disk.Open(at)
	if err != nil {
		return d, err
	}
	defer h.Close()
	sum := blake3.New()
	if _, err := io.Copy(sum, h); err != nil {
		return d, err
	}
	copy(d[:], sum.Sum(nil))
	return d, nil
}
