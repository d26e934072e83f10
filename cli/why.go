package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newWhyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "why PATH",
		Short: "Say what a path waits for, on whom, and since when",
		Long: `Says where PATH stands between this disk and the folder's history: in sync, open in
a program, settling, being read, queued, waiting for content that another member
has, being received or written (how far, how fast, from whom), or blocked and why.
For a directory or a whole folder it also lists the first paths below that are not
in sync.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runWhy(cmd.Context(), a, args[0]) },
	}
}

func runWhy(ctx context.Context, a *app, arg string) error {
	svc, t, err := a.serviceOf(arg)
	if err != nil {
		return err
	}
	w, err := svc.Why(ctx, control.WhyRequest{Target: t})
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, w)
	}
	now := a.Now()
	name, what := w.Folder+":"+w.Path, w.Sentence(now)
	if w.Path == "" && w.Step == "in-sync" {
		what = w.Summary
	}
	fmt.Fprintf(a.Out, "%s  %s\n", printable(name), printable(what))
	for _, b := range w.Below {
		fmt.Fprintf(a.Out, "  %s  %s\n", printable(b.Path), printable(b.Sentence(now)))
	}
	if more := w.Waiting - len(w.Below); more > 0 {
		fmt.Fprintf(a.Out, "  and %s more\n", count(uint64(more)))
	}
	return nil
}
