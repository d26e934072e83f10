// Package cli is the command line: it parses arguments, asks the daemon through
// daemon/control or starts a node through daemon/node, and prints. It decides
// nothing about files or history itself. The contract of its commands is
// docs/cli.md.
package cli

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

// Deps is the world as the commands see it. Tests set their own.
type Deps struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Getwd    func() (string, error)
	Now      func() time.Time
	// Service returns a client of the daemon of a home.
	Service func(home string) control.Service
	Node    Node
}

// Node is the facade of a whole node.
type Node struct {
	Init    func(node.InitOptions) error
	Join    func(context.Context, node.JoinOptions) error
	Run     func(context.Context, node.RunOptions) error
	Version string
}

// System returns the real world.
func System() Deps {
	return Deps{
		Out: os.Stdout, Err: os.Stderr,
		Getenv: os.Getenv, Getwd: os.Getwd, Now: time.Now,
		Service: func(home string) control.Service { return control.NewClient(home) },
		Node:    Node{Init: node.Init, Join: node.Join, Run: node.Run, Version: node.Version},
	}
}

// app is one invocation: its world and its global flags.
type app struct {
	Deps
	homeFlag string
	json     bool
	// started is set once arguments and flags are accepted: an error before that
	// is wrong usage.
	started bool
}

// Main runs one command and returns the exit code.
func Main(ctx context.Context, d Deps, args []string) int {
	a := &app{Deps: d}
	root := newRootCommand(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !a.started {
		err = usageError(cmd, err)
	}
	printError(a.Err, err)
	return exitCode(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "lockstep",
		Short: "Keep folders on several machines at one committed version",
		Long: `Lockstep keeps folders on several machines at one committed version.
Every change is committed to one history that all machines share; nothing that
was ever committed is lost.

Start:        lockstep up PATH
Next machine: paste there the line that it prints
Not well?     lockstep doctor
Look first:   lockstep demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	root.Version = a.Node.Version
	root.SetVersionTemplate(versionLine(a) + "\n")
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	f := root.PersistentFlags()
	f.StringVar(&a.homeFlag, "home", "", "the node's directory, `DIR` (default $LOCKSTEP_HOME, else the XDG data directory)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(
		newInitCommand(a), newDaemonCommand(a), newUpCommand(a), newInviteCommand(a), newJoinCommand(a),
		newFolderCommand(a), newStatusCommand(a), newWaitCommand(a), newLogCommand(a), newCatCommand(a),
		newRollbackCommand(a), newConflictsCommand(a), newNodeCommand(a), newDemoCommand(a),
		newVersionCommand(a), newDebugCommand(a), newWhyCommand(a), newEventsCommand(a),
		newDoctorCommand(a), newConfigCommand(a), newPathsCommand(a), newServiceCommand(a), newManCommand(a),
		newShowCommand(a), newDiffCommand(a), newRestoreCommand(a), newTagCommand(a), newTagsCommand(a),
	)
	root.AddCommand(newRevisionsTopic())
	a.addCompletions(root)
	splitAtInBash(root)
	countArguments(root)
	return group(root)
}

// group makes cmd, which has subcommands only, refuse to be called by itself.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		cmd.SetOut(cmd.ErrOrStderr())
		if err := cmd.Help(); err != nil {
			return err
		}
		return errorf("which command?")
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // never called: Args refuses all
	return cmd
}

// service returns the client of this invocation's home.
func (a *app) service() (control.Service, error) {
	home, err := a.home()
	if err != nil {
		return nil, err
	}
	return a.Service(home), nil
}
