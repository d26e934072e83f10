package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lockstep-sync/lockstep/daemon/control"
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
	f.StringVar(&o.advertise, "advertise", "", "tell the others to dial `ADDR` (default: the one bound)")
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

// logOptions are the flags of the commands that run a node.
type logOptions struct{ level string }

func (o *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.level, "log-level", "info", "what to log on stderr: `debug, info, warn or error`")
}

func (o *logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	switch o.level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(o.level)); err != nil {
			return nil, err
		}
	default:
		return nil, badUsage("--log-level %q: want debug, info, warn or error", o.level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
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
	log, err := o.logger(a.Err)
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

func newUpCommand(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [PATH]",
		Short: "Start in one command: init or join if need be, add PATH as a folder, run",
		Long: `Makes the node if there is none (with --join: joins the cluster of a token),
adds PATH as a folder if it is given, and runs until SIGINT or SIGTERM. Where the
node runs already, it only adds the folder.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.path = args[0]
			}
			return runUp(cmd.Context(), a, o)
		},
	}
	o.node.flags(cmd, "node-name")
	o.log.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.token, "join", "", "the `TOKEN` that `lockstep invite` printed on another machine")
	f.StringVar(&o.folder, "name", "", "the `FOLDER`'s name (default: the directory's)")
	f.StringVar(&o.prefer, "prefer", "", "where more than 100 paths differ: `cluster, mine or both`")
	return cmd
}

type upOptions struct {
	node                        nodeOptions
	log                         logOptions
	token, folder, prefer, path string
}

func runUp(ctx context.Context, a *app, o upOptions) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	if o.path == "" && (o.folder != "" || o.prefer != "") {
		return badUsage("up: --name and --prefer are about a folder: give its PATH")
	}
	if err := checkPrefer(o.prefer); err != nil {
		return err
	}
	if o.path != "" { // before a token is used up
		dir, err := a.absolute(o.path)
		if err != nil {
			return err
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return errorf("up: %s is no directory that can be read; make it first", dir)
		}
	}
	svc := a.Service(home)
	if hasNode(home) {
		if _, err := svc.Status(ctx, control.StatusRequest{}); err == nil {
			if o.token != "" {
				return errorf("join: home %q holds a node already, and it runs; give another --home", home)
			}
			return a.upReady(ctx, svc, o)
		}
	}
	switch has := hasNode(home); {
	case has && o.token != "":
		return errorf("join: home %q holds a node already; run it with `lockstep up PATH`, or give another --home", home)
	case has:
	case o.token != "":
		err = a.Node.Join(ctx, node.JoinOptions{Home: home, Token: o.token, Name: o.node.name, Listen: o.node.listen, Advertise: o.node.advertise})
	default:
		err = a.Node.Init(node.InitOptions{Home: home, Name: o.node.name, Listen: o.node.listen, Advertise: o.node.advertise})
	}
	if err != nil {
		return err
	}
	return runDaemon(ctx, a, o.log, func(ctx context.Context) error { return a.upReady(ctx, svc, o) })
}

// upReady adds the folder to the running node and says how to go on.
func (a *app) upReady(ctx context.Context, svc control.Service, o upOptions) error {
	if o.path != "" {
		r, err := a.addRequest(o.path, o.folder, o.prefer)
		if err != nil {
			return err
		}
		if err := addUnlessThere(ctx, a, svc, r); err != nil {
			return err
		}
	}
	if a.json {
		return nil // the folder's document stands alone
	}
	_, err := fmt.Fprint(a.Out, "to add the next machine: lockstep invite                (here)\n"+
		"                         lockstep up --join TOKEN PATH  (there)\n")
	return err
}

// addUnlessThere adds a folder; that this node syncs the same directory already is
// no error, so that the same `up` starts a node again.
func addUnlessThere(ctx context.Context, a *app, svc control.Service, r control.FolderAddRequest) error {
	list, err := svc.Folders(ctx)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(string(r.Path))
	if err != nil {
		real = string(r.Path) // the node says what is wrong with it
	}
	for _, f := range list {
		if f.Subscribed && (f.Path == real || f.Path == string(r.Path)) && (r.Name == "" || r.Name == f.Name) {
			if a.json {
				return printJSON(a.Out, control.FolderAddResult{Name: f.Name, ID: f.ID, Path: f.Path, Joined: true})
			}
			_, err := fmt.Fprintf(a.Out, "folder %s is synced at %s\n", f.Name, printable(f.Path))
			return err
		}
	}
	res, err := svc.FolderAdd(ctx, r)
	if err != nil {
		return err
	}
	return printAdded(a, res)
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
