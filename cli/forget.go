package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newFolderForgetCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "forget PATH",
		Short: "Stop tracking a path that is ignored; everybody's files stay",
		Long: `Ends the syncing of PATH, a directory's with all that is in it. Every node keeps its
copy, and from then on it is that node's own. PATH must be ignored by a rule in a
.lockstepignore file that is synced itself: else every node would take it for new.
What PATH was until now stays in the history.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderForget(cmd.Context(), a, args[0], dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runFolderForget(ctx context.Context, a *app, path string, dryRun bool) error {
	svc, t, err := a.serviceOf(path)
	if err != nil {
		return err
	}
	res, err := svc.FolderForget(ctx, control.FolderForgetRequest{Target: t, DryRun: dryRun})
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	name, err := control.DecodePath(res.Path, res.PathB64)
	if err != nil {
		return err
	}
	paths := "1 path"
	if res.Paths != 1 {
		paths = count(uint64(res.Paths)) + " paths"
	}
	if res.DryRun {
		_, err = fmt.Fprintf(a.Out, "would stop tracking %s:%s (%s); no file is deleted\n", res.Folder, printable(name), paths)
		return err
	}
	_, err = fmt.Fprintf(a.Out, "stopped tracking %s:%s (%s) with revision %d; every node keeps its copy\n", res.Folder, printable(name), paths, res.Revision)
	return err
}
