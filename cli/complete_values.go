package cli

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// completeVersion offers folders before an @, and behind it the names of revisions:
// the folder's tags, and head.
func (a *app) completeVersion(word, toComplete string) ([]string, cobra.ShellCompDirective) {
	at := strings.LastIndexByte(toComplete, '@')
	switch {
	case at >= 0:
		return a.complete(toComplete, func(ctx context.Context, svc control.Service) ([]string, error) {
			return a.revisionsOf(ctx, svc, toComplete[:at])
		})
	case strings.HasPrefix(word, "PATH"):
		return a.completePath(toComplete)
	}
	names, _ := a.complete(toComplete, a.folderNames)
	return names, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp // an @ follows, or may
}

// revisionsOf lists PATH@REV for the names that revisions have in the path's folder, each
// with what it is behind a tab.
func (a *app) revisionsOf(ctx context.Context, svc control.Service, path string) (out []string, err error) {
	t, err := a.target(path)
	if err != nil {
		return nil, err
	}
	list, err := svc.Folders(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		if t.Folder != "" && f.Name != t.Folder || t.Folder == "" && !inside(f.Path, string(t.Local)) {
			continue
		}
		tags, err := svc.Tags(ctx, control.TagsRequest{Folder: f.Name})
		if err != nil {
			return nil, err
		}
		for _, tag := range tags {
			out = append(out, fmt.Sprintf("%s@%s\trevision %d, of %s", path, tag.Name, tag.Revision, when(tag.RevisionTime)))
		}
		out = append(out, fmt.Sprintf("%s@head\trevision %d", path, f.HeadRevision))
		if f.HeadRevision > 1 {
			out = append(out, fmt.Sprintf("%s@head~1\trevision %d", path, f.HeadRevision-1))
		}
		return out, nil
	}
	return nil, nil
}

// inside reports whether path is root or below it; both are clean.
func inside(root, path string) bool {
	return root != "" && (path == root || strings.HasPrefix(path, strings.TrimSuffix(root, string(filepath.Separator))+string(filepath.Separator)))
}

// tagNames lists all folders' tags.
func (a *app) tagNames(ctx context.Context, svc control.Service) (out []string, err error) {
	tags, err := svc.Tags(ctx, control.TagsRequest{})
	for _, t := range tags {
		out = append(out, fmt.Sprintf("%s\t%s revision %d", t.Name, t.Folder, t.Revision))
	}
	return out, err
}

// completeSetting offers the keys of a folder's settings, and behind a key's = its
// values. args are the folder and the settings given already.
func (a *app) completeSetting(args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	key, _, valued := strings.Cut(toComplete, "=")
	words, directive := a.complete(toComplete, func(ctx context.Context, svc control.Service) (out []string, err error) {
		res, err := svc.FolderSet(ctx, control.FolderSetRequest{Name: args[0]})
		for _, s := range res.Settings {
			switch {
			case valued && s.Key == key:
				for v := range strings.SplitSeq(s.Values, "|") {
					if isName(v) { // the others are patterns, say, and no words
						out = append(out, key+"="+v)
					}
				}
			case !valued && !given(args[1:], s.Key):
				out = append(out, s.Key+"=\t"+s.Values)
			}
		}
		return out, err
	})
	if !valued {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return words, directive
}

func given(pairs []string, key string) bool {
	for _, p := range pairs {
		if strings.HasPrefix(p, key+"=") {
			return true
		}
	}
	return false
}

// splitAtInBash makes the script for bash take PATH@REV for one word: bash itself splits
// words at an @, as it does at the = and the : that the script knows of.
func splitAtInBash(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || cmd.Name() != "bash" {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		bare, _ := cmd.Flags().GetBool("no-descriptions")
		var script bytes.Buffer
		if err := cmd.Root().GenBashCompletionV2(&script, !bare); err != nil {
			return err
		}
		_, err := bashWords.WriteString(cmd.OutOrStdout(), script.String())
		return err
	}
}

var bashWords = strings.NewReplacer(
	"_init_completion -n =: ", "_init_completion -n =:@ ",
	`    __lockstep_handle_special_char "$cur" =`+"\n", `    __lockstep_handle_special_char "$cur" =`+"\n"+`    __lockstep_handle_special_char "$cur" @`+"\n",
)
