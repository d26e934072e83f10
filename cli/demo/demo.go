// Package demo shows and checks what Lockstep promises on three real nodes.
package demo

import (
	"context"
	"errors"
	"io"
)

// Options of Run.
type Options struct {
	Dir    string
	Keep   bool
	Out    io.Writer
	Colour bool
}

// Run runs the demonstration.
func Run(ctx context.Context, o Options) error { return errors.New("demo: not here yet") }
