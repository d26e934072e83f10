package cli

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runVersion(a) },
	}
}

func runVersion(a *app) error {
	if a.json {
		return printJSON(a.Out, struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`
		}{a.Node.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH})
	}
	_, err := fmt.Fprintln(a.Out, versionLine(a))
	return err
}

func versionLine(a *app) string {
	return fmt.Sprintf("lockstep %s (%s, %s/%s)", a.Node.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// newDebugCommand has the inspectors that ship with the product.
func newDebugCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "Inspect the running daemon", Hidden: true}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "trace PATH",
			Short: "Show the time stamps of each step of a path's last way",
			Args:  cobra.ExactArgs(1),
			RunE:  func(cmd *cobra.Command, args []string) error { return runTrace(cmd.Context(), a, args[0]) },
		},
		&cobra.Command{
			Use:   "profile NAME",
			Short: "Write a pprof profile of the daemon to stdout: heap, goroutine, profile?seconds=5, ...",
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				home, err := a.home()
				if err != nil {
					return err
				}
				return control.NewClient(home).Profile(cmd.Context(), args[0], a.Out)
			},
		},
	)
	return group(cmd)
}

func runTrace(ctx context.Context, a *app, arg string) error {
	svc, t, err := a.serviceOf(arg)
	if err != nil {
		return err
	}
	steps, err := svc.Trace(ctx, control.TraceRequest{Target: t})
	if err != nil {
		return err
	}
	if a.json {
		return printArray(a.Out, steps)
	}
	tab := newTable("STEP", "TIME", "AFTER", "DETAIL")
	tab.right = map[int]bool{2: true}
	var last time.Time
	for _, s := range steps {
		after := ""
		if !last.IsZero() {
			after = s.Time.Sub(last).Round(10 * time.Microsecond).String()
		}
		last = s.Time
		tab.add(s.Name, s.Time.Local().Format("15:04:05.000000"), after, printable(s.Detail))
	}
	return tab.print(a.Out)
}
