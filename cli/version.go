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
		newProfileCommand(a),
	)
	return group(cmd)
}

func newProfileCommand(a *app) *cobra.Command {
	seconds := 0
	cmd := &cobra.Command{
		Use:   "profile NAME",
		Short: "Write a profile or an execution trace of the daemon to stdout",
		Long: `Write a profile of the daemon to stdout, for "go tool pprof", or a trace, for "go tool trace".

  cpu        where it spends CPU time, for 30 seconds
  block      where its goroutines wait, for 10 seconds
  mutex      which locks they wait for, for 10 seconds
  allocs     what it has allocated since it started, or in --seconds
  heap       what it holds in memory
  goroutine  what its goroutines do now
  trace      an execution trace, of 1 second`,
		Example: "  lockstep debug profile cpu --seconds 10 > cpu.pprof\n  go tool pprof -top cpu.pprof",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if seconds < 0 {
				return badUsage("--seconds %d: want more than nothing", seconds)
			}
			home, err := a.home()
			if err != nil {
				return err
			}
			name := args[0]
			if name == "cpu" {
				name = "profile" // pprof's own name for it
			}
			if seconds > 0 {
				name = fmt.Sprintf("%s?seconds=%d", name, seconds)
			}
			return control.NewClient(home).Profile(cmd.Context(), name, a.Out)
		},
	}
	cmd.Flags().IntVar(&seconds, "seconds", 0, "for how many `SECONDS`")
	return cmd
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
