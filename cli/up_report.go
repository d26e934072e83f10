package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// upReport is what `up` tells. As JSON it is one document, which begins with what
// `folder add` prints.
type upReport struct {
	out  io.Writer
	json bool
	done upDone
	told bool // which of the cluster's folders are not here

	control.FolderAddResult
	Home    string    `json:"home"`
	Node    string    `json:"node"`
	Address string    `json:"address"`
	Line    string    `json:"line,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

func (u *upReport) say(format string, args ...any) error {
	if u.json {
		return nil
	}
	_, err := fmt.Fprintf(u.out, format+"\n", args...)
	return err
}

func (u *upReport) begin() error {
	did := "node %s is up"
	switch {
	case u.done.made:
		did = "made a new cluster of this one node, %s"
	case u.done.joined:
		did = "joined the cluster as node %s"
	case u.done.runs:
		did = "node %s runs already"
	}
	return u.say(did+"\nits home is %s", u.Node, printable(u.Home))
}

func (u *upReport) folder(res control.FolderAddResult, known bool) error {
	u.FolderAddResult = res
	what := "new folder %s at %s"
	switch {
	case known:
		what = "folder %s is synced at %s"
	case res.Joined:
		what = "joined folder %s at %s"
	}
	if err := u.say(what, res.Name, printable(res.Path)); err != nil || u.json {
		return err
	}
	return printJoined(u.out, res)
}

// others names the folders that the cluster has and this node does not keep, and,
// where no PATH was given, takes this node's one folder for the line.
func (u *upReport) others(ctx context.Context, a *app, svc control.Service) error {
	list, err := svc.Folders(ctx)
	if err != nil {
		return err
	}
	var here []control.Folder
	var names []string
	for _, f := range list {
		if f.Subscribed {
			here = append(here, f)
		} else if f.Name != u.Name {
			names = append(names, f.Name)
		}
	}
	if u.Name == "" && len(here) == 1 {
		u.FolderAddResult = control.FolderAddResult{Name: here[0].Name, ID: here[0].ID, Path: here[0].Path, Joined: true}
	}
	if len(names) == 0 {
		return nil
	}
	u.told = true
	return u.say("not on this node: %s; to sync one here too:\n  lockstep up --name %s %s", strings.Join(names, ", "), names[0], a.suggestPath(names[0]))
}

// suggestPath is where a folder of that name may go.
func (a *app) suggestPath(name string) string {
	if a.Getenv("HOME") != "" {
		return "~/" + name
	}
	return name
}

// invite makes the line for the next machine. That none can be made now is told, and
// no error: the node runs.
func (u *upReport) invite(ctx context.Context, a *app, svc control.Service) {
	inv, err := svc.Invite(ctx, control.InviteRequest{Role: "auto", TTL: inviteTime})
	if err != nil {
		fmt.Fprintf(a.Err, "up: no line for the next machine yet: %s; later: lockstep invite\n", oneLine(err.Error()))
		return
	}
	u.Line, u.Expires = "lockstep up --join "+inv.Token, inv.Expires
	if u.Name != "" {
		// The name is always said: a directory of another name would become a new folder.
		u.Line += " --name " + u.Name + " " + a.pastable(u.Path)
	}
}

// pastable is a path as another machine's shell reads it, with ~ for the home
// directory, which is another one there.
func (a *app) pastable(path string) string {
	rel, in := a.belowUserHome(path)
	if real, err := filepath.EvalSymlinks(a.Getenv("HOME")); !in && err == nil {
		if r, err := filepath.Rel(real, path); err == nil && filepath.IsLocal(r) {
			rel, in = r, true
		}
	}
	switch {
	case !in:
		return shellQuote(path)
	case rel == "" || rel == ".":
		return "~"
	}
	return "~/" + shellQuote(filepath.ToSlash(rel))
}

// shellQuote quotes s for a POSIX shell where it needs that.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%", r))
	}) && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (u *upReport) end() error {
	if u.json {
		return printJSON(u.out, u)
	}
	if u.Line != "" {
		if err := u.say("\non the next machine, paste this line (good once, until %s;\n`lockstep invite` makes another):\n\n%s\n", u.Expires.Local().Format("15:04"), u.Line); err != nil {
			return err
		}
	} else if u.done.joined {
		if err := u.say("to add another machine: lockstep invite"); err != nil {
			return err
		}
	}
	if u.done.runs {
		return nil
	}
	return u.say("running; ^C ends it (`lockstep service print` has a unit that starts it)")
}

// MarshalJSON leaves the folder out where there is none.
func (u *upReport) MarshalJSON() ([]byte, error) {
	type doc upReport // without this method
	if u.Name != "" {
		return json.Marshal((*doc)(u))
	}
	return json.Marshal(struct {
		Home    string    `json:"home"`
		Node    string    `json:"node"`
		Address string    `json:"address"`
		Line    string    `json:"line,omitempty"`
		Expires time.Time `json:"expires,omitzero"`
	}{u.Home, u.Node, u.Address, u.Line, u.Expires})
}

// followEvery is how often a first sync is looked at.
const followEvery = 200 * time.Millisecond

// hearWithin is how long a node that has joined is asked for the cluster's folders:
// there may be none.
const hearWithin = time.Minute

// othersLater does what others does, on a node that has joined and hears of the
// cluster's folders only after a moment.
func (u *upReport) othersLater(ctx context.Context, a *app, svc control.Service) error {
	for end := a.Now().Add(hearWithin); !u.told && a.Now().Before(end); {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
		if err := u.others(ctx, a, svc); err != nil {
			return nil // the node ends, and says why itself
		}
	}
	return nil
}

// follow says once that the folder is whole on this machine. It ends with ctx.
func (u *upReport) follow(ctx context.Context, svc control.Service) error {
	for {
		st, err := svc.Status(ctx, control.StatusRequest{})
		if err != nil {
			return nil // the node ends, and says why itself
		}
		for _, f := range st.Folders {
			switch {
			case f.Name != u.Name:
			case f.State == control.StateHalted:
				return u.say("%s is halted: %s", f.Name, oneLine(f.Error))
			case f.State == control.StateIdle && f.AppliedRevision == f.HeadRevision && len(f.Blocked) > 0:
				return u.say("%s: %s cannot be synced here: see `lockstep status`", f.Name, plural(uint64(len(f.Blocked)), "path", "paths"))
			case f.State == control.StateIdle && f.HeadRevision == 0:
				return u.say("%s is empty: what is put into %s from now on is synced", f.Name, printable(f.Path))
			case f.State == control.StateIdle && f.AppliedRevision == f.HeadRevision:
				return u.say("%s: all of it is here at revision %s: %s, %s", f.Name, count(f.HeadRevision), plural(f.Files, "file", "files"), size(int64(f.Bytes)))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// warnAddress says where no other machine can dial this node.
func warnAddress(w io.Writer, n control.NodeStatus, config string) {
	host, _, err := net.SplitHostPort(n.Address)
	if err != nil || !loopback(host) {
		return
	}
	why, set := "the others are told to dial "+n.Address+", which is each machine's own", `advertise = "HOST:PORT"`
	if listen, _, err := net.SplitHostPort(n.Listen); err == nil && loopback(listen) {
		why, set = "this node listens on loopback only ("+n.Listen+")", `listen = "0.0.0.0:7417"`
	}
	var sb strings.Builder
	wrap(&sb, "", 0, "warning: "+why+": no other machine can reach it. For more than this machine, put the next line into "+
		printable(config)+" and restart the node:")
	fmt.Fprintf(w, "%s  %s\n", sb.String(), set)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
