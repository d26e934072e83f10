package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

type diffOptions struct {
	patch, stat, nameOnly bool
}

func newDiffCommand(a *app) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff PATH@REV [PATH@REV]",
		Short: "Compare two versions: what changed in a folder, or the lines of a text file",
		Long: `Compares two versions in history. Without the second: with the newest revision;
what this disk has not committed yet is in no revision, and a note says so.
@REV alone as the second is another version of the same path.

For a folder or directory it lists the paths that differ; --patch shows the lines
of text files too, as patch and git apply take them. For one file it shows its
lines. Renames are what history knows as moves; nothing is guessed from content.
Two different paths, or folders, are compared name by name.`,
		Example: `  lockstep diff docs@12
  lockstep diff "docs@yesterday 14:00" @head
  lockstep diff docs:notes.txt@head~1`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.patch && o.stat || o.patch && o.nameOnly || o.stat && o.nameOnly {
				return badUsage("diff: of --patch, --stat and --name-only only one")
			}
			r, err := a.diffRequest(args)
			if err != nil {
				return err
			}
			return runDiff(cmd.Context(), a, r, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.patch, "patch", "p", false, "show the lines of text files in a folder's diff too")
	f.BoolVar(&o.stat, "stat", false, "show how many lines of each text file differ")
	f.BoolVar(&o.nameOnly, "name-only", false, "show the paths alone, one a line")
	return cmd
}

func (a *app) diffRequest(args []string) (r control.DiffRequest, err error) {
	if r.Old, r.OldRev, err = a.targetRev(args[0]); err != nil {
		return r, err
	}
	r.New, r.NewRev = r.Old, control.Rev{Kind: control.RevHead, Text: "head"}
	if len(args) == 1 {
		return r, nil
	}
	if rev, ok := strings.CutPrefix(args[1], "@"); ok {
		r.NewRev, err = ParseRev(rev, a.Now())
		return r, err
	}
	r.New, r.NewRev, err = a.targetRev(args[1])
	return r, err
}

func runDiff(ctx context.Context, a *app, r control.DiffRequest, o diffOptions) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	d := &differ{ctx: ctx, a: a, svc: svc, o: o, t: newChangeTable(), stat: newTable("PATH", "LINES", "SIZE")}
	d.stat.right = map[int]bool{1: true, 2: true}
	err = svc.Diff(ctx, r, func(it control.DiffItem) error {
		if it.Info != nil {
			return d.begin(*it.Info)
		}
		return d.change(*it.Change)
	})
	if err != nil {
		return err
	}
	return d.end(r)
}

// differ prints one diff.
type differ struct {
	ctx  context.Context
	a    *app
	svc  control.Service
	o    diffOptions
	info control.DiffInfo
	t    *changeTable
	stat *table
	n    int
	doc  *jsonDoc

	added, removed uint64 // lines
}

// diffJSON is one element of `diff --json`.
type diffJSON struct {
	control.PathChange
	// Patch is the unified diff; null where it was not asked for, or is none of texts.
	Patch *string `json:"patch"`
}

func (d *differ) begin(info control.DiffInfo) (err error) {
	d.info = info
	if info.File && !d.o.stat && !d.o.nameOnly {
		d.o.patch = true
	}
	if d.a.json {
		d.doc, err = newJSONDoc(d.a.Out, info)
	}
	return err
}

func (d *differ) change(x control.PathChange) error {
	d.n++
	switch {
	case d.a.json:
		it := diffJSON{PathChange: x}
		if d.o.patch {
			p, err := d.patch(x)
			if err != nil {
				return err
			}
			if p.text {
				it.Patch = &p.body
			}
		}
		return d.doc.items.add(it)
	case d.o.nameOnly:
		_, err := fmt.Fprintln(d.a.Out, printable(x.Path))
		return err
	case d.o.stat:
		return d.addStat(x)
	case d.o.patch:
		p, err := d.patch(x)
		if err != nil {
			return err
		}
		return d.printPatch(x, p)
	}
	return d.t.add(d.a.Out, x)
}

func (d *differ) addStat(x control.PathChange) error {
	if x.Carried {
		return nil
	}
	p, err := d.patch(x)
	if err != nil {
		return err
	}
	lines := p.why
	if p.text {
		add, del := p.lines()
		d.added, d.removed = d.added+add, d.removed+del
		lines = fmt.Sprintf("+%d -%d", add, del)
	}
	return d.stat.addTo(d.a.Out, changePath(x), lines, changeSize(x))
}

func (d *differ) end(r control.DiffRequest) error {
	if d.a.json {
		return d.doc.close()
	}
	from, to := d.name(d.info.Folder, d.info.OldPath, d.info.OldRevision), d.name(d.info.NewFolder, d.info.NewPath, d.info.NewRevision)
	switch {
	case d.n == 0:
		fmt.Fprintf(d.a.Err, "%s and %s do not differ\n", from, to)
	case d.o.stat:
		if err := d.stat.print(d.a.Out); err != nil {
			return err
		}
		fmt.Fprintf(d.a.Out, "%s to %s: %s, +%d -%d lines\n", from, to, plural(uint64(d.n), "path", "paths"), d.added, d.removed)
	case !d.o.patch && !d.o.nameOnly:
		if err := d.t.t.print(d.a.Out); err != nil {
			return err
		}
		fmt.Fprintf(d.a.Out, "%s to %s: %s\n", from, to, d.t.summary())
	}
	if n := d.info.LocalChanges; n > 0 && r.NewRev.Kind == control.RevHead && r.NewRev.Back == 0 {
		fmt.Fprintf(d.a.Err, "%s here not committed yet and not compared; see `lockstep wait`\n", plural(uint64(n), "change is", "changes are"))
	}
	return nil
}

func (d *differ) name(folder, path string, rev uint64) string {
	if path != "" {
		folder += ":" + printable(path)
	}
	return fmt.Sprintf("%s@%d", folder, rev)
}
