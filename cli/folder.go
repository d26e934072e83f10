package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newFolderCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "folder", Short: "Manage the synced folders of this node"}
	cmd.AddCommand(newFolderAddCommand(a), newFolderLsCommand(a), newFolderRmCommand(a),
		newFolderSetCommand(a), newFolderPauseCommand(a), newFolderResumeCommand(a), newFolderMoveCommand(a),
		newFolderAllowCommand(a), newFolderRevertCommand(a), newFolderForgetCommand(a))
	return group(cmd)
}

func (a *app) addRequest(path, name, prefer string) (control.FolderAddRequest, error) {
	if path == "" {
		return control.FolderAddRequest{}, badUsage("add folder: the path is empty")
	}
	if err := checkPrefer(prefer); err != nil {
		return control.FolderAddRequest{}, err
	}
	if name != "" && !isName(name) {
		return control.FolderAddRequest{}, badUsage("folder name %q: use a-z, 0-9, and after the first character also . _ -; at most 63", name)
	}
	abs, err := a.absolute(path)
	return control.FolderAddRequest{Path: control.RawPath(abs), Name: name, Prefer: prefer}, err
}

func checkPrefer(s string) error {
	switch s {
	case "", "cluster", "mine", "both":
		return nil
	}
	return badUsage("--prefer %q: want cluster, mine or both", s)
}

func newFolderLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the cluster's folders and where they are on this node",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runFolderLs(cmd.Context(), a) },
	}
}

func runFolderLs(ctx context.Context, a *app) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	list, err := svc.Folders(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return printArray(a.Out, list)
	}
	t := newTable("FOLDER", "STATE", "REVISION", "FILES", "SIZE", "PATH")
	t.right = map[int]bool{2: true, 3: true, 4: true}
	for _, f := range list {
		state, path := string(f.State), printable(f.Path)
		if !f.Subscribed {
			state, path = "-", "(not on this node)"
		}
		if m := f.Settings["mode"]; m != "" && m != "both" {
			state += " (" + m + " only)"
		}
		if only := f.Settings["only"]; only != "" && only != "*" {
			path += "  only=" + printable(only)
		}
		t.add(f.Name, state, count(f.HeadRevision), count(f.Files), size(int64(f.Bytes)), path)
	}
	return t.print(a.Out)
}

func newFolderRmCommand(a *app) *cobra.Command {
	var everywhere, dryRun bool
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Stop syncing a folder on this node; the files stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderRm(cmd.Context(), a, control.FolderRemoveRequest{Name: args[0], Everywhere: everywhere, DryRun: dryRun})
		},
	}
	cmd.Flags().BoolVar(&everywhere, "everywhere", false, "end the folder on all nodes; everybody's files stay")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runFolderRm(ctx context.Context, a *app, r control.FolderRemoveRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.FolderRemove(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	verb := "stopped syncing"
	if res.DryRun {
		verb = "would stop syncing"
	}
	where := "on this node"
	if res.Everywhere {
		where = "on all nodes"
	}
	_, err = fmt.Fprintf(a.Out, "%s %s %s; no file is deleted\n", verb, res.Name, where)
	if n := res.NotPacked; n > 0 {
		fmt.Fprintf(a.Err, "warning: what history has of %s was only in %s on this node, and could not be read\n"+
			"hint: unless other nodes have it, make %s as it was and `folder add` it again\n",
			plural(uint64(n), "file", "files"), printable(res.Path), printable(res.Path))
	}
	return err
}
