package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/node"
)

func newConfigCommand(a *app) *cobra.Command {
	var sample bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the settings that a start of the daemon would use, and where they are from",
		Long: `Shows the settings in force at the daemon's next start: those of config.toml in
the node's home, those that the node was made with, and the defaults. A file that
is not well formed is refused with the line, as the daemon would refuse it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if sample {
				_, err := fmt.Fprint(a.Out, node.SampleSettings())
				return err
			}
			return runConfig(a)
		},
	}
	cmd.Flags().BoolVar(&sample, "sample", false, "print a config.toml that explains every key and sets none")
	return cmd
}

// settingsJSON is the document of `config`; empty texts are left to the node, which
// none is made yet.
type settingsJSON struct {
	Path          string  `json:"path"`
	Exists        bool    `json:"exists"`
	Name          string  `json:"name"`
	Listen        string  `json:"listen"`
	Advertise     string  `json:"advertise"`
	LimitUp       int64   `json:"limit_up"`
	LimitDown     int64   `json:"limit_down"`
	LogLevel      string  `json:"log_level"`
	LogFormat     string  `json:"log_format"`
	ScanIntervalS float64 `json:"scan_interval_s"`
}

func runConfig(a *app) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	s, err := node.LoadSettings(home)
	if err != nil {
		return err
	}
	doc := settingsJSON{
		Path: node.Paths(home).Config, Name: s.Name, Listen: s.Listen, Advertise: s.Advertise, LimitUp: s.LimitUp, LimitDown: s.LimitDown,
		LogLevel: s.LogLevel, LogFormat: s.LogFormat, ScanIntervalS: s.ScanInterval.Seconds(),
	}
	if _, err := os.Stat(doc.Path); err == nil {
		doc.Exists = true
	}
	made := true
	if doc.Name, doc.Listen, doc.Advertise, err = node.Addresses(home); errors.Is(err, node.ErrNoNode) {
		made, doc.Name, doc.Listen, doc.Advertise = false, s.Name, s.Listen, s.Advertise
	} else if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, doc)
	}
	return printConfig(a, doc, s, made)
}

func printConfig(a *app, doc settingsJSON, s node.Settings, made bool) error {
	d := node.DefaultSettings()
	t := newTable("KEY", "VALUE", "FROM")
	add := func(key, value string, file bool) {
		from := "default"
		switch {
		case file:
			from = "config.toml"
		case value == "":
			value, from = "-", "chosen when the node is made"
		case key == "name" || key == "listen" || key == "advertise":
			from = "the node"
		}
		t.add(key, printable(value), from)
	}
	add("name", doc.Name, s.Name != "")
	add("listen", doc.Listen, s.Listen != "")
	add("advertise", doc.Advertise, s.Advertise != "")
	add("limit_up", node.FormatRate(s.LimitUp), s.LimitUp != d.LimitUp)
	add("limit_down", node.FormatRate(s.LimitDown), s.LimitDown != d.LimitDown)
	add("log_level", s.LogLevel, s.LogLevel != d.LogLevel)
	add("log_format", s.LogFormat, s.LogFormat != d.LogFormat)
	add("scan_interval", s.ScanInterval.String(), s.ScanInterval != d.ScanInterval)
	if err := t.print(a.Out); err != nil {
		return err
	}
	where := "to change them, edit " + printable(doc.Path)
	switch {
	case !doc.Exists:
		where += ", which `lockstep config --sample` begins"
	case made:
		where += " and restart the daemon"
	}
	_, err := fmt.Fprintf(a.Out, "\n%s\n", where)
	return err
}

func newPathsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "paths",
		Short: "Show where everything of the node is: home, settings, socket, data, logs",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runPaths(a) },
	}
}

func runPaths(a *app) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	p := node.Paths(home)
	if a.json {
		return printJSON(a.Out, struct {
			node.PathSet
			Logs string `json:"logs"`
		}{p, "stderr"})
	}
	t := newTable("WHAT", "WHERE")
	for _, row := range [][2]string{
		{"home", p.Home}, {"settings", p.Config}, {"this node", p.Node}, {"its key", p.Identity}, {"socket", p.Socket},
		{"metadata", p.Metadata}, {"raft log", p.Raft}, {"local index", p.Local}, {"chunks", p.Chunks},
	} {
		where := printable(row[1])
		if _, err := os.Lstat(row[1]); errors.Is(err, os.ErrNotExist) {
			where += "  (not there)"
		}
		t.add(row[0], where)
	}
	t.add("logs", "the daemon's stderr; of a systemd unit: journalctl --user -u lockstep")
	return t.print(a.Out)
}
