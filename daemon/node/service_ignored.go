package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
)

// Ignored implements control.Service.
func (s service) Ignored(ctx context.Context, r control.IgnoredRequest, emit func(control.Ignored) error) error {
	v := s.n.machine.View()
	recs, err := v.Folders()
	if err := errors.Join(err, v.Close()); err != nil {
		return err
	}
	found := r.Folder == ""
	for _, f := range recs {
		e := s.n.folders.engine(f.ID)
		if e == nil || r.Folder != "" && f.Name != r.Folder {
			continue
		}
		found = true
		err := e.Ignored(ctx, func(p folder.IgnoredPath) error { return emit(ignoredItem(f.Name, p)) })
		if err != nil {
			return fmt.Errorf("list what is ignored in folder %q: %w", f.Name, err)
		}
	}
	if !found {
		return control.Errorf(control.CodeFailed, "this node keeps no folder %q", r.Folder).WithHint("see `lockstep folder ls`")
	}
	return nil
}

func ignoredItem(name string, p folder.IgnoredPath) control.Ignored {
	out := control.Ignored{Folder: name, Kind: p.Kind.String(), RuleLine: p.Line}
	out.Path, out.PathB64 = control.EncodePath(string(p.Path))
	out.RuleFile, out.RuleFileB64 = control.EncodePath(string(p.RuleFile))
	out.RulePattern, out.RulePatternB64 = control.EncodePath(p.Pattern)
	return out
}
