package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockstep-sync/lockstep/internal/atomicfile"
)

func newManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all commands into a directory",
		Long:   "Writes a manual page in section 1 for each command into DIR, which is made if it\nis not there; a package installs them into share/man/man1.",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.absolute(args[0])
			if err != nil {
				return err
			}
			return a.writeManPages(cmd.Root(), dir)
		},
	}
}

func (a *app) writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return errorf("write the manual: %w", err)
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	n := 0
	for _, cmd := range documented(root) {
		name := filepath.Join(dir, pageName(cmd)+".1")
		if err := atomicfile.Write(name, []byte(manPage(cmd, a.Node.Version)), 0o644); err != nil {
			return errorf("write the manual: %w", err)
		}
		n++
	}
	_, err := fmt.Fprintf(a.Out, "%d pages are in %s\n", n, printable(dir))
	return err
}

// documented lists cmd and all commands below it that are shown.
func documented(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			list = append(list, documented(sub)...)
		}
	}
	return list
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is a command's page, in the man macros of roff: see man(7).
func manPage(cmd *cobra.Command, version string) string {
	p := &page{}
	p.line(".TH %s 1 \"\" %s %s", quoteRoff(strings.ToUpper(pageName(cmd))), quoteRoff("lockstep "+version), quoteRoff("Lockstep"))
	p.section("NAME")
	p.line(`%s \- %s`, escapeRoff(pageName(cmd)), escapeRoff(lowerFirst(cmd.Short)))
	p.section("SYNOPSIS")
	synopsis(p, cmd)
	p.section("DESCRIPTION")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	p.text(long)
	var subs []*cobra.Command
	for _, c := range documented(cmd)[1:] {
		if c.Parent() == cmd {
			subs = append(subs, c)
		}
	}
	if len(subs) > 0 {
		p.section("COMMANDS")
		for _, c := range subs {
			p.line(".TP\n.BR %s (1)\n%s", quoteRoff(pageName(c)), escapeRoff(c.Short))
		}
	}
	if cmd.HasAvailableLocalFlags() {
		p.section("OPTIONS")
		options(p, cmd.LocalFlags())
	}
	if cmd.HasAvailableInheritedFlags() {
		p.section("GLOBAL OPTIONS")
		options(p, cmd.InheritedFlags())
	}
	p.section("EXIT STATUS")
	p.text("0 done; 1 failed; 2 wrong usage; 3 the daemon is not running; 4 timed out or no quorum; 5 the check found problems.")
	if !cmd.HasParent() {
		p.section("ENVIRONMENT")
		p.line(".TP\n.B LOCKSTEP_HOME\nThe node's directory, where \\-\\-home is not given.")
		p.line(".TP\n.B XDG_DATA_HOME\nWithout it too, the home is the directory lockstep in here, or in ~/.local/share.")
		p.line(".TP\n.B NO_COLOR\nIf it is not empty, nothing is coloured.")
	}
	seeAlso(p, cmd, subs)
	return p.sb.String()
}

// seeAlso lists the pages above and below, of which each command has one.
func seeAlso(p *page, cmd *cobra.Command, subs []*cobra.Command) {
	if cmd.HasParent() {
		subs = append([]*cobra.Command{cmd.Parent()}, subs...)
	}
	p.section("SEE ALSO")
	for i, c := range subs {
		comma := ","
		if i == len(subs)-1 {
			comma = ""
		}
		p.line(".BR %s (1)%s", quoteRoff(pageName(c)), comma)
	}
}

func synopsis(p *page, cmd *cobra.Command) {
	words := strings.Fields(cmd.UseLine())
	for i := range words {
		words[i] = escapeRoff(words[i])
	}
	n := len(strings.Fields(cmd.CommandPath()))
	line := `\fB` + strings.Join(words[:n], " ") + `\fR`
	if rest := strings.Join(words[n:], " "); rest != "" {
		line += " " + rest
	}
	p.line("%s", line)
}

func options(p *page, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		head := `\fB\-\-` + escapeRoff(f.Name) + `\fR`
		if f.Shorthand != "" {
			head = `\fB\-` + f.Shorthand + `\fR, ` + head
		}
		if value != "" {
			head += `=\fI` + escapeRoff(value) + `\fR`
		}
		if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && d != "0s" {
			usage += " (default " + d + ")"
		}
		p.line(".TP\n%s\n%s", head, escapeRoff(usage))
	})
}

// page is roff under way.
type page struct{ sb strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.sb, format+"\n", args...) }

func (p *page) section(name string) { p.line(".SH %s", quoteRoff(name)) }

// text is paragraphs; a line that is indented or looks like a row of a table stays a
// line of its own.
func (p *page) text(s string) {
	for i, para := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		verbatim := strings.Contains(para, "  ")
		if verbatim {
			p.line(".nf")
		}
		for line := range strings.Lines(para) {
			p.line("%s", escapeRoff(strings.TrimRight(line, "\n")))
		}
		if verbatim {
			p.line(".fi")
		}
	}
}

// escapeRoff makes text of s: a backslash is one, a hyphen can be copied, and no line
// is taken for a request.
func escapeRoff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func quoteRoff(s string) string { return `"` + strings.ReplaceAll(escapeRoff(s), `"`, `\(dq`) + `"` }

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
