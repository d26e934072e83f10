// Command lockstep keeps folders on several machines at one committed version.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/lockstep-sync/lockstep/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a clean end; a second one kills, as by default.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, cli.System(), os.Args[1:]))
}
