package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func newEventsCommand(a *app) *cobra.Command {
	var since string
	var noFollow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happens on this node, one JSON object a line, until ^C",
		Long: `Prints what happens on this node from now on, one JSON object a line: commits,
revisions on the disk, states of folders, conflicts, blocked paths, members that come
and go. With --since it first prints the events after that one, so that a reader can
resume: give the epoch and number of the last event that it saw, EPOCH:N. What is not
kept any more, or was lost with the daemon's restart, is told by an event of kind gap.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runEvents(cmd.Context(), a, since, noFollow) },
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "begin after this event: `[EPOCH:]N`; 0 is the oldest that is kept")
	f.BoolVar(&noFollow, "no-follow", false, "end after what there is now")
	return cmd
}

func runEvents(ctx context.Context, a *app, since string, noFollow bool) error {
	r := control.EventsRequest{NoFollow: noFollow}
	if since != "" {
		number := since
		if epoch, n, ok := strings.Cut(since, ":"); ok {
			r.Epoch, number = epoch, n
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return badUsage("events: --since %q: want N or EPOCH:N, as an event has them", since)
		}
		r.Since = &n
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	return svc.Events(ctx, r, func(list []control.Event) error {
		for _, e := range list {
			if err := printJSON(a.Out, e); err != nil {
				return err
			}
		}
		return nil
	})
}
