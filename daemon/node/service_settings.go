package node

import (
	"context"
	"errors"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// FolderSet implements control.Service. Everything is checked first; then what is
// replicated is committed, and this node's own is kept last: it cannot be refused.
func (s service) FolderSet(ctx context.Context, r control.FolderSetRequest) (control.FolderSettings, error) {
	var res control.FolderSettings
	cluster, own, err := splitSettings(r.Set)
	if err != nil {
		return res, err
	}
	rec, err := s.byName(r.Name)
	if err != nil {
		return res, err
	}
	if len(own) > 0 && s.n.folders.engine(rec.ID) == nil {
		return res, control.Errorf(control.CodeFailed, "set folder: %q is not on this node, so it has no settings of this node", r.Name).
			WithHint("add it with `lockstep folder add PATH --name %s`", r.Name)
	}
	if len(cluster) > 0 {
		if err := s.setOptions(ctx, rec, cluster); err != nil {
			return res, err
		}
	}
	if len(own) > 0 {
		if err := s.n.folders.setOwn(ctx, rec.ID, errSettings, func(st *local.Settings) { applySettings(st, own) }); err != nil {
			if errors.Is(err, folder.ErrPaused) {
				return res, pausedError("set folder", r.Name)
			}
			return res, control.Errorf(control.CodeFailed, "set folder: %w", err)
		}
		if only, is := own[keyOnly]; is {
			if err := s.n.folders.compared(ctx, rec.ID); err != nil && only != "*" {
				return res, control.Errorf(control.CodeFailed, "set folder: only=%s holds, but what history needs of the rest is not stored yet: %w", only, err).
					WithHint("remove nothing of the rest before `lockstep status` says that folder %q goes on", r.Name)
			}
		}
	}
	return s.settingsOf(rec.ID)
}

// setOptions commits replicated settings.
func (s service) setOptions(ctx context.Context, rec meta.Folder, options map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	const what = "set folder"
	if err := s.n.led(ctx); err != nil {
		return s.asked(what, err, "nothing was set")
	}
	out, err := s.n.propose.Do(ctx, meta.FolderCmd{Op: meta.FolderSet, ID: rec.ID, Options: options})
	if err != nil {
		return s.asked(what, err, carriedOut)
	}
	if out.Kind == meta.Refused {
		return control.Errorf(control.CodeFailed, "set folder: %s", out.Reason)
	}
	return nil
}

func (s service) settingsOf(f id.Folder) (res control.FolderSettings, err error) {
	v := s.n.machine.View()
	defer v.Close()
	rec, _, err := v.Folder(f)
	if err != nil {
		return res, err
	}
	var own *local.Settings
	if s.n.folders.engine(f) != nil {
		st, err := s.n.local.Settings(f)
		if err != nil {
			return res, err
		}
		own = &st
	}
	return control.FolderSettings{Name: rec.Name, ID: f.String(), Settings: showSettings(rec.Options, own)}, nil
}
