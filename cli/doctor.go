package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

func newDoctorCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine and the way to the other nodes, and say how to mend what is wrong",
		Long: `Checks the settings, the home, open files, inotify limits, disk space, what each
folder's filesystem can do, names that clash elsewhere, whether the nodes can dial
each other, their clocks, and how many may fail. Each finding says how to mend it.
Exit 5 if there is a problem. Without the daemon it checks what it can.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), a, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "show what was not checked, too, and why")
	return cmd
}

func runDoctor(ctx context.Context, a *app, all bool) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	rep, err := a.Service(home).Doctor(ctx, control.DoctorRequest{})
	if control.CodeOf(err) == control.CodeNotRunning {
		rep, err = node.DoctorOffline(home), nil
	}
	if err != nil {
		return err
	}
	if a.json {
		err = printJSON(a.Out, rep)
	} else {
		_, err = fmt.Fprint(a.Out, doctorText(rep, all, a.colour(a.Out)))
	}
	if err != nil {
		return err
	}
	if n := rep.Problems(); n > 0 {
		return control.Errorf(control.CodeProblems, "doctor: %s", plural(uint64(n), "problem", "problems"))
	}
	return nil
}

// doctorText is the report for people: a word, the check, what it is about; then what
// to do, on lines of its own. All but commands is wrapped at 80 columns.
func doctorText(rep control.DoctorReport, all, colour bool) string {
	var sb strings.Builder
	for _, f := range rep.Findings {
		if f.Level == control.LevelSkipped && !all {
			continue
		}
		what := f.Check
		if f.Subject != "" {
			what += " " + printable(f.Subject)
		}
		wrap(&sb, paintLevel(f.Level, colour)+"  ", 9, what+": "+printable(oneLine(f.Message)))
		if f.Fix != "" {
			wrap(&sb, strings.Repeat(" ", 9)+"-> ", 12, printable(oneLine(f.Fix)))
		}
		if f.Command != "" { // in one piece, to be copied
			fmt.Fprintf(&sb, "            %s\n", printable(oneLine(f.Command)))
		}
	}
	return sb.String()
}

func paintLevel(l control.Level, colour bool) string {
	word := fmt.Sprintf("%-7s", string(l))
	if !colour {
		return word
	}
	switch l {
	case control.LevelOK:
		return green + word + plain
	case control.LevelProblem:
		return red + word + plain
	case control.LevelNote, control.LevelSkipped:
		return yellow + word + plain
	}
	return word
}

// columns is the width of what is wrapped.
const columns = 80

// wrap writes text behind head, its later lines indented. Words are never cut.
func wrap(sb *strings.Builder, head string, indent int, text string) {
	sb.WriteString(head)
	at := indent
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case at+1+n > columns:
			sb.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			sb.WriteByte(' ')
			at++
		}
		sb.WriteString(word)
		at += n
	}
	sb.WriteByte('\n')
}
