package cli

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

func newServiceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "service", Short: "Have the system start the node"}
	cmd.AddCommand(newServicePrintCommand(a))
	return group(cmd)
}

type serviceOptions struct {
	system, user bool
	runAs        string
}

func newServicePrintCommand(a *app) *cobra.Command {
	var o serviceOptions
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print a systemd unit that runs this home's node",
		Long: `Prints a systemd unit for this program and this home; how to install it is told
on stderr. A user's unit runs as you, which is what your files want. A system's
unit runs as --run-as, before anybody logs in.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runServicePrint(a, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.user, "user", false, "a unit of your own service manager (the default)")
	f.BoolVar(&o.system, "system", false, "a unit of the system's service manager")
	f.StringVar(&o.runAs, "run-as", "", "with --system: the `USER` to run as (default: you)")
	return cmd
}

// unit is what the template needs.
type unit struct {
	Exec, Home, User string
	System           bool
}

// unitText: the options that guard the daemon are those that filter system calls. None
// of those that give it mounts of its own (ProtectSystem, PrivateTmp and their like):
// it must see a disk come and go as the user does, and must be able to sync a folder
// wherever the user puts it, with the modes that the files have.
var unitText = template.Must(template.New("unit").Parse(`# Written by "lockstep service print{{if .System}} --system{{end}}".
[Unit]
Description=Lockstep file synchronization{{if .System}} ({{.User}}){{end}}
Documentation=man:lockstep(1)
{{- if .System}}
Wants=network-online.target
After=network-online.target
{{- end}}

[Service]
Type=notify
ExecStart={{.Exec}} --home {{.Home}} daemon
{{- if .System}}
User={{.User}}
{{- end}}
Restart=on-failure
RestartSec=5
# A start may have a long log to apply; a clean end hands over leadership first.
TimeoutStartSec=15min
TimeoutStopSec=30
# The node answers a question about its state three times in this time, or is restarted.
WatchdogSec=3min
LimitNOFILE=65536

NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy={{if .System}}multi-user.target{{else}}default.target{{end}}
`))

func runServicePrint(a *app, o serviceOptions) error {
	if o.system && o.user {
		return badUsage("service print: --user or --system, not both")
	}
	if o.runAs != "" && !o.system {
		return badUsage("service print: --run-as needs --system; your own manager runs it as you")
	}
	home, err := a.home()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return errorf("find this program: %w", err)
	}
	u := unit{Exec: unitQuote(exe), Home: unitQuote(home), System: o.system, User: o.runAs}
	if u.System && u.User == "" {
		me, err := user.Current()
		if err != nil {
			return errorf("who are you: %w; give --run-as USER", err)
		}
		u.User = me.Username
	}
	if strings.ContainsFunc(u.User, func(r rune) bool { return r <= ' ' || r == '%' }) {
		return badUsage("--run-as %q is no user's name", u.User)
	}
	var sb strings.Builder
	if err := unitText.Execute(&sb, u); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, struct {
			Unit string `json:"unit"`
		}{sb.String()})
	}
	if _, err := fmt.Fprint(a.Out, sb.String()); err != nil {
		return err
	}
	fmt.Fprint(a.Err, installHint(o, a.homeFlag))
	return nil
}

// installHint says how to install the very unit that was printed.
func installHint(o serviceOptions, home string) string {
	args := ""
	if o.system {
		args += " --system"
	}
	if o.runAs != "" {
		args += " --run-as " + shellQuote(o.runAs)
	}
	if home != "" {
		args += " --home " + shellQuote(home)
	}
	if o.system {
		return "to install it:\n" +
			"  lockstep service print" + args + " | sudo tee /etc/systemd/system/lockstep.service\n" +
			"  sudo systemctl daemon-reload && sudo systemctl enable --now lockstep\n"
	}
	return "to install it:\n" +
		"  mkdir -p ~/.config/systemd/user\n" +
		"  lockstep service print" + args + " > ~/.config/systemd/user/lockstep.service\n" +
		"  systemctl --user daemon-reload && systemctl --user enable --now lockstep\n" +
		"so that it runs while you are not logged in, too: loginctl enable-linger\n"
}

// unitQuote quotes a word of a unit's command line: see systemd.syntax(7), and
// "COMMAND LINES" in systemd.service(5) for % and $.
func unitQuote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`, "\t", `\t`).Replace(s)
	return `"` + s + `"`
}
