package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// watchGap is the least time between two looks of `status --watch`, which the daemon
// answers when something has changed.
const watchGap = 250 * time.Millisecond

// staleAfter is how old a local answer may be before it is pointed out.
const staleAfter = 5 * time.Second

type statusOptions struct {
	watch, check, linearizable bool
	ignored                    bool
	folder                     string // "": all
}

func newStatusCommand(a *app) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [FOLDER]",
		Short: "Show the node, the cluster, the folders, and what is blocked and why",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.folder = strings.TrimSuffix(args[0], ":")
			}
			if o.ignored {
				return runIgnored(cmd.Context(), a, o)
			}
			return runStatus(cmd.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.watch, "watch", false, "go on and show what changes, until ^C")
	f.BoolVar(&o.check, "check", false, "exit 5 if anything is not well")
	f.BoolVar(&o.ignored, "ignored", false, "list what is on this disk and ignored instead, each path with its rule")
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
	show := a.showStatus
	if o.watch {
		show = a.watcher()
	}
	for r := (control.StatusRequest{Linearizable: o.linearizable}); ; {
		st, err := svc.Status(ctx, r)
		if o.watch && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if st, err = o.of(st); err != nil {
			return err
		}
		if err := show(st); err != nil {
			return err
		}
		if o.check {
			return checkStatus(st, a.Now())
		}
		if !o.watch {
			return nil
		}
		r.After = st.Change
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchGap):
		}
	}
}

// of leaves the other folders out, where one was named.
func (o statusOptions) of(st control.Status) (control.Status, error) {
	if o.folder == "" {
		return st, nil
	}
	i := slices.IndexFunc(st.Folders, func(f control.FolderStatus) bool { return f.Name == o.folder })
	if i < 0 {
		return st, control.Errorf(control.CodeFailed, "status: folder %q is not on this node", o.folder).WithHint("see `lockstep folder ls`; `lockstep why PATH` is for a path")
	}
	st.Folders, st.Elsewhere = st.Folders[i:i+1], nil
	return st, nil
}

// watcher returns what shows one state after the other: drawn over on a terminal, a
// line for each folder whose phrase has changed elsewhere.
func (a *app) watcher() func(control.Status) error {
	if a.json {
		return a.showStatus
	}
	if a.colour(a.Out) {
		return func(st control.Status) error {
			var sb strings.Builder
			sb.WriteString("\x1b[H\x1b[2J") // home, clear
			if err := writeStatus(&sb, st, true); err != nil {
				return err
			}
			_, err := io.WriteString(a.Out, sb.String())
			return err
		}
	}
	last := make(map[string]string)
	return func(st control.Status) error {
		next := make(map[string]string)
		tell := func(name, key, line string) error {
			if next[name] = key; last[name] == key {
				return nil
			}
			_, err := fmt.Fprintf(a.Out, "%s  %s  %s\n", when(a.Now()), name, line)
			return err
		}
		tolerance := control.Tolerance(st.Cluster)
		if err := tell("cluster", tolerance, tolerance); err != nil {
			return err
		}
		for _, f := range st.Folders {
			if err := tell(f.Name+":", control.Steady(f, st.Cluster), printable(f.Summary)); err != nil {
				return err
			}
		}
		for name := range last {
			if _, there := next[name]; !there {
				fmt.Fprintf(a.Out, "%s  %s  not on this node any more\n", when(a.Now()), name)
			}
		}
		last = next
		return nil
	}
}

func (a *app) showStatus(st control.Status) error {
	if a.json {
		return printJSON(a.Out, st)
	}
	var sb strings.Builder
	if err := writeStatus(&sb, st, a.colour(a.Out)); err != nil {
		return err
	}
	_, err := io.WriteString(a.Out, sb.String())
	return err
}

func writeStatus(w *strings.Builder, st control.Status, colour bool) error {
	fmt.Fprintf(w, "node     %s  %s  %s  up %s  version %s\n", st.Node.Name, short(st.Node.ID), st.Node.Address,
		seconds(st.Node.UptimeS), st.Node.Version)
	leader := st.Cluster.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(w, "cluster  %s  leader %s  %s\n", short(st.Cluster.ID), leader, control.Tolerance(st.Cluster))
	if st.Cluster.Notice != "" {
		wrapPhrase(w, "         ", 9, oneLine(st.Cluster.Notice))
	}
	writeFreshness(w, "         ", st.Freshness)

	fmt.Fprintln(w)
	if err := nodeTable(st.Cluster.Nodes, colour).print(w); err != nil {
		return err
	}
	if len(st.Folders) == 0 && len(st.Elsewhere) == 0 {
		fmt.Fprintln(w, "\nno folders: add one with `lockstep folder add PATH`")
	}
	for _, f := range st.Folders {
		var phrase strings.Builder
		wrapPhrase(&phrase, "", len(f.Name)+2, printable(f.Summary))
		text := strings.TrimSuffix(phrase.String(), "\n")
		if colour {
			text = paintSummary(f, text)
		}
		fmt.Fprintf(w, "\n%s  %s\n", f.Name, text)
		indent := strings.Repeat(" ", len(f.Name)+2)
		fmt.Fprintf(w, "%s%s, %s at %s\n", indent, plural(f.Files, "file", "files"), size(int64(f.Bytes)), printable(f.Path))
		if f.Only != "" {
			fmt.Fprintf(w, "%sthis node keeps only=%s\n", indent, printable(f.Only))
		}
		writeTroubles(w, f)
	}
	if len(st.Elsewhere) > 0 {
		fmt.Fprintf(w, "\nnot on this node: %s; to sync one here too: lockstep up --name %s PATH\n", strings.Join(st.Elsewhere, ", "), st.Elsewhere[0])
	}
	return nil
}

// writeTroubles lists what is not well with a folder, each with its reason.
func writeTroubles(w *strings.Builder, f control.FolderStatus) {
	if len(f.Blocked) > 0 {
		fmt.Fprintf(w, "\nblocked in %s (`lockstep why PATH` says more):\n", f.Name)
		printPaths(w, f.Blocked)
	}
	for _, h := range f.Held {
		wrapPhrase(w, "\n", 2, fmt.Sprintf("held in %s: %s (%s deletions, since %s)", f.Name, oneLine(h.Reason), count(uint64(h.Deletes)), when(h.Since)))
	}
	if len(f.Held) > 0 {
		wrapPhrase(w, "  ", 2, fmt.Sprintf("`lockstep folder allow %s` lets them go, `lockstep folder revert %s` puts the files back", f.Name, f.Name))
	}
	if len(f.Kept) > 0 {
		wrapPhrase(w, "\n", 2, fmt.Sprintf("kept in %s, which only receives (`lockstep folder revert %s` puts the committed versions back):", f.Name, f.Name))
		printPaths(w, f.Kept)
	}
	if f.NotBrought > 0 {
		fmt.Fprintf(w, "\n%s only sends: %s changed elsewhere and not here\n", f.Name, plural(uint64(f.NotBrought), "path was", "paths were"))
	}
	if f.UnprotectedBytes > 0 {
		wrapPhrase(w, "\n", 2, fmt.Sprintf("%s: %s are committed and on this disk only: not yet packed here, nor on another member", f.Name, size(f.UnprotectedBytes)))
	}
}

// wrapPhrase is wrap that leaves commands in one piece, so that they can be copied.
func wrapPhrase(w *strings.Builder, head string, indent int, text string) {
	const space = "\x1f" // stands in no printable text
	parts := strings.Split(text, "`")
	for i := 1; i < len(parts)-1; i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], " ", space)
	}
	var sb strings.Builder
	wrap(&sb, head, indent, strings.Join(parts, "`"))
	w.WriteString(strings.ReplaceAll(sb.String(), space, " "))
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

// paintSummary colours a folder's phrase: green where all is well, red where a
// person has to do something.
func paintSummary(f control.FolderStatus, phrase string) string {
	switch {
	case f.State == control.StateHalted, f.State == control.StateOffline, len(f.Held) > 0:
		return red + phrase + plain
	case f.State != control.StateIdle, len(f.Blocked) > 0, f.ConflictsOpen > 0:
		return yellow + phrase + plain
	}
	return green + phrase + plain
}

// short returns the first eight digits of an ID.
func short(id string) string { return id[:min(8, len(id))] }
