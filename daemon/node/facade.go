// Package node is a whole node: it makes one (Init, Join) and runs it (Run),
// wiring the packages below into a daemon. It is all that the command line knows
// of them, beside the control client.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/join"
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// Version is the program's version.
const Version = "0.1.0"

var errInUse = errors.New("another daemon runs on this home")

// InitOptions of Init.
type InitOptions struct {
	Home      string
	Name      string // empty: the host's
	Listen    string // host:port; empty: every address, a free port
	Advertise string // host:port; empty: the address bound
}

// Init makes the identity and a new one-node cluster in Home. It refuses where
// there is a node already, and leaves that as it is.
func Init(o InitOptions) error {
	h := home(o.Home)
	c, err := prepare(h, o.Name, o.Listen, o.Advertise)
	if err != nil {
		return err
	}
	ident, err := transport.NewIdentity()
	if err != nil {
		return err
	}
	err = transport.SaveIdentity(h.identity(), ident)
	if errors.Is(err, transport.ErrIdentityExists) {
		return fmt.Errorf("make a node in %s: an earlier init or join was cut short there, and a cluster may have admitted it; "+
			"run that join again, or remove %s to start anew", h, h.identity())
	}
	if err != nil {
		return err
	}
	c.Cluster, c.First = id.NewCluster(), true
	return h.finish(c)
}

// JoinOptions of Join.
type JoinOptions struct {
	Home      string
	Token     string
	Name      string
	Listen    string
	Advertise string
}

// Join makes the identity and joins the cluster of the token, as a learner; Run
// then runs the node. Its errors match those of package join. A Join that was
// cut short can be repeated: the identity is kept, unless the cluster refused it, which
// leaves the home as it was.
func Join(ctx context.Context, o JoinOptions) error {
	h := home(o.Home)
	token, err := join.ParseToken(strings.TrimSpace(o.Token))
	if err != nil {
		return fmt.Errorf("join: %w; copy the whole token that `lockstep invite` printed", err)
	}
	c, err := prepare(h, o.Name, o.Listen, o.Advertise)
	if err != nil {
		return err
	}
	release, err := h.lock() // so that no other Join uses an identity that is dropped here
	if err != nil {
		return err
	}
	defer release()
	ident, err := transport.LoadIdentity(h.identity())
	fresh := errors.Is(err, os.ErrNotExist)
	if fresh {
		if ident, err = transport.NewIdentity(); err == nil {
			err = transport.SaveIdentity(h.identity(), ident)
		}
	}
	if err != nil {
		return err
	}
	r, err := join.Request(ctx, ident, token, c.Name, c.Advertise)
	if err != nil {
		if fresh && refused(err) {
			if rerr := os.RemoveAll(h.identity()); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
		return joinError(o.Home, err)
	}
	c.Cluster, c.Name, c.Members = r.Cluster, r.Name, r.Nodes
	return h.finish(c)
}

// refused reports whether an error of a Join says that the cluster has not admitted the
// node, and will not.
func refused(err error) bool {
	for _, e := range []error{join.ErrUsedToken, join.ErrExpiredToken, join.ErrUnknownToken, join.ErrWrongCluster} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// joinError gives what time may mend its class, and says what to do.
func joinError(home string, err error) error {
	switch {
	case errors.Is(err, join.ErrUnavailable):
		return control.Errorf(control.CodeNoQuorum, "join: %w", err).
			WithHint("nothing was changed and the token is still good: run the same command again when more of the cluster's nodes are online")
	case errors.Is(err, join.ErrUndecided):
		return control.Errorf(control.CodeNoQuorum, "join: %w", err).
			WithHint("this node becomes a member as soon as the cluster commits again, unless the token expires first; to finish, run the same command again with this home (%s)", home)
	case errors.Is(err, join.ErrUnreachable):
		return control.Errorf(control.CodeFailed, "join: %w", err).
			WithHint("is the daemon there running, and does its firewall let the port in? where this machine has to dial another address, set \"advertise\" in config.toml there, restart it, and make a new token")
	case errors.Is(err, join.ErrExpiredToken), errors.Is(err, join.ErrUsedToken), errors.Is(err, join.ErrUnknownToken):
		return control.Errorf(control.CodeFailed, "join: %w", err).
			WithHint("a token is good for one machine and a short time: run `lockstep invite` on the other machine for a new one")
	case errors.Is(err, join.ErrBusy):
		return control.Errorf(control.CodeTimeout, "join: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return control.Errorf(control.CodeTimeout, "join: %w", err).
			WithHint("if it was admitted all the same, running the same command again with this home (%s) finishes it", home)
	}
	return fmt.Errorf("join: %w", err)
}

// prepare checks what the user gave and binds the address once, to learn the port
// that the node keeps.
func prepare(h home, name, listen, advertise string) (config, error) {
	var c config
	s, err := conf.Load(string(h))
	if err != nil {
		return c, err
	}
	if name, err = agreed("name", name, s.Name); err != nil {
		return c, err
	}
	if listen, err = agreed("listen", listen, s.Listen); err != nil {
		return c, err
	}
	c.Follow = advertise == "" // what config.toml says counts as long as it says it
	if advertise, err = agreed("advertise", advertise, s.Advertise); err != nil {
		return c, err
	}
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "node"
		}
		name = id.MakeName(strings.SplitN(host, ".", 2)[0], "node")
	}
	if err := id.CheckName(name); err != nil {
		return c, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if advertise != "" {
		if err := join.CheckAddress(advertise); err != nil {
			return c, fmt.Errorf("%w: --advertise: %w", ErrUsage, err)
		}
	}
	if listen == "" {
		listen = ":0"
	}
	host, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return c, fmt.Errorf("%w: --listen %q: %w; give HOST:PORT, such as 0.0.0.0:7417", ErrUsage, listen, err)
	}
	if err := h.create(); err != nil {
		return c, err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return c, fmt.Errorf("listen on %q: %w; choose another address with --listen", listen, err)
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		return c, fmt.Errorf("listen on %q: %w", listen, err)
	}
	c.Name, c.Listen = name, net.JoinHostPort(host, port)
	if c.Advertise = advertise; advertise == "" {
		c.Advertise = here(host, port, "")
	}
	return c, nil
}

// ErrUsage is matched where what the user gave cannot be right.
var ErrUsage = errors.New("wrong usage")

// RunOptions of Run.
type RunOptions struct {
	Home string
	Log  *slog.Logger // nil discards
	// Ready is called once the node serves; addr is the address bound.
	Ready func(addr string)

	made func(*Node) // told of the node before it runs, in tests
}

// Run runs the node until ctx ends, and returns when all that it started has
// ended. A clean end hands over leadership.
func Run(ctx context.Context, o RunOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func(string) {}
	}
	return run(ctx, home(o.Home), o)
}
