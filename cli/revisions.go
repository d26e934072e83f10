package cli

import "github.com/spf13/cobra"

// newRevisionsTopic is the page of `lockstep help revisions`.
func newRevisionsTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "revisions",
		Short: "How to write PATH, and PATH@REV for a version",
		Long: `PATH is a path on this machine in a synced folder (~/notes/plan.txt, plan.txt), or
FOLDER:path, the same on all machines (notes:plan.txt). FOLDER alone is all of it.

PATH@REV is what PATH was at a revision:

  notes@12                     revision 12, as "lockstep log notes" numbers them
  notes@head                   the newest; notes@head~3 is three before it
  notes:plan.txt@before-move   a name that "lockstep tag" gave
  "notes@2h ago"               the newest at that time; also "30m ago", "3 days ago"
  "notes@yesterday 14:00"      also "today 9:30", "monday", "last friday 9am", "nov 23"
  "notes@2026-11-23 10:00"     local time; a date alone is its first moment

Quote what has spaces. REV is what stands after the last @.`,
	}
}
