package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

// The exit codes, part of the contract of docs/cli.md.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotRunning = 3
	exitTimeout    = 4 // or no quorum
	exitProblems   = 5 // a check was carried out and found problems
)

// exitCodes is the one table from classes of errors to exit codes.
var exitCodes = map[control.Code]int{
	control.CodeFailed:     exitFailed,
	control.CodeUsage:      exitUsage,
	control.CodeNotRunning: exitNotRunning,
	control.CodeTimeout:    exitTimeout,
	control.CodeNoQuorum:   exitTimeout,
	control.CodeProblems:   exitProblems,
}

// exitCode returns the exit code of a command that ended with err.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, node.ErrUsage) {
		return exitUsage
	}
	if code, ok := exitCodes[control.CodeOf(err)]; ok {
		return code
	}
	return exitFailed // a class that a newer daemon knows
}

// usageError gives err the class of wrong usage and says where the help is.
func usageError(cmd *cobra.Command, err error) error {
	if control.CodeOf(err) == control.CodeUsage {
		return err
	}
	return control.Errorf(control.CodeUsage, "%w", err).WithHint("see `%s --help`", cmd.CommandPath())
}

// badUsage is an error of class usage found after the flags were parsed.
func badUsage(format string, args ...any) error {
	return control.Errorf(control.CodeUsage, format, args...)
}

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// printError prints err as one line, and below it the paths that it lists.
func printError(w io.Writer, err error) {
	msg := err.Error()
	if errors.Is(err, context.Canceled) {
		msg = "interrupted"
	}
	fmt.Fprintf(w, "lockstep: %s\n", oneLine(msg))
	if e, ok := errors.AsType[*control.Error](err); ok {
		printPaths(w, e.Paths)
	}
}

func printPaths(w io.Writer, paths []control.BlockedPath) {
	for _, p := range paths {
		name := printable(p.Path)
		switch {
		case p.Folder != "" && name == "":
			name = p.Folder // the whole folder
		case p.Folder != "":
			name = p.Folder + ":" + name
		}
		fmt.Fprintf(w, "  %s: %s\n", name, oneLine(p.Reason))
	}
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
