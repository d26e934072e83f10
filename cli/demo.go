package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/cli/demo"
)

func newDemoCommand(a *app) *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Run three real nodes on this machine and check what they promise",
		Long: `Starts three nodes (own processes, own homes, TLS on loopback), syncs a copy of
DIR's files (or a small tree of its own) through them, and shows and checks an edit,
a delete, a directory rename, a conflict, a rollback, and a node killed in
mid-transfer. Each step is checked by comparing the disks. DIR is not changed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Dir = args[0]
			}
			return runDemo(cmd.Context(), a, o)
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the nodes running, and say how to use them")
	return cmd
}

func runDemo(ctx context.Context, a *app, o demo.Options) error {
	if o.Dir != "" {
		dir, err := a.absolute(o.Dir)
		if err != nil {
			return err
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return errorf("demo: %s is no directory that can be read; give one, or none to use the demo's own files", dir)
		}
		o.Dir = dir
	}
	o.Out, o.Colour, o.JSON = a.Out, a.colour(a.Out), a.json
	return demo.Run(ctx, o)
}
