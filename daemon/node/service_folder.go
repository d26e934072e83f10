package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func addedAlready(name, root string) error {
	return control.Errorf(control.CodeFailed, "add folder: %q is on this node already, at %s", name, root).
		WithHint("see `lockstep folder ls`; choose another name with --name")
}

// findOrCreate returns the cluster's folder of a name, made if there is none. The
// leader is asked first, so that two nodes that add one name share one folder.
// A root that is marked as another folder makes none, nor does a dry run.
func (s service) findOrCreate(ctx context.Context, name, root string, dryRun bool) (f id.Folder, joined bool, err error) {
	find := func() (id.Folder, bool, error) {
		v := s.n.machine.View()
		defer v.Close()
		rec, ok, err := v.FolderByName(name)
		return rec.ID, ok, err
	}
	const what = "add folder"
	if err := s.n.led(ctx); err != nil {
		return f, false, s.asked(what, err, "")
	}
	if err := s.readLog(ctx); err != nil {
		return f, false, s.asked(what, err, "nothing was done: run it again later")
	}
	f, joined, err = find()
	if err != nil {
		return f, false, err
	}
	if err := checkMark(root, f); err != nil {
		return f, false, control.Errorf(control.CodeFailed, "add folder: %w", err)
	}
	if joined || dryRun {
		return f, joined, nil
	}
	if f, err = s.n.folders.create(ctx, name); err == nil {
		return f, false, nil
	}
	if g, ok, ferr := find(); ferr == nil && ok {
		return g, true, nil // another node was first
	}
	return f, false, s.asked(what, err, fmt.Sprintf("this node does not keep the folder; the cluster may still make %q, empty, and running this again then joins it", name))
}

// Folders implements control.Service.
func (s service) Folders(ctx context.Context) ([]control.Folder, error) {
	s.settle(ctx)
	v := s.n.machine.View()
	defer v.Close()
	recs, err := v.Folders()
	if err != nil {
		return nil, err
	}
	var out []control.Folder
	quorum := s.n.raft.Status().HasQuorum
	for _, r := range recs {
		if r.Removed {
			continue
		}
		head, err := v.Head(r.ID)
		if err != nil {
			return nil, err
		}
		tot, err := v.Totals(r.ID)
		if err != nil {
			return nil, err
		}
		f := control.Folder{Name: r.Name, ID: r.ID.String(), HeadRevision: uint64(head.Revision), Files: tot.Files, Bytes: tot.Bytes}
		if e := s.n.folders.engine(r.ID); e != nil {
			in, err := e.Info()
			if err != nil {
				return nil, err
			}
			f.Path, f.Subscribed, f.State = in.Root, true, state(in, quorum)
		}
		set, err := s.settingsOf(r.ID)
		if err != nil {
			return nil, err
		}
		f.Settings = make(map[string]string, len(set.Settings))
		for _, k := range set.Settings {
			f.Settings[k.Key] = k.Value
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b control.Folder) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// FolderRemove implements control.Service.
func (s service) FolderRemove(ctx context.Context, r control.FolderRemoveRequest) (control.FolderRemoveResult, error) {
	res := control.FolderRemoveResult{Name: r.Name, Everywhere: r.Everywhere, DryRun: r.DryRun}
	rec, err := s.byName(r.Name)
	if err != nil {
		return res, err
	}
	res.ID = rec.ID.String()
	e := s.n.folders.engine(rec.ID)
	if e == nil && !r.Everywhere {
		return res, control.Errorf(control.CodeFailed, "remove folder: %q is not on this node", r.Name).
			WithHint("--everywhere ends it on all nodes")
	}
	if e != nil {
		res.Path = e.Root()
	}
	if r.DryRun {
		return res, nil
	}
	if r.Everywhere {
		ctx, cancel := context.WithTimeout(ctx, commitTime)
		defer cancel()
		const what = "remove folder"
		if err := s.n.led(ctx); err != nil {
			return res, s.asked(what, err, "")
		}
		out, err := s.n.propose.Do(ctx, meta.FolderCmd{Op: meta.FolderRemove, ID: rec.ID, Name: rec.Name})
		if err != nil {
			return res, s.asked(what, err, carriedOut)
		}
		if out.Kind == meta.Refused {
			return res, errors.New(out.Reason)
		}
	}
	if e != nil {
		if res.NotPacked, err = s.n.folders.remove(ctx, rec.ID, r.Everywhere); err != nil {
			return res, control.Errorf(control.CodeFailed, "remove folder: %w", err)
		}
	}
	return res, nil
}

// byName finds a folder of the cluster.
func (s service) byName(name string) (meta.Folder, error) {
	rec, ok, err := s.lookUp(name)
	if err == nil && !ok {
		err = control.Errorf(control.CodeFailed, "there is no folder %q", name).WithHint("see `lockstep folder ls`")
	}
	return rec, err
}

// lookUp finds a folder by its name. Right after a start the log may not be
// applied as far as this node knew it: then it waits for that, within bounds,
// before it says that there is none.
func (s service) lookUp(name string) (rec meta.Folder, ok bool, err error) {
	for range 2 {
		v := s.n.machine.View()
		rec, ok, err = v.FolderByName(name)
		err = errors.Join(err, v.Close())
		if ok || err != nil {
			return rec, ok, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
		cerr := s.n.folders.caught(ctx)
		cancel()
		if cerr != nil {
			return rec, false, nil
		}
	}
	return rec, false, nil
}

// settle waits, within bounds, until the state machine knows the folders that this
// node keeps: right after a crash it may not, though the log does.
func (s service) settle(ctx context.Context) {
	v := s.n.machine.View()
	defer v.Close()
	for f := range s.n.folders.all() {
		if _, ok, err := v.Folder(f); ok || err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, lookUpTime)
		defer cancel()
		_ = s.n.folders.caught(ctx) // what is known by then is shown
		return
	}
}

// lookUpTime bounds how long a look-up waits for the log: longer than an election.
const lookUpTime = 8 * time.Second

// target finds the folder and the path that the user named. The engine is nil
// where this node does not keep the folder.
func (s service) target(t control.Target) (meta.Folder, *folder.Engine, id.Path, error) {
	if t.Folder != "" {
		rec, ok, err := s.lookUp(t.Folder)
		if err != nil {
			return rec, nil, "", err
		}
		if ok {
			p, err := relative(string(t.Rel))
			return rec, s.n.folders.engine(rec.ID), p, err
		}
		if t.Local == "" {
			return rec, nil, "", control.Errorf(control.CodeFailed, "there is no folder %q", t.Folder).
				WithHint("see `lockstep folder ls`; for a file of that name, write ./%s:%s", t.Folder, string(t.Rel))
		}
	}
	f, e, p, err := s.localTarget(string(t.Local))
	if err != nil && t.Folder != "" && errors.Is(err, errNowhere) {
		err = control.Errorf(control.CodeFailed, "there is no folder %q, and %s is in no folder of this node", t.Folder, string(t.Local)).
			WithHint("see `lockstep folder ls`")
	}
	return f, e, p, err
}

// errNowhere is for a path that is in no folder of this node.
var errNowhere = errors.New("is in no folder of this node")

func (s service) localTarget(path string) (meta.Folder, *folder.Engine, id.Path, error) {
	for _, p := range []string{path, resolved(path)} {
		for f, e := range s.n.folders.all() {
			if !within(p, e.Root()) {
				continue
			}
			rel, err := filepath.Rel(e.Root(), p)
			if err != nil {
				return meta.Folder{}, nil, "", err
			}
			if rel == "." {
				rel = ""
			}
			v := s.n.machine.View()
			defer v.Close()
			rec, _, err := v.Folder(f)
			if err != nil {
				return rec, nil, "", err
			}
			q, err := relative(filepath.ToSlash(rel))
			return rec, e, q, err
		}
	}
	return meta.Folder{}, nil, "", control.Errorf(control.CodeFailed, "%s %w", path, errNowhere).WithHint("see `lockstep folder ls`")
}

// resolved is the path with symlinks in its parent resolved: the last component
// may be gone, or be a symlink that is meant itself.
func resolved(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}

func relative(rel string) (id.Path, error) {
	rel = strings.Trim(rel, "/")
	if rel == "" {
		return "", nil
	}
	p, err := id.ParsePath(rel)
	if err != nil {
		return "", control.Errorf(control.CodeUsage, "%w", err)
	}
	return p, nil
}

func (s service) folderName(f id.Folder) string {
	v := s.n.machine.View()
	defer v.Close()
	rec, ok, err := v.Folder(f)
	if err != nil || !ok {
		return f.String()
	}
	return rec.Name
}
