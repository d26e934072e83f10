package cli

import (
	"context"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// runIgnored lists what rules keep from being synced, as it is found.
func runIgnored(ctx context.Context, a *app, o statusOptions) error {
	if o.watch || o.check || o.linearizable {
		return badUsage("status: --ignored is a list of its own: it cannot --watch, --check or be --linearizable")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	r := control.IgnoredRequest{Folder: o.folder}
	if a.json {
		out := jsonArray{w: a.Out}
		if err := svc.Ignored(ctx, r, func(i control.Ignored) error { return out.add(i) }); err != nil {
			return err
		}
		return out.close()
	}
	var t *table
	err = svc.Ignored(ctx, r, func(i control.Ignored) error {
		if t == nil {
			t = newTable("IGNORED", "BY")
		}
		cells, err := ignoredRow(i)
		if err != nil {
			return err
		}
		return t.addTo(a.Out, cells...)
	})
	if err != nil {
		return err
	}
	if t == nil {
		_, err := fmt.Fprintln(a.Out, "nothing is ignored")
		return err
	}
	return t.print(a.Out)
}

// ignoredRow shows a path, a directory with a slash, and its rule as FILE:LINE:PATTERN.
func ignoredRow(i control.Ignored) ([]string, error) {
	path, err := control.DecodePath(i.Path, i.PathB64)
	if err != nil {
		return nil, err
	}
	file, err := control.DecodePath(i.RuleFile, i.RuleFileB64)
	if err != nil {
		return nil, err
	}
	pattern, err := control.DecodePath(i.RulePattern, i.RulePatternB64)
	if err != nil {
		return nil, err
	}
	if i.Kind == "directory" {
		path += "/"
	}
	by := fmt.Sprintf("%s:%d:%s", printable(file), i.RuleLine, printable(pattern))
	switch {
	case i.RuleFile == "":
		by = printable(pattern)
	case i.RuleLine == 0:
		by = fmt.Sprintf("%s cannot be used: %s", printable(file), printable(pattern))
	}
	return []string{i.Folder + ":" + printable(path), by}, nil
}
