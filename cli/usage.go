package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// countArguments makes every command below root say how it is used where the number of
// its arguments is wrong.
func countArguments(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		countArguments(cmd)
		if cmd.HasSubCommands() || cmd.Args == nil {
			continue
		}
		fits := cmd.Args
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if fits(cmd, args) == nil {
				return nil
			}
			given := "no argument was given"
			if len(args) > 0 {
				given = plural(uint64(len(args)), "argument was given", "arguments were given")
			}
			if _, takes, ok := strings.Cut(cmd.Use, " "); ok {
				return errorf("%s: %s: write `%s %s`", cmd.Name(), given, cmd.CommandPath(), takes)
			}
			return errorf("%s: %s, and it takes none, %q", cmd.Name(), given, args[0])
		}
	}
}

// unknownCommand is the error for a word that is no command, with those that may have
// been meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	switch list := meant(cmd, word); len(list) {
	case 0:
		return errorf("unknown command %q", word)
	case 1:
		return errorf("unknown command %q; did you mean %s?", word, list[0])
	default:
		last := len(list) - 1
		return errorf("unknown command %q; did you mean %s or %s?", word, strings.Join(list[:last], ", "), list[last])
	}
}

// meant lists what does what other programs call word, else the commands of that name in
// other groups, else those that look like it.
func meant(cmd *cobra.Command, word string) (out []string) {
	add := func(path string) { out = append(out, "`"+path+"`") }
	if path, ok := elsewhere[word]; ok {
		add(cmd.Root().Name() + " " + path)
		return out
	}
	for _, c := range documented(cmd.Root()) {
		if c.Name() == word && c != cmd.Root() {
			add(c.CommandPath())
		}
	}
	if len(out) > 0 {
		return out
	}
	cmd.SuggestionsMinimumDistance = min(2, len(word)/3) // any short word is like any other
	for _, name := range cmd.SuggestionsFor(word) {
		add(cmd.CommandPath() + " " + name)
	}
	return out
}

// elsewhere is what other programs call what some commands do.
var elsewhere = map[string]string{
	"delete": "folder rm", "history": "log", "ignore": "status --ignored", "ignored": "status --ignored", "info": "status",
	"list": "folder ls", "members": "node ls", "recover": "rollback", "remove": "folder rm",
	"run": "up", "share": "up", "snapshot": "tag", "start": "up", "stop": "folder pause", "sync": "wait", "undo": "rollback",
	"unpause": "folder resume",
}
