package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

const (
	// completeTime bounds what a press of the tab key waits for the daemon.
	completeTime = 300 * time.Millisecond
	// maxComplete is how many words are offered.
	maxComplete = 200
)

// completer offers words to a shell. Without an answer in time there are none.
type completer = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// addCompletions gives every command the completion that its Use line asks for: each
// word in it that stands for a value has one meaning in all commands.
func (a *app) addCompletions(cmd *cobra.Command) {
	words := strings.Fields(cmd.Use)[1:]
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && !cmd.HasSubCommands() && len(words) > 0 {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			i := len(args)
			if i >= len(words) {
				if i = len(words) - 1; !strings.Contains(words[i], "...") {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
			}
			return a.completeWord(cmd, strings.Trim(words[i], "[]."), args, toComplete)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if c := a.completeFlag(f.Name); c != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, c) // an error says that it has one already
		}
	})
	for _, sub := range cmd.Commands() {
		a.addCompletions(sub)
	}
}

func (a *app) completeWord(cmd *cobra.Command, word string, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	parent := ""
	if p := cmd.Parent(); p != nil {
		parent = p.Name()
	}
	switch {
	case word == "KEY=VALUE":
		return a.completeSetting(args, toComplete)
	case word == "NAME" && cmd.Name() == "tag":
		if remove, err := cmd.Flags().GetBool("delete"); err != nil || !remove {
			return nil, cobra.ShellCompDirectiveNoFileComp // a new one
		}
		return a.complete(toComplete, a.tagNames)
	case strings.HasPrefix(word, "PATH@"), strings.HasPrefix(word, "FOLDER@"), strings.HasPrefix(word, "FOLDER[@"):
		return a.completeVersion(word, toComplete)
	case word == "FOLDER", word == "NAME" && parent == "folder":
		return a.complete(toComplete, a.folderNames)
	case word == "NAME" && parent == "node":
		return a.complete(toComplete, a.nodeNames)
	case word == "ID" && parent == "conflicts":
		return a.complete(toComplete, a.conflictIDs)
	case word == "PATH" && (cmd.Name() == "up" || cmd.Name() == "add"), word == "DIR", word == "NEWPATH":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case word == "PATH":
		return a.completePath(toComplete)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completePath offers folders' names where the word may be one, else files.
func (a *app) completePath(toComplete string) ([]string, cobra.ShellCompDirective) {
	if toComplete == "" || strings.ContainsAny(toComplete, "/.:@") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.complete(toComplete, a.folderNames)
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveDefault // a colon or an @ may follow
}

func (a *app) completeFlag(name string) completer {
	fixed := map[string][]string{
		"prefer": {"cluster", "mine", "both"}, "role": {"auto", "voter", "learner"}, "keep": {"current", "other", "both"},
		"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"},
	}
	switch {
	case fixed[name] != nil:
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return fixed[name], cobra.ShellCompDirectiveNoFileComp
		}
	case name == "folder", name == "name":
		return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if name == "name" && cmd.Name() != "up" && cmd.Name() != "add" {
				return nil, cobra.ShellCompDirectiveNoFileComp // a node's, which is new
			}
			return a.complete(toComplete, a.folderNames)
		}
	case name == "home":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	}
	return nil
}

// complete asks the daemon for words, and keeps those that go on from toComplete. It
// is silent when there is no answer: a shell's prompt is no place for an error.
func (a *app) complete(toComplete string, ask func(context.Context, control.Service) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	home, err := a.home()
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	words, err := ask(ctx, a.Service(home))
	if err != nil {
		return nil, none
	}
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, toComplete) && len(out) < maxComplete {
			out = append(out, w)
		}
	}
	return out, none
}

func (a *app) folderNames(ctx context.Context, svc control.Service) (out []string, err error) {
	list, err := svc.Folders(ctx)
	for _, f := range list {
		out = append(out, f.Name)
	}
	return out, err
}

func (a *app) nodeNames(ctx context.Context, svc control.Service) (out []string, err error) {
	list, err := svc.Nodes(ctx)
	for _, n := range list {
		out = append(out, n.Name)
	}
	return out, err
}

var errEnough = errors.New("enough")

// conflictIDs have what each is about behind a tab, which shells show.
func (a *app) conflictIDs(ctx context.Context, svc control.Service) (out []string, err error) {
	err = svc.Conflicts(ctx, control.ConflictsRequest{}, func(c control.Conflict) error {
		out = append(out, c.ID+"\t"+printable(c.Path))
		if len(out) == maxComplete {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}
