package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// watchEvery is how often `status --watch` asks. Once a second is what a person
// can read, and costs the daemon nothing that can be measured.
const watchEvery = time.Second

// staleAfter is how old a local answer may be before it is pointed out.
const staleAfter = 5 * time.Second

type statusOptions struct {
	watch, check, linearizable bool
}

func newStatusCommand(a *app) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the node, the cluster, the folders, and what is blocked and why",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), a, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.watch, "watch", false, "show it again every second")
	f.BoolVar(&o.check, "check", false, "exit 5 if anything is not well")
	f.BoolVar(&o.linearizable, "linearizable", false, "ask the leader first")
	return cmd
}

func runStatus(ctx context.Context, a *app, o statusOptions) error {
	if o.watch && o.check {
		return badUsage("status: --watch never ends, so it cannot --check")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	for {
		st, err := svc.Status(ctx, control.StatusRequest{Linearizable: o.linearizable})
		if err != nil {
			return err
		}
		if err := a.showStatus(st, o.watch); err != nil {
			return err
		}
		if o.check {
			return checkStatus(st)
		}
		if !o.watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

func (a *app) showStatus(st control.Status, again bool) error {
	if a.json {
		return printJSON(a.Out, st)
	}
	colour := a.colour(a.Out)
	var sb strings.Builder
	if again && colour {
		sb.WriteString("\x1b[H\x1b[2J") // home, clear
	}
	if err := writeStatus(&sb, st, colour); err != nil {
		return err
	}
	if again && !colour {
		sb.WriteByte('\n')
	}
	_, err := io.WriteString(a.Out, sb.String())
	return err
}

func writeStatus(w *strings.Builder, st control.Status, colour bool) error {
	fmt.Fprintf(w, "node     %s  %s  %s  up %s  version %s\n", st.Node.Name, short(st.Node.ID), st.Node.Address,
		seconds(st.Node.UptimeS), st.Node.Version)
	quorum := "quorum"
	if !st.Cluster.HasQuorum {
		quorum = "NO QUORUM: changes are kept here and committed when enough voters are back"
	}
	leader := st.Cluster.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(w, "cluster  %s  leader %s  term %d  %s\n", short(st.Cluster.ID), leader, st.Cluster.Term, quorum)
	if st.Cluster.Notice != "" {
		fmt.Fprintf(w, "         %s\n", oneLine(st.Cluster.Notice))
	}
	writeFreshness(w, "         ", st.Freshness)

	fmt.Fprintln(w)
	if err := nodeTable(st.Cluster.Nodes, colour).print(w); err != nil {
		return err
	}
	if len(st.Folders) == 0 {
		fmt.Fprintln(w, "\nno folders: add one with `lockstep folder add PATH`")
		return nil
	}
	fmt.Fprintln(w)
	t := newTable("FOLDER", "STATE", "REVISION", "FILES", "SIZE", "LOCAL", "PENDING", "CONFLICTS", "PATH")
	t.right = map[int]bool{2: true, 3: true, 4: true, 5: true, 6: true, 7: true}
	if colour {
		t.paint = func(col int, s string) string {
			if col == 1 {
				return paintState(s)
			}
			return s
		}
	}
	for _, f := range st.Folders {
		rev := count(f.HeadRevision)
		if f.AppliedRevision != f.HeadRevision {
			rev = fmt.Sprintf("%s/%s", count(f.AppliedRevision), rev)
		}
		pending := "0"
		if f.PendingFiles > 0 {
			pending = fmt.Sprintf("%s (%s)", count(uint64(f.PendingFiles)), size(f.PendingBytes))
		}
		t.add(f.Name, string(f.State), rev, count(f.Files), size(int64(f.Bytes)), count(uint64(f.LocalChanges)),
			pending, count(uint64(f.ConflictsOpen)), printable(f.Path))
	}
	if err := t.print(w); err != nil {
		return err
	}
	for _, f := range st.Folders {
		writeTroubles(w, f)
	}
	return nil
}

// writeTroubles lists what is not well with a folder, each with its reason.
func writeTroubles(w *strings.Builder, f control.FolderStatus) {
	if f.Error != "" {
		fmt.Fprintf(w, "\n%s is halted: %s\n", f.Name, oneLine(f.Error))
	}
	if len(f.Blocked) > 0 {
		fmt.Fprintf(w, "\nblocked in %s:\n", f.Name)
		printPaths(w, f.Blocked)
	}
	for _, h := range f.Held {
		fmt.Fprintf(w, "\nheld in %s: %s (%s deletions, since %s)\n", f.Name, oneLine(h.Reason), count(uint64(h.Deletes)), when(h.Since))
	}
	if f.UnprotectedBytes > 0 {
		fmt.Fprintf(w, "\n%s: %s are committed but not yet packed here or copied to another member\n", f.Name, size(f.UnprotectedBytes))
	}
}

func writeFreshness(w io.Writer, indent string, f control.Freshness) {
	switch {
	case f.Linearizable:
	case f.LeaderContactS < 0:
		fmt.Fprintf(w, "%sthis node has not heard from a leader since its start: what it shows may be old\n", indent)
	case f.LeaderContactS > staleAfter.Seconds():
		fmt.Fprintf(w, "%slast heard from the leader %s ago: what it shows may be old\n", indent, seconds(f.LeaderContactS))
	}
}

func nodeTable(nodes []control.ClusterMember, colour bool) *table {
	t := newTable("NODE", "ROLE", "ONLINE", "ADDRESS", "ID")
	if colour {
		t.paint = func(col int, s string) string {
			switch {
			case col == 2 && s == "yes":
				return green + s + plain
			case col == 2 && s != "ONLINE":
				return red + s + plain
			}
			return s
		}
	}
	for _, n := range nodes {
		online := "yes"
		if !n.Online {
			online = "no"
			if n.LastSeen != nil {
				online = "no, seen " + humanize.Time(*n.LastSeen)
			}
		}
		t.add(n.Name, n.Role, online, n.Address, short(n.ID))
	}
	return t
}

func paintState(s string) string {
	switch control.FolderState(s) {
	case control.StateIdle:
		return green + s + plain
	case control.StateHalted, control.StateOffline:
		return red + s + plain
	case control.StateScanning, control.StateSyncing, control.StatePaused:
		return yellow + s + plain
	}
	return s
}

// checkStatus returns an error of class problems that names all that is not well.
// Work under way (scanning, syncing) is well.
func checkStatus(st control.Status) error {
	var bad []string
	if !st.Cluster.HasQuorum {
		bad = append(bad, "no quorum")
	}
	for _, f := range st.Folders {
		switch f.State {
		case control.StateHalted, control.StateOffline, control.StatePaused:
			bad = append(bad, fmt.Sprintf("folder %s is %s", f.Name, f.State))
		}
		if n := len(f.Blocked); n > 0 {
			bad = append(bad, fmt.Sprintf("%s blocked in %s", plural(uint64(n), "path", "paths"), f.Name))
		}
		if len(f.Held) > 0 {
			bad = append(bad, fmt.Sprintf("deletions held in %s", f.Name))
		}
		if n := f.ConflictsOpen; n > 0 {
			bad = append(bad, fmt.Sprintf("%s open in %s", plural(uint64(n), "conflict", "conflicts"), f.Name))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return control.Errorf(control.CodeProblems, "status of node %s: %s", st.Node.Name, strings.Join(bad, ", ")).
		WithHint("see `lockstep status`")
}

// short returns the first eight digits of an ID.
func short(id string) string { return id[:min(8, len(id))] }
