// Package node is a whole node: what the command line starts.
package node

import (
	"context"
	"errors"
	"log/slog"
)

// Version is the program's version.
const Version = "0.1.0-dev"

// InitOptions of Init.
type InitOptions struct {
	Home      string
	Name      string // empty: the host's
	Listen    string // empty: "0.0.0.0:0"
	Advertise string // empty: the address bound
}

// Init makes the identity and a new one-node cluster in Home. It refuses where
// there is one already.
func Init(o InitOptions) error { return errors.New("not wired yet") }

// JoinOptions of Join.
type JoinOptions struct {
	Home      string
	Token     string
	Name      string
	Listen    string
	Advertise string
}

// Join makes the identity and joins the cluster of the token.
func Join(ctx context.Context, o JoinOptions) error { return errors.New("not wired yet") }

// RunOptions of Run.
type RunOptions struct {
	Home string
	Log  *slog.Logger
	// Ready is called once the node serves; addr is the address bound.
	Ready func(addr string)
}

// Run runs the node until ctx ends.
func Run(ctx context.Context, o RunOptions) error { return errors.New("not wired yet") }
