package cli

import (
	"context"
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newFolderPauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Let a folder rest on this node: nothing is committed, nothing is brought",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runFolderPause(cmd.Context(), a, args[0], true) },
	}
}

func newFolderResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "Let a paused folder go on",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runFolderPause(cmd.Context(), a, args[0], false) },
	}
}

func runFolderPause(ctx context.Context, a *app, name string, paused bool) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.FolderPause(ctx, control.FolderPauseRequest{Name: name, Paused: paused})
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	if res.Paused {
		_, err = fmt.Fprintf(a.Out, "%s is paused on this node; `lockstep folder resume %s` lets it go on\n", res.Name, res.Name)
	} else {
		_, err = fmt.Fprintf(a.Out, "%s goes on\n", res.Name)
	}
	return err
}

func newFolderMoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "move NAME NEWPATH",
		Short: "Tell this node that a folder's directory is somewhere else now",
		Long: `Tell this node that a folder's directory is somewhere else now. Move it first,
with everything in it (.lockstep too). Files that did not come along are brought
back from history; nothing is deleted anywhere.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderMove(cmd.Context(), a, args[0], args[1])
		},
	}
}

func runFolderMove(ctx context.Context, a *app, name, path string) error {
	if path == "" {
		return badUsage("folder move: the path is empty")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	abs, err := a.absolute(path)
	if err != nil {
		return err
	}
	res, err := svc.FolderMove(ctx, control.FolderMoveRequest{Name: name, Path: control.RawPath(abs)})
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	fmt.Fprintf(a.Out, "%s is at %s now\n", res.Name, printable(res.Path))
	if res.Left {
		fmt.Fprintf(a.Out, "%s is still there: it is not synced any more\n", printable(res.Previous))
	}
	return nil
}

func newFolderAllowCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "allow NAME",
		Short: "Let held deletions go: they were meant",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderAllow(cmd.Context(), a, control.FolderAllowRequest{Name: args[0], By: userName(), DryRun: dryRun})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

// userName is who runs the command, for the history.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func runFolderAllow(ctx context.Context, a *app, r control.FolderAllowRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.FolderAllow(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	verb := "deleted on all nodes; history keeps them"
	if res.DryRun {
		verb = "would be deleted on all nodes; history keeps them"
	}
	stay := ""
	if res.Stay > 0 {
		stay = fmt.Sprintf("; %s, for another node changed them since", plural(uint64(res.Stay), "file comes back", "files come back"))
	}
	_, err = fmt.Fprintf(a.Out, "%s: %s %s%s\n", res.Name, plural(uint64(res.Deletes), "file", "files"), verb, stay)
	return err
}

func newFolderRevertCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "revert NAME",
		Short: "Put back what was deleted and is held, or was changed on a receiving node",
		Long: `Put back what this node did not commit: files whose deletion is held, or, on a
node that only receives, everything that was changed on it. What is on the disk
instead is moved to .lockstep/reverted in the folder, never removed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderRevert(cmd.Context(), a, control.FolderRevertRequest{Name: args[0], DryRun: dryRun})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runFolderRevert(ctx context.Context, a *app, r control.FolderRevertRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.FolderRevert(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	would := ""
	if res.DryRun {
		would = "would be "
	}
	fmt.Fprintf(a.Out, "%s: %s %sput back from history\n", res.Name, plural(uint64(res.Restored), "path", "paths"), would)
	switch {
	case res.SetAside > 0 && res.DryRun:
		fmt.Fprintf(a.Out, "%s: %s would be set aside and replaced\n", res.Name, plural(uint64(res.SetAside), "path", "paths"))
	case res.SetAside > 0:
		fmt.Fprintf(a.Out, "%s: %s set aside in %s\n", res.Name, plural(uint64(res.SetAside), "path", "paths"), printable(res.Where))
	}
	return nil
}
