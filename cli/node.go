package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newNodeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Show and change the members of the cluster"}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "ls",
			Short: "List the members: role, whether they are online, address",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return runNodeLs(cmd.Context(), a) },
		},
		newNodeRmCommand(a), newNodePromoteCommand(a), newNodeDemoteCommand(a), newNodeTransferCommand(a),
	)
	return group(cmd)
}

func runNodeLs(ctx context.Context, a *app) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	nodes, err := svc.Nodes(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return printArray(a.Out, nodes)
	}
	return nodeTable(nodes, a.colour(a.Out)).print(a.Out)
}

func newNodeRmCommand(a *app) *cobra.Command {
	var r control.NodeRemoveRequest
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a machine from the cluster: sold, lost, stolen",
		Long: `Remove a machine from the cluster. From then on every other node refuses it: it
gets nothing new, what is changed on it stays there, and tokens that it made and
nobody used are void. Its files, and the history in its home, stay on it. Its vote
goes to another node first. Run it on any other node.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			return runNodeRm(cmd.Context(), a, r)
		},
	}
	cmd.Flags().BoolVar(&r.Force, "force", false, "remove it although only it may have what others lack, old versions too")
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runNodeRm(ctx context.Context, a *app, r control.NodeRemoveRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.NodeRemove(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	is, loses := "is removed", ""
	if res.DryRun {
		is = "would be removed"
		if res.Voter {
			loses = "; its vote would go to another node first"
		}
	}
	fmt.Fprintf(a.Out, "%s (%s) %s%s\n", res.Name, short(res.ID), is, loses)
	if len(res.Only) > 0 {
		fmt.Fprintf(a.Out, "no other node that is online is known to have all that it has of %s\n", strings.Join(res.Only, ", "))
	}
	if len(res.History) > 0 {
		fmt.Fprintf(a.Out, "old versions of %s, from before the others joined, may be on it alone\n", strings.Join(res.History, ", "))
	}
	if !res.DryRun {
		fmt.Fprintf(a.Out, "the others refuse it from now on; its files stay on it\n")
	}
	return nil
}

func newNodePromoteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "promote NAME",
		Short: "Let a machine vote, before others that may",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runNodeRole(cmd.Context(), a, control.NodeRoleRequest{Name: args[0], Vote: true})
		},
	}
}

func newNodeDemoteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demote NAME",
		Short: "Take a machine's vote: it syncs as before, and is not needed for commits",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runNodeRole(cmd.Context(), a, control.NodeRoleRequest{Name: args[0]})
		},
	}
}

func runNodeRole(ctx context.Context, a *app, r control.NodeRoleRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.NodeRole(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	switch {
	case (res.Role == "voter") == r.Vote:
		_, err = fmt.Fprintf(a.Out, "%s is a %s\n", res.Name, res.Role)
	case r.Vote:
		_, err = fmt.Fprintf(a.Out, "%s will vote once there is a third machine with it that is online (or a fifth): an odd number votes\n", res.Name)
	default:
		_, err = fmt.Fprintf(a.Out, "%s will lose its vote once another node has taken it over\n", res.Name)
	}
	return err
}

func newNodeTransferCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leadership [NAME]",
		Short: "Let another voter lead, before this machine rests",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runNodeTransfer(cmd.Context(), a, strings.Join(args, ""))
		},
	}
}

func runNodeTransfer(ctx context.Context, a *app, to string) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	res, err := svc.NodeLead(ctx, control.NodeLeadRequest{To: to})
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	_, err = fmt.Fprintf(a.Out, "%s leads\n", res.Leader)
	return err
}
