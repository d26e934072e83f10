package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/node"
)

func newUpCommand(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [PATH]",
		Short: "Start in one command: init or join if need be, add PATH as a folder, run",
		Long: `Makes the node if there is none (with --join: joins the cluster of a token),
adds PATH as a folder if it is given, prints the line that adds the next machine,
and runs until SIGINT or SIGTERM. Where the node runs already, it only adds the
folder and prints the line. Repeating it does no harm.

PATH is made if it does not exist and its parent does, or it is in your home
directory. With --join, --name says which of the cluster's folders PATH is to
hold; without it, the one that is called like PATH.`,
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
	f.StringVar(&o.token, "join", "", "the `TOKEN` that `lockstep up` or `lockstep invite` printed on another machine")
	f.StringVar(&o.folder, "name", "", "the `FOLDER`'s name (default: the directory's)")
	f.StringVar(&o.prefer, "prefer", "", "what differs on the two sides: `cluster, mine or both`")
	return cmd
}

type upOptions struct {
	node                        nodeOptions
	log                         logOptions
	token, folder, prefer, path string
}

// upDone is what up did before the node served.
type upDone struct {
	home         string
	made, joined bool // the cluster; this node to one
	runs         bool // the node ran already
}

func runUp(ctx context.Context, a *app, o upOptions) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	if o.path == "" && (o.folder != "" || o.prefer != "") {
		return badUsage("up: --name and --prefer are about a folder: give its PATH")
	}
	if o.path != "" { // before a token is used up
		r, err := a.addRequest(o.path, o.folder, o.prefer)
		if err != nil {
			return err
		}
		if err := a.canBeRoot(string(r.Path), home); err != nil {
			return err
		}
	}
	done := upDone{home: home}
	if hasNode(home) {
		if err := a.foundNode(ctx, &done, o); err != nil {
			return err
		}
	} else if err := a.makeNode(ctx, &done, o); err != nil {
		return err
	}
	svc := a.Service(home)
	if done.runs {
		return a.upReady(ctx, svc, o, done)
	}
	return runDaemon(ctx, a, o.log, func(ctx context.Context) error { return a.upReady(ctx, svc, o, done) })
}

// makeNode makes the node of a home that has none.
func (a *app) makeNode(ctx context.Context, done *upDone, o upOptions) error {
	n := o.node
	if o.token == "" {
		done.made = true
		return a.Node.Init(node.InitOptions{Home: done.home, Name: n.name, Listen: n.listen, Advertise: n.advertise})
	}
	done.joined = true
	return a.Node.Join(ctx, node.JoinOptions{Home: done.home, Token: o.token, Name: n.name, Listen: n.listen, Advertise: n.advertise})
}

// foundNode looks at the node that a home has already. The line of another machine
// may be pasted twice: a token of this node's own cluster is no error.
func (a *app) foundNode(ctx context.Context, done *upDone, o upOptions) error {
	if o.token != "" {
		same, err := node.TokenIsOf(done.home, o.token)
		if err != nil {
			return errorf("join: home %q holds a node already (%w); leave --join out to run it, or give another --home", done.home, err)
		}
		if !same {
			return errorf("join: home %q holds a node of another cluster; give another --home for a second one", done.home)
		}
		fmt.Fprintf(a.Err, "up: this node is in that cluster already; the token is not needed, and was not used\n")
	}
	if o.node != (nodeOptions{}) {
		fmt.Fprintf(a.Err, "up: the node is there already, so --node-name, --listen and --advertise do nothing: set name, listen or advertise in %s and restart it\n",
			printable(node.Paths(done.home).Config))
	}
	_, err := a.Service(done.home).Status(ctx, control.StatusRequest{})
	done.runs = err == nil
	return nil
}

// canBeRoot says why nothing can be synced at dir: it is no directory, cannot be
// made, or would hold the node's home. What is missing is made later, when the node has said that no folder of its
// own belongs there, whose disk may just not be mounted.
func (a *app) canBeRoot(dir, home string) error {
	if isBelow(dir, home) {
		return errorf("up: %s is inside the node's home %s; give a directory outside of it, or another --home", dir, home)
	}
	if isBelow(home, dir) {
		return errorf("up: the node's home %s is inside %s; give a directory in there, such as %s, or another --home", home, dir, filepath.Join(dir, "Sync"))
	}
	st, err := os.Stat(dir)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		return errorf("up: %s is no directory; give one", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return errorf("up: %s cannot be read: %w", dir, err)
	}
	if rel, in := a.belowUserHome(dir); in && rel != "" {
		return nil
	}
	if st, err := os.Stat(filepath.Dir(dir)); err != nil || !st.IsDir() {
		return errorf("up: %s does not exist, and neither does the directory that it would be in; make it first", dir)
	}
	return nil
}

// isBelow reports whether p is dir or in it, symlinks resolved as far as they are there.
func isBelow(p, dir string) bool {
	rel, err := filepath.Rel(realPath(dir), realPath(p))
	return err == nil && filepath.IsLocal(rel)
}

func realPath(p string) string {
	for rest := ""; ; {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		up := filepath.Dir(p)
		if up == p {
			return filepath.Join(p, rest)
		}
		p, rest = up, filepath.Join(filepath.Base(p), rest)
	}
}

// belowUserHome returns dir relative to the user's home directory, if it is in there.
func (a *app) belowUserHome(dir string) (rel string, in bool) {
	user := a.Getenv("HOME")
	if !filepath.IsAbs(user) || filepath.Clean(user) == string(filepath.Separator) {
		return "", false
	}
	rel, err := filepath.Rel(user, dir)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	if rel == "." {
		rel = ""
	}
	return rel, true
}

// upReady adds the folder to the running node and says how to go on.
func (a *app) upReady(ctx context.Context, svc control.Service, o upOptions, done upDone) error {
	st, err := svc.Status(ctx, control.StatusRequest{})
	if err != nil {
		return err
	}
	rep := upReport{out: a.Out, json: a.json, done: done, Home: done.home, Node: st.Node.Name, Address: st.Node.Address}
	if err := rep.begin(); err != nil {
		return err
	}
	if o.path != "" {
		r, err := a.addRequest(o.path, o.folder, o.prefer)
		if err != nil {
			return err
		}
		res, known, err := addUnlessThere(ctx, a, svc, r)
		if err != nil {
			return a.notAdded(ctx, svc, done, err)
		}
		if err := rep.folder(res, known); err != nil {
			return err
		}
	}
	if err := rep.others(ctx, a, svc); err != nil {
		return err
	}
	warnAddress(a.Err, st.Node, node.Paths(done.home).Config)
	if !done.joined {
		rep.invite(ctx, a, svc)
	}
	if err := rep.end(); err != nil || a.json || done.runs {
		return err
	}
	if rep.Name == "" {
		if done.joined {
			return rep.othersLater(ctx, a, svc)
		}
		return nil
	}
	return rep.follow(ctx, svc)
}

// notAdded says what may be wrong where a node that has just joined hears nothing of
// its cluster: the others cannot dial it, most likely.
func (a *app) notAdded(ctx context.Context, svc control.Service, done upDone, err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok && done.joined && e.Code == control.CodeNoQuorum {
		if st, serr := svc.Status(ctx, control.StatusRequest{}); serr == nil {
			return e.WithHint("this node has joined, but hears nothing of the cluster: can the others dial it at %s? else set \"advertise\" in %s; then run `lockstep up PATH` again",
				st.Node.Address, node.Paths(done.home).Config)
		}
	}
	return err
}

// addUnlessThere adds a folder, whose directory it makes if it is missing. That this
// node syncs the same directory already is no error (known), so that the same `up`
// starts a node again.
func addUnlessThere(ctx context.Context, a *app, svc control.Service, r control.FolderAddRequest) (res control.FolderAddResult, known bool, err error) {
	list, err := svc.Folders(ctx)
	if err != nil {
		return res, false, err
	}
	path := string(r.Path)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path // the node says what is wrong with it
	}
	for _, f := range list {
		if f.Subscribed && (f.Path == real || f.Path == path) && (r.Name == "" || r.Name == f.Name) {
			return control.FolderAddResult{Name: f.Name, ID: f.ID, Path: f.Path, Joined: true}, true, nil
		}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(path, 0o777); err != nil { // the umask decides
			return res, false, errorf("up: make the folder's directory: %w", err)
		}
	}
	res, err = svc.FolderAdd(ctx, r)
	return res, false, err
}

// inviteTime is how long the line for the next machine is good: long enough to walk
// there, short enough that one left in a scrollback is of no use.
const inviteTime = time.Hour
