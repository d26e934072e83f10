package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newFolderAddCommand(a *app) *cobra.Command {
	var name, prefer, only string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "add PATH",
		Short: "Start syncing a directory, or join the cluster's folder of that name with it",
		Long: `Start syncing a directory, or join the cluster's folder of that name with it.

The directory may have content. What is equal to the folder's stays; an older
version of a file is brought up to date, and one that the folder has deleted
since goes here too, for history has both; what only one side has goes to the
other. A file that is neither equal nor in the folder's history differs: both
are kept, as a conflict. Where more than 100 do, nothing is done before you say
which to prefer:

  --prefer cluster  the folder's take their place; yours are kept in history
  --prefer mine     yours become the newest version; the folder's stay in history
  --prefer both     both stay on the disk, as conflicts

--only keeps a part of the folder on this disk; see "lockstep folder set --help".
--dry-run shows how the two compare, and changes nothing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFolderAdd(cmd.Context(), a, args[0], name, prefer, only, dryRun)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the folder's `NAME` (default: the directory's, lower-cased, other characters as -)")
	cmd.Flags().StringVar(&prefer, "prefer", "", "what differs on the two sides: `cluster, mine or both`")
	cmd.Flags().StringVar(&only, "only", "", "keep what `PATTERNS` say of the folder on this disk")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only compare the directory with the folder")
	return cmd
}

func runFolderAdd(ctx context.Context, a *app, path, name, prefer, only string, dryRun bool) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	r, err := a.addRequest(path, name, prefer)
	if err != nil {
		return err
	}
	r.DryRun, r.Only = dryRun, only
	var res control.FolderAddResult
	err = a.meanwhile(ctx, svc, "folder add", "", func(ctx context.Context) (err error) {
		res, err = svc.FolderAdd(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	return printAdded(a, res)
}

func printAdded(a *app, res control.FolderAddResult) error {
	if a.json {
		return printJSON(a.Out, res)
	}
	what := "new folder"
	if res.Joined {
		what = "joined folder"
	}
	if res.DryRun {
		what = "would make the new folder"
		if res.Joined {
			what = "would join folder"
		}
	}
	if _, err := fmt.Fprintf(a.Out, "%s %s at %s\n", what, res.Name, printable(res.Path)); err != nil {
		return err
	}
	return printJoined(a.Out, res)
}

// printJoined prints what becomes of the content that a joining directory has.
func printJoined(w io.Writer, res control.FolderAddResult) error {
	if res.Plan != nil {
		if err := printPlan(w, *res.Plan, res.DryRun); err != nil {
			return err
		}
	}
	if k := res.Kept; k != nil {
		at := fmt.Sprintf("%s:%s@%d", res.Name, printable(k.Path), k.Revision)
		_, err := fmt.Fprintf(w, "kept in history: %s of yours; to have them back:\n  lockstep rollback %s\n", plural(uint64(k.Files), "file", "files"), at)
		return err
	}
	return nil
}

// planRow is one line of a plan.
type planRow struct {
	what, then string
	of         control.PlanPaths
}

// printPlan prints how a directory stands to the folder; all says that nothing is left
// out and that the first paths are named.
func printPlan(w io.Writer, p control.FolderPlan, all bool) error {
	differ := map[string]string{
		"":        "kept, beside the folder's, as conflicts",
		"both":    "kept, beside the folder's, as conflicts",
		"cluster": "replaced by the folder's; yours stay in history",
		"mine":    "sent as the newest; the folder's stay in history",
	}[p.Prefer]
	if p.Stops {
		differ = fmt.Sprintf("more than %d: choose with --prefer", p.Limit)
	}
	rows := []planRow{
		{"equal", "left as they are", p.Equal},
		{"older", "brought up to date", p.Older},
		{"deleted there", "deleted here too; history has them", p.DeletedThere},
		{"only there", "received", p.OnlyThere},
		{"only here", "sent", p.OnlyHere},
		{"different", differ, p.Different},
		{"not read", "compared later", p.Unread},
	}
	t := newTable("FILES", "ARE", "AND WILL BE")
	t.right = map[int]bool{0: true}
	rowsAdded := false
	for _, r := range rows {
		if all && r.what != "not read" || r.of.Count > 0 {
			t.add(count(uint64(r.of.Count)), r.what, r.then)
			rowsAdded = true
		}
	}
	if !rowsAdded {
		return nil
	}
	if err := t.print(w); err != nil || !all {
		return err
	}
	for _, r := range rows {
		if r.of.Count == 0 || r.what == "equal" {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s:\n", r.what); err != nil {
			return err
		}
		for _, f := range r.of.First {
			if _, err := fmt.Fprintf(w, "  %s\n", printable(f.Path)); err != nil {
				return err
			}
		}
		if more := r.of.Count - len(r.of.First); more > 0 {
			if _, err := fmt.Fprintf(w, "  and %s more\n", count(uint64(more))); err != nil {
				return err
			}
		}
	}
	return nil
}
