package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newFolderSetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME [KEY=VALUE]...",
		Short: "Change a folder's settings, or show them",
		Long: `Change a folder's settings, or show them.

Of the cluster, the same on every node:
  conflicts=copy|history   the other side of a conflict as a file beside it, or
                           in history only
Of this node:
  mode=both|send|receive   send: nothing is brought to this disk;
                           receive: nothing changed on this disk is committed
  only=PATTERNS            what this disk keeps of the folder: patterns as
                           .gitignore has them, with commas between; ! takes
                           back, the last that matches decides. What is not kept
                           any more stays where it is, and may be removed once
                           the command has returned. only= keeps everything`,
		Example: `  lockstep folder set docs mode=receive
  lockstep folder set docs 'only=letters,/photos/2026'
  lockstep folder set docs 'only=*,!/videos'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderSet(cmd.Context(), a, args[0], args[1:])
		},
	}
}

func runFolderSet(ctx context.Context, a *app, name string, pairs []string) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	r := control.FolderSetRequest{Name: name, Set: make(map[string]string)}
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" || v == "" && k != "only" {
			return badUsage("folder set: %q: want KEY=VALUE, see `lockstep folder set --help`", p)
		}
		if _, twice := r.Set[k]; twice {
			return badUsage("folder set: %s is given twice", k)
		}
		r.Set[k] = v
	}
	res, err := svc.FolderSet(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	t := newTable("SETTING", "VALUE", "OF", "CAN BE")
	for _, s := range res.Settings {
		of := "the cluster"
		if s.Scope == control.ScopeNode {
			of = "this node"
		}
		t.add(s.Key, printable(s.Value), of, s.Values)
	}
	return t.print(a.Out)
}
