package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// maxTTL bounds an invite's life: a week is as long as a secret should lie about.
const maxTTL = 7 * 24 * time.Hour

func newInviteCommand(a *app) *cobra.Command {
	var r control.InviteRequest
	var ttl string
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Print a token with which one machine can join",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, ok := parseAge(ttl)
			if !ok || d <= 0 || d > maxTTL {
				return badUsage("--ttl %q: want a time such as 1h, at most 7d", ttl)
			}
			r.TTL = d
			return runInvite(cmd.Context(), a, r)
		},
	}
	cmd.Flags().StringVar(&r.Role, "role", "auto", "what the machine may become: `auto, voter or learner`")
	cmd.Flags().StringVar(&ttl, "ttl", "1h", "the token can be used once, and for `TIME` only, such as 30m or 2d")
	return cmd
}

func runInvite(ctx context.Context, a *app, r control.InviteRequest) error {
	switch r.Role {
	case "auto", "voter", "learner":
	default:
		return badUsage("--role %q: want auto, voter or learner", r.Role)
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	inv, err := svc.Invite(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, inv)
	}
	fmt.Fprintf(a.Err, "usable once, until %s; there: lockstep up --join TOKEN PATH\n", when(inv.Expires))
	_, err = fmt.Fprintln(a.Out, inv.Token)
	return err
}

func newWaitCommand(a *app) *cobra.Command {
	var r control.WaitRequest
	cmd := &cobra.Command{
		Use:   "wait [FOLDER]",
		Short: "Return when this disk's changes are committed and on disk (--all: on every online member's)",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Folder = strings.TrimSuffix(args[0], ":")
			}
			return runWait(cmd.Context(), a, r)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&r.Timeout, "timeout", time.Minute, "give up after `TIME`, such as 10m, with exit code 4")
	f.BoolVar(&r.All, "all", false, "wait until it is on the disk of every member that is online now, too")
	f.BoolVar(&r.Linearizable, "linearizable", false, "ask the leader first")
	return cmd
}

// onDisks says on how many of the members' disks a revision is: one that is offline, or
// was not waited for, may lack it.
func onDisks(f control.WaitFolder) string {
	var lack []string
	for _, n := range f.Nodes {
		if n.AppliedRevision < f.Revision {
			lack = append(lack, n.Name)
		}
	}
	all := plural(uint64(len(f.Nodes)), "disk", "disks")
	if len(lack) == 0 {
		return all
	}
	return fmt.Sprintf("%d of %s, not on that of %s", len(f.Nodes)-len(lack), all, strings.Join(lack, ", "))
}

func runWait(ctx context.Context, a *app, r control.WaitRequest) error {
	if r.Timeout <= 0 {
		return badUsage("--timeout %s: want more than nothing", r.Timeout)
	}
	if r.Folder != "" && !isName(r.Folder) {
		return badUsage("wait: %q is no folder's name; see `lockstep folder ls`", r.Folder)
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	var res control.WaitResult
	err = a.meanwhile(ctx, svc, "wait", r.Folder, func(ctx context.Context) (err error) {
		res, err = svc.Wait(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	if len(res.Warnings) > 0 {
		fmt.Fprintln(a.Err, "never synced:")
		printPaths(a.Err, res.Warnings)
	}
	if len(res.Dropped) > 0 {
		fmt.Fprintf(a.Err, "went offline meanwhile, and was not waited for: %s\n", strings.Join(res.Dropped, ", "))
	}
	if a.json {
		return printJSON(a.Out, res)
	}
	if len(res.Folders) == 0 {
		fmt.Fprintln(a.Err, "this node keeps no folder: add one with `lockstep folder add PATH`")
	}
	for _, f := range res.Folders {
		where := "this disk"
		if r.All {
			where = onDisks(f)
		}
		what := fmt.Sprintf("revision %d is on %s", f.Revision, where)
		if f.NotBrought > 0 {
			what = fmt.Sprintf("what this disk holds is committed, at revision %d; this node only sends: %s elsewhere and not here", f.Revision,
				plural(uint64(f.NotBrought), "path was changed", "paths were changed"))
		}
		if _, err := fmt.Fprintf(a.Out, "%s: %s (%s)\n", f.Name, what, seconds(res.ElapsedS)); err != nil {
			return err
		}
	}
	return nil
}
