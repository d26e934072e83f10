package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newConflictsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conflicts",
		Short: "List, show and resolve conflicts",
		Long: `A file that was changed on two machines at once is kept in both versions: the
one that was committed first stays, the other is put beside it as
"name (conflict NODE rREVISION).ext", and a conflict is open until you say which
one it is to be.

Without a subcommand: lists the open conflicts. Deleting the copy, moving it over
the file, or giving it a name of its own resolves a conflict too.`,
		Args: cobra.NoArgs,
	}
	var r control.ConflictsRequest
	add := func(c *cobra.Command) {
		c.Flags().BoolVar(&r.All, "all", false, "list those that are settled too")
		c.Flags().StringVar(&r.Folder, "folder", "", "list those of one `FOLDER`")
		c.RunE = func(cmd *cobra.Command, _ []string) error { return runConflicts(cmd.Context(), a, r) }
	}
	ls := &cobra.Command{Use: "ls", Short: "List open conflicts", Args: cobra.NoArgs}
	add(ls)
	add(cmd)
	cmd.AddCommand(ls, newConflictsShowCommand(a), newConflictsResolveCommand(a))
	return cmd
}

func runConflicts(ctx context.Context, a *app, r control.ConflictsRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	if a.json {
		out := jsonArray{w: a.Out}
		if err := svc.Conflicts(ctx, r, func(c control.Conflict) error { return out.add(c) }); err != nil {
			return err
		}
		return out.close()
	}
	head := []string{"ID", "KIND", "CURRENT", "OTHER", "SINCE", "PATH"}
	if r.All {
		head = []string{"ID", "KIND", "CURRENT", "OTHER", "STATE", "PATH"}
	}
	t, n, open := conflictTable{table: newTable(head...)}, 0, false
	err = svc.Conflicts(ctx, r, func(c control.Conflict) error {
		n++
		open = open || c.State == "open"
		row := []string{c.ID, c.Kind, side(c.WinnerNode, c.WinnerRevision), side(c.LoserNode, c.LoserRevision), c.Time.Local().Format("Jan _2 15:04")}
		if r.All {
			row[4] = stateOf(c)
		}
		return t.addTo(a.Out, append(row, printable(c.Path))...)
	})
	if err != nil {
		return err
	}
	if n == 0 {
		what := "no open conflicts\n"
		if r.All {
			what = "no conflicts\n"
		}
		_, err = io.WriteString(a.Out, what)
		return err
	}
	if err := t.print(a.Out); err != nil || !open {
		return err
	}
	_, err = io.WriteString(a.Out, `
look:    lockstep conflicts show ID
resolve: lockstep conflicts resolve ID --keep current|other|both
         (or --with FILE)
`)
	return err
}

// conflictTable cuts its last column, the path, so that a row fits.
type conflictTable struct{ *table }

func (t conflictTable) addTo(w io.Writer, cells ...string) error {
	t.add(cells...)
	if len(t.rows) < blockRows {
		return nil
	}
	return t.print(w)
}

func (t conflictTable) print(w io.Writer) error {
	last := 0
	wide := slices.Clone(t.width)
	for _, r := range t.rows {
		last = len(r) - 1
		for i, c := range r[:last] {
			if i >= len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(c))
		}
	}
	left := tableWidth
	for _, n := range wide[:last] {
		left -= n + 2
	}
	for _, r := range t.rows {
		r[last] = cutLeft(r[last], max(left, shortestPath))
	}
	return t.table.print(w)
}

const (
	// tableWidth is what a table should fit in.
	tableWidth = 80
	// shortestPath is what is shown of a path however wide the rest is.
	shortestPath = 12
	// longestNode is what is shown of a node's name in a table.
	longestNode = 10
)

func side(node string, rev uint64) string {
	switch {
	case rev == 0:
		return "-"
	case node == "":
		return fmt.Sprintf("r%d", rev)
	}
	return fmt.Sprintf("%s r%d", cutRight(node, longestNode), rev)
}

func stateOf(c control.Conflict) string {
	switch c.State {
	case "resolved":
		what := c.Resolution
		if what == control.KeepWith {
			what = "file"
		}
		return what + " by " + cutRight(c.ResolvedBy, longestNode)
	case "automatic":
		return "by rule"
	}
	return c.State
}

// cutLeft shortens s to n runes, keeping its end.
func cutLeft(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "…" + string(r[len(r)-n+1:])
	}
	return s
}

func cutRight(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// conflictID reads FOLDER#n, or n where this node has one folder only.
func (a *app) conflictID(ctx context.Context, svc control.Service, verb, arg string) (r control.ConflictRequest, err error) {
	name, number, ok := strings.Cut(arg, "#")
	if !ok {
		name, number = "", arg
	}
	if r.Number, err = strconv.ParseUint(number, 10, 64); err != nil || !isDigits(number) || r.Number == 0 || name != "" && !isName(name) {
		return r, badUsage("%s: %q is no conflict: want FOLDER#n as `lockstep conflicts` lists it, such as docs#1", verb, arg)
	}
	if r.Folder = name; name == "" {
		t, err := onlyFolder(ctx, svc, verb)
		if err != nil {
			return r, err
		}
		r.Folder = t.Folder
	}
	return r, nil
}
