package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

type logCmdOptions struct {
	path         string
	since, until string
	match        []string
	limit        int
	linearizable bool
}

func newLogCommand(a *app) *cobra.Command {
	var o logCmdOptions
	cmd := &cobra.Command{
		Use:   "log [PATH]",
		Short: "List commits, newest first; for a path its versions, renames followed",
		Long: `Lists the commits of a folder, newest first, or the versions of one path: when
it was made, changed, renamed and deleted, and by whom. A path that is gone has
its log still. For a directory it lists the versions of all that was in it.
Without PATH: the folder of this node, if it has only one.

--match keeps the versions of paths that match: *.go by the last name of a path,
a pattern with a slash (src/*.go, **/old/*) by the whole path below PATH. It can be
given several times.`,
		Example: `  lockstep log docs -n 10
  lockstep log docs:gone.txt
  lockstep log docs --match '*.go' --since "monday"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.path = args[0]
			}
			return runLog(cmd.Context(), a, o, len(args) == 1)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&o.limit, "number", "n", 0, "list at most `N` (default: all)")
	f.StringVar(&o.since, "since", "", "list those stamped at `T` or later: a time, or an age such as 2h")
	f.StringVar(&o.until, "until", "", "list those stamped at `T` or earlier")
	f.StringArrayVar(&o.match, "match", nil, "list the versions of paths that match `PATTERN`")
	f.BoolVar(&o.linearizable, "linearizable", false, "ask the leader first")
	return cmd
}

func runLog(ctx context.Context, a *app, o logCmdOptions, hasPath bool) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	r := control.LogRequest{Limit: o.limit, Linearizable: o.linearizable}
	for _, m := range o.match {
		r.Match = append(r.Match, control.RawPath(m))
	}
	if o.limit < 0 {
		return badUsage("log: -n %d: want 0 (all) or more", o.limit)
	}
	if r.Since, err = a.sinceTime("since", o.since); err != nil {
		return err
	}
	if r.Until, err = a.sinceTime("until", o.until); err != nil {
		return err
	}
	if hasPath {
		r.Target, err = a.target(o.path)
	} else {
		r.Target, err = onlyFolder(ctx, svc, "log")
	}
	if err != nil {
		return err
	}
	if a.json {
		out := jsonArray{w: a.Out}
		if _, err := svc.Log(ctx, r, func(e control.LogEntry) error { return out.add(logItem(e)) }); err != nil {
			return err
		}
		return out.close()
	}
	var t *table
	fresh, err := svc.Log(ctx, r, func(e control.LogEntry) error {
		if t == nil {
			t = logTable(e)
		}
		return t.addTo(a.Out, logRow(e)...)
	})
	if err != nil {
		return err
	}
	if t != nil {
		if err := t.print(a.Out); err != nil {
			return err
		}
	}
	writeFreshness(a.Err, "", fresh)
	return nil
}

func (a *app) sinceTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, ok := parseAge(s); ok {
		return a.Now().Add(-d), nil
	}
	if t, ok := parseTime(s, a.Now()); ok {
		return t, nil
	}
	return time.Time{}, badUsage("--%s %q: want a time such as 2026-11-23T10:00 or \"yesterday 14:00\", or an age such as 2h or 3d", flag, s)
}

// serviceOf returns the daemon's client, and what a PATH argument names.
func (a *app) serviceOf(arg string) (control.Service, control.Target, error) {
	svc, err := a.service()
	if err != nil {
		return nil, control.Target{}, err
	}
	t, err := a.target(arg)
	return svc, t, err
}

func (a *app) target(arg string) (control.Target, error) {
	wd, _ := a.Getwd() // without one, only relative paths fail, and say so
	return ParseTarget(arg, wd)
}

func (a *app) targetRev(arg string) (control.Target, control.Rev, error) {
	wd, _ := a.Getwd()
	return ParseTargetRev(arg, wd, a.Now())
}

// onlyFolder returns this node's one folder, where a command may leave it out.
func onlyFolder(ctx context.Context, svc control.Service, verb string) (control.Target, error) {
	list, err := svc.Folders(ctx)
	if err != nil {
		return control.Target{}, err
	}
	var name string
	n := 0
	for _, f := range list {
		if f.Subscribed {
			name = f.Name
			n++
		}
	}
	switch n {
	case 0:
		return control.Target{}, errorf("%s: this node syncs no folder; add one with `lockstep folder add PATH`", verb)
	case 1:
		return control.Target{Folder: name}, nil
	}
	return control.Target{}, badUsage("%s: this node syncs %d folders: which one? see `lockstep folder ls`", verb, n)
}

func logItem(e control.LogEntry) any {
	if e.Version != nil {
		return e.Version
	}
	return e.Commit
}

func logTable(e control.LogEntry) *table {
	if e.Version != nil {
		t := newTable("REVISION", "TIME", "NODE", "ACTION", "KIND", "SIZE", "MODE", "PATH")
		t.right = map[int]bool{0: true, 5: true}
		return t
	}
	t := newTable("REVISION", "TIME", "NODE", "ORIGIN", "CHANGES", "HASH", "MESSAGE")
	t.right = map[int]bool{0: true, 4: true}
	return t
}

func logRow(e control.LogEntry) []string {
	if v := e.Version; v != nil {
		path := printable(v.Path)
		switch {
		case v.From != "":
			path += " <- " + printable(v.From)
		case v.To != "":
			path += " -> " + printable(v.To)
		}
		kind, length, mode := v.Kind, size(v.Size), v.Mode
		switch v.Kind {
		case "absent":
			kind, length, mode = "-", "-", "-"
		case "directory":
			length = "-"
		}
		return []string{fmt.Sprint(v.Revision), when(v.Time), v.Node, v.Action, kind, length, mode, path}
	}
	c := e.Commit
	msg := printable(c.Message)
	if c.Origin == "rollback" {
		msg = fmt.Sprintf("to revision %d %s", c.Target, msg)
	}
	return []string{fmt.Sprint(c.Revision), when(c.Time), c.Node, c.Origin, count(c.Changes), short(c.Hash), msg}
}

func newCatCommand(a *app) *cobra.Command {
	var linearizable bool
	cmd := &cobra.Command{
		Use:   "cat PATH@REV",
		Short: "Write a version's bytes to stdout",
		Long: "Writes what a file was at REV to stdout. An exit code other than 0 means that\n" +
			"what was written is not whole. `lockstep help revisions` says what REV can be.",
		Example: `  lockstep cat docs:letters/tax.txt@12 > tax-then.txt`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCat(cmd.Context(), a, args[0], linearizable)
		},
	}
	cmd.Flags().BoolVar(&linearizable, "linearizable", false, "ask the leader first")
	return cmd
}

func runCat(ctx context.Context, a *app, arg string, linearizable bool) error {
	if a.json {
		return badUsage("cat: prints the bytes of a file, which have no JSON form")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	r := control.CatRequest{Linearizable: linearizable}
	if r.Target, r.Rev, err = a.targetRev(arg); err != nil {
		return err
	}
	started := false
	bar := a.progress("cat")
	err = svc.Cat(ctx, r, func(info control.CatInfo) io.Writer {
		started = true
		writeFreshness(a.Err, "", info.Fresh)
		if toFile(a.Out) {
			return &barred{Writer: a.Out, bar: bar, total: info.Size}
		}
		return a.Out
	})
	bar.clear()
	if err != nil && started {
		return errorf("cat %s: what was written is not whole: %w", printable(arg), err)
	}
	return err
}

func newRollbackCommand(a *app) *cobra.Command {
	var r control.RollbackRequest
	cmd := &cobra.Command{
		Use:   "rollback PATH@REV",
		Short: "Commit, as one new revision, the state of a file, directory or folder at REV",
		Long: `Brings a file, a directory or a whole folder back to what it was at REV, on all
machines, as one new revision: nothing is lost, what is there now stays in history,
and the command that undoes it is printed. What this disk has not committed yet is
committed first. To get an old version beside the new one, use restore.
` + "`lockstep help revisions`" + ` says what REV can be.`,
		Example: `  lockstep rollback docs:letters/tax.txt@head~1
  lockstep rollback "docs@2h ago" --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Target, r.Rev, err = a.targetRev(args[0]); err != nil {
				return err
			}
			return runRollback(cmd.Context(), a, r)
		},
	}
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only list the changes")
	cmd.Flags().StringVarP(&r.Message, "message", "m", "", "say why, for the log: `TEXT`")
	return cmd
}

func runRollback(ctx context.Context, a *app, r control.RollbackRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	changes := []control.RollbackChange{}
	t := newTable("ACTION", "KIND", "SIZE", "PATH")
	t.right = map[int]bool{2: true}
	each := func(c control.RollbackChange) error {
		if a.json {
			changes = append(changes, c)
			return nil
		}
		sz := ""
		if c.Kind == "file" {
			sz = size(c.Size)
		}
		return t.addTo(a.Out, c.Action, c.Kind, sz, printable(c.Path))
	}
	var res control.RollbackResult
	roll := func(ctx context.Context) (err error) {
		res, err = svc.Rollback(ctx, r, each)
		return err
	}
	if r.DryRun {
		err = roll(ctx)
	} else {
		err = a.meanwhile(ctx, svc, "rollback", r.Target.Folder, roll)
	}
	if err != nil {
		return interrupted(err, r)
	}
	if a.json {
		if res.Revision > 0 && !res.OnDisk {
			res.OnDisk = a.follow(ctx, svc, "rollback", res.Folder, res.Revision) == ""
		}
		doc := struct {
			control.RollbackResult
			List *[]control.RollbackChange `json:"list,omitempty"`
		}{RollbackResult: res}
		if res.DryRun {
			doc.List = &changes
		}
		return printJSON(a.Out, doc)
	}
	what := res.Folder
	if res.Path != "" {
		what += ":" + printable(res.Path)
	}
	n := plural(res.Changes, "path", "paths")
	switch {
	case res.DryRun && res.Changes == 0, res.Revision == 0 && !res.DryRun:
		_, err = fmt.Fprintf(a.Out, "%s is as at revision %d already: nothing to do\n", what, res.Target)
	case res.DryRun:
		if err := t.print(a.Out); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "would bring %s back to revision %d: %s (%s)\n", what, res.Target, n, summary(res.Counts, 0))
	default:
		_, err = fmt.Fprintf(a.Out, "%s is as at revision %d: %s, revision %d\nundo: lockstep rollback %s@%d\n",
			what, res.Target, n, res.Revision, what, res.Previous)
		if err == nil && !res.OnDisk {
			err = a.arrived(ctx, svc, "rollback", res.Folder, res.Revision)
		}
	}
	return err
}

// interrupted says what an interrupted rollback may have done.
func interrupted(err error, r control.RollbackRequest) error {
	if r.DryRun || !errors.Is(err, context.Canceled) {
		return err
	}
	return errorf("roll back %s: interrupted; it may be committed already, and then goes on: see `lockstep log`", r.Target)
}

// arrived is follow, told to people: that what was committed has come, or why not.
func (a *app) arrived(ctx context.Context, svc control.Service, label, folder string, rev uint64) error {
	say := a.follow(ctx, svc, label, folder, rev)
	if say == "" {
		say = "it is on this disk now"
	}
	_, err := fmt.Fprintln(a.Out, say)
	return err
}
