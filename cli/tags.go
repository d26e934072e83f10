package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newTagCommand(a *app) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "tag NAME [FOLDER[@REV]]",
		Short: "Name a revision of a folder, or drop the name",
		Long: `Names a revision of a folder, for all nodes; the name can then stand wherever a
revision can: lockstep rollback docs@NAME. Without @REV it is what the folder
holds now, what this disk has not committed yet included. Without FOLDER: this
node's one folder. A tag is never moved: delete it first.`,
		Example: `  lockstep tag before-the-move docs
  lockstep tag v1 "docs@yesterday 14:00"
  lockstep tag --delete v1 docs`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTag(cmd.Context(), a, args, remove)
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "drop the name; the revision stays")
	return cmd
}

func runTag(ctx context.Context, a *app, args []string, remove bool) error {
	r := control.TagRequest{Name: args[0], Remove: remove, Rev: control.Rev{Kind: control.RevHead, Text: "head"}}
	if err := checkTag(r.Name, a.Now()); err != nil {
		return err
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1:
		r.Target, err = onlyFolder(ctx, svc, "tag")
	case remove && strings.Contains(args[1], "@"):
		return badUsage("tag: --delete %s %s: name the folder alone", args[0], args[1])
	case strings.Contains(args[1], "@"):
		r.Target, r.Rev, err = a.targetRev(args[1])
	default:
		r.Target, err = a.target(args[1])
	}
	if err != nil {
		return err
	}
	t, err := svc.Tag(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, t)
	}
	if remove {
		_, err = fmt.Fprintf(a.Out, "removed %s@%s; it was revision %d\n", t.Folder, t.Name, t.Revision)
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s@%s is revision %d, of %s\n", t.Folder, t.Name, t.Revision, when(t.RevisionTime))
	return err
}

// checkTag refuses a tag's name that would read as another revision.
func checkTag(name string, now time.Time) error {
	r, err := ParseRev(name, now)
	if err == nil && r.Kind == control.RevTag {
		return nil
	}
	if err == nil || strings.HasPrefix(name, "head~") {
		return badUsage("tag %q: reads as a revision or a time: choose another name", name)
	}
	return badUsage("tag %q: use a-z, 0-9, and after the first character also . _ -, at most 63", name)
}

func newTagsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "tags [FOLDER]",
		Short: "List the named revisions",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r control.TagsRequest
			if len(args) == 1 {
				r.Folder = strings.TrimSuffix(args[0], ":")
				if !isName(r.Folder) {
					return badUsage("tags %q: want a folder's name; see `lockstep folder ls`", args[0])
				}
			}
			return runTags(cmd.Context(), a, r)
		},
	}
}

func runTags(ctx context.Context, a *app, r control.TagsRequest) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	list, err := svc.Tags(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return printArray(a.Out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.Err, "no tags; make one with `lockstep tag NAME FOLDER@REV`")
		return err
	}
	t := newTable("TAG", "REVISION", "COMMITTED", "TAGGED BY", "TAGGED")
	t.right = map[int]bool{1: true}
	for _, x := range list {
		t.add(x.Folder+"@"+x.Name, fmt.Sprint(x.Revision), when(x.RevisionTime), x.Node, when(x.Time))
	}
	return t.print(a.Out)
}
