package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/node"
)

// nodeOptions are the flags of the commands that make an identity.
type nodeOptions struct {
	name, listen, advertise string
}

func (o *nodeOptions) flags(cmd *cobra.Command, nameFlag string) {
	f := cmd.Flags()
	f.StringVar(&o.name, nameFlag, "", "the node's `NAME` (default: the host's)")
	f.StringVar(&o.listen, "listen", "", "listen on `ADDR`, such as 0.0.0.0:7417 (default: any free port; the port bound is kept)")
	f.StringVar(&o.advertise, "advertise", "", "tell the others to dial `ADDR` (default: the machine's own address, with the port bound)")
}

func newInitCommand(a *app) *cobra.Command {
	var o nodeOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make this machine's identity and a new one-node cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runInit(a, o) },
	}
	o.flags(cmd, "name")
	return cmd
}

func runInit(a *app, o nodeOptions) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	if err := a.Node.Init(node.InitOptions{Home: home, Name: o.name, Listen: o.listen, Advertise: o.advertise}); err != nil {
		return err
	}
	return a.printMade(home, "made a new cluster of this one node")
}

func newJoinCommand(a *app) *cobra.Command {
	var o nodeOptions
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this machine's identity and join the cluster of a token",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runJoin(cmd.Context(), a, args[0], o) },
	}
	o.flags(cmd, "name")
	return cmd
}

func runJoin(ctx context.Context, a *app, token string, o nodeOptions) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	err = a.Node.Join(ctx, node.JoinOptions{Home: home, Token: token, Name: o.name, Listen: o.listen, Advertise: o.advertise})
	if err != nil {
		return err
	}
	return a.printMade(home, "joined the cluster")
}

func (a *app) printMade(home, what string) error {
	if a.json {
		return printJSON(a.Out, struct {
			Home string `json:"home"`
		}{home})
	}
	_, err := fmt.Fprintf(a.Out, "%s (home %s)\nnext: lockstep daemon, then lockstep folder add PATH\n", what, home)
	return err
}

// logOptions are the flags of the commands that run a node; what they leave empty
// config.toml says.
type logOptions struct{ level, format string }

func (o *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.level, "log-level", "", "what to log on stderr: `LEVEL` debug, info, warn or error (default: config.toml's)")
	cmd.Flags().StringVar(&o.format, "log-format", "", "how to log: `FORM` text or json (default: config.toml's)")
}

func (o *logOptions) logger(w io.Writer, set node.Settings) (*slog.Logger, error) {
	if o.level == "" {
		o.level = set.LogLevel
	}
	if o.format == "" {
		o.format = set.LogFormat
	}
	var level slog.Level
	switch o.level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(o.level)); err != nil {
			return nil, err
		}
	default:
		return nil, badUsage("--log-level %q: want debug, info, warn or error", o.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, badUsage("--log-format %q: want text or json", o.format)
}

func newDaemonCommand(a *app) *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Run the node in the foreground until SIGINT or SIGTERM",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemon(cmd.Context(), a, o, nil) },
	}
	o.flags(cmd)
	return cmd
}

// runDaemon runs the node until ctx ends. Once it serves, the ready line is on
// stderr, systemd is told, and ready is called, whose error ends the node.
func runDaemon(parent context.Context, a *app, o logOptions, ready func(ctx context.Context) error) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	set, err := node.LoadSettings(home)
	if err != nil {
		return err
	}
	log, err := o.logger(a.Err, set)
	if err != nil {
		return err
	}
	if !hasNode(home) {
		return errorf("run the node: no node in home %q; make one with `lockstep init`, or join one with `lockstep join TOKEN`", home)
	}
	g, ctx := errgroup.WithContext(parent)
	serving, ended := make(chan struct{}), make(chan struct{})
	g.Go(func() error {
		defer close(ended)
		return a.Node.Run(ctx, node.RunOptions{Home: home, Log: log, Ready: func(addr string) {
			fmt.Fprintf(a.Err, "lockstep: ready on %s, home %s\n", addr, home)
			close(serving)
		}})
	})
	g.Go(func() error {
		select {
		case <-serving:
		case <-ended:
			return nil
		}
		socket := a.Getenv("NOTIFY_SOCKET")
		if err := notifySystemd(socket, "READY=1"); err != nil {
			log.Warn("systemd was not told that the node is ready", "err", err)
		}
		g.Go(func() error { a.watchdog(ctx, home, log); return nil })
		if ready != nil {
			if err := ready(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			_ = notifySystemd(socket, "STOPPING=1") // of use to systemd only; the node stops anyway
		case <-ended:
		}
		return nil
	})
	err = g.Wait()
	if context.Cause(parent) != nil && errors.Is(err, context.Canceled) {
		return nil // stopped by a signal, as asked
	}
	return err
}

// absolute returns path made absolute, symlinks not resolved.
func (a *app) absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	wd, err := a.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.Join(wd, path), nil
}
