package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newShowCommand(a *app) *cobra.Command {
	var r control.ShowRequest
	cmd := &cobra.Command{
		Use:   "show FOLDER@REV",
		Short: "Show one commit: who, when, why, and each path that it changed",
		Long: `Shows one commit of a folder: who made it, when and why, and each path that it
changed. With a PATH in the folder: only what it changed within that.`,
		Example: `  lockstep show docs@head
  lockstep show docs:letters@12 -n 20`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Target, r.Rev, err = a.targetRev(args[0]); err != nil {
				return err
			}
			if r.Limit < 0 {
				return badUsage("show: -n %d: want 0 (all) or more", r.Limit)
			}
			return runShow(cmd.Context(), a, r)
		},
	}
	cmd.Flags().IntVarP(&r.Limit, "number", "n", 0, "list at most `N` changes (default: all)")
	return cmd
}

func runShow(ctx context.Context, a *app, r control.ShowRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	if a.json {
		return showJSON(ctx, a, svc, r)
	}
	t := newChangeTable()
	var total uint64
	err = svc.Show(ctx, r, func(it control.ShowItem) error {
		if it.Commit != nil {
			total = it.Commit.Changes
			return printCommit(a, it.Commit)
		}
		return t.add(a.Out, *it.Change)
	})
	if err != nil {
		return err
	}
	if err := t.t.print(a.Out); err != nil {
		return err
	}
	listed := t.carried
	for _, n := range t.counts {
		listed += n
	}
	s := t.summary()
	if r.Limit > 0 && listed < total && listed >= uint64(r.Limit) {
		s += fmt.Sprintf("; the first %d of %s are listed", r.Limit, plural(total, "change", "changes"))
	}
	if s != "" {
		_, err = fmt.Fprintf(a.Out, "%s\n", s)
	}
	return err
}

func printCommit(a *app, c *control.ShowCommit) error {
	name := fmt.Sprintf("%s@%d", c.Folder, c.Revision)
	for _, t := range c.Tags {
		name += ", " + c.Folder + "@" + t
	}
	why := c.Origin
	if c.Origin == "rollback" {
		why = fmt.Sprintf("rollback to revision %d", c.Target)
	}
	fmt.Fprintf(a.Out, "revision  %s\ntime      %s\nby        %s (%s)\n", name, when(c.Time), c.Node, why)
	if c.Message != "" {
		fmt.Fprintf(a.Out, "message   %s\n", printable(c.Message))
	}
	_, err := fmt.Fprintf(a.Out, "hash      %s\n\n", c.Hash)
	return err
}

func showJSON(ctx context.Context, a *app, svc control.Service, r control.ShowRequest) error {
	var doc *jsonDoc
	err := svc.Show(ctx, r, func(it control.ShowItem) (err error) {
		if it.Commit != nil {
			doc, err = newJSONDoc(a.Out, it.Commit)
			return err
		}
		return doc.items.add(it.Change)
	})
	if err != nil {
		return err
	}
	return doc.close()
}
