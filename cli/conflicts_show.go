package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/textdiff"
)

func newConflictsShowCommand(a *app) *cobra.Command {
	var one string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a conflict: its base, both sides, and how they differ",
		Long: `Shows the version that both sides were made from (base), the one that is at the
path (current), the one that lost (other), and text diffs between them.
ID is FOLDER#n, or n where this node has one folder only.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch one {
			case "", "base", control.KeepCurrent, control.KeepOther:
				return runConflictsShow(cmd.Context(), a, args[0], one)
			}
			return badUsage("conflicts show: --side %q is none of base, current, other", one)
		},
	}
	cmd.Flags().StringVar(&one, "side", "", "write only the bytes of one `SIDE`: base, current or other")
	return cmd
}

// conflictDiff is how one side differs from another.
type conflictDiff struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Text is a unified diff, "" where Note says why there is none.
	Text string `json:"text"`
	Note string `json:"note"`
}

func runConflictsShow(ctx context.Context, a *app, id, one string) error {
	if a.json && one != "" {
		return badUsage("conflicts show --side: prints the bytes of a file, which have no JSON form")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	r, err := a.conflictID(ctx, svc, "conflicts show", id)
	if err != nil {
		return err
	}
	d, err := svc.ConflictShow(ctx, r)
	if err != nil {
		return err
	}
	sides := []*conflictText{{name: "base", side: d.Base}, {name: "current", side: d.Current}, {name: "other", side: d.Other}}
	if one != "" {
		for _, s := range sides {
			if s.name == one {
				return s.write(ctx, a, svc, d)
			}
		}
	}
	diffs, err := conflictDiffs(ctx, svc, d, sides)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.Out, struct {
			control.ConflictDetail
			Diffs []conflictDiff `json:"diffs"`
		}{d, diffs})
	}
	return writeConflict(a, d, sides, diffs)
}

// conflictText is one side with its content, read when it is first asked for.
type conflictText struct {
	name string
	side *control.ConflictSide
	read bool
	text []byte
	note string // why there is no text
}

// cat asks for the side's bytes.
func (s *conflictText) cat(ctx context.Context, svc control.Service, d control.ConflictDetail, start func(control.CatInfo) io.Writer) error {
	p, err := control.DecodePath(s.side.Path, s.side.PathB64)
	if err != nil {
		return err
	}
	return svc.Cat(ctx, control.CatRequest{
		Target: control.Target{Folder: d.Folder, Rel: control.RawPath(p)},
		Rev:    control.Rev{Kind: control.RevNumber, Number: s.side.Revision, Text: fmt.Sprint(s.side.Revision)},
	}, start)
}

// write is `show --side`.
func (s *conflictText) write(ctx context.Context, a *app, svc control.Service, d control.ConflictDetail) error {
	if s.side == nil {
		return errorf("conflicts show %s: it has no %s version", d.ID, s.name)
	}
	started := false
	err := s.cat(ctx, svc, d, func(control.CatInfo) io.Writer {
		started = true
		return a.Out
	})
	if err != nil && started {
		return errorf("conflicts show %s: what was written is not whole: %w", d.ID, err)
	}
	return err
}

// load reads the side's text, or notes why it has none.
func (s *conflictText) load(ctx context.Context, svc control.Service, d control.ConflictDetail) error {
	if s.read {
		return nil
	}
	s.read = true
	switch {
	case s.side == nil:
		s.note = s.name + " is absent"
		return nil
	case s.side.Kind == "symlink":
	case s.side.Kind != "file":
		s.note = fmt.Sprintf("%s is a %s", s.name, s.side.Kind)
		return nil
	case s.side.Size > textdiff.MaxSize:
		s.note = s.name + " is larger than 4 MiB"
		return nil
	}
	var buf bytes.Buffer
	err := s.cat(ctx, svc, d, func(control.CatInfo) io.Writer { return &buf })
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil:
		s.note = s.name + " cannot be read: " + oneLine(err.Error())
		return nil
	case s.side.Kind == "symlink":
		s.text = []byte("symlink to " + buf.String() + "\n")
		return nil
	case !textdiff.IsText(buf.Bytes()):
		s.note = s.name + " is binary"
	}
	s.text = buf.Bytes()
	return nil
}

// label names the side in a diff's two first lines.
func (s *conflictText) label() string {
	return fmt.Sprintf("%s\t%s revision %d by %s", s.name, printable(s.side.Path), s.side.Revision, s.side.Node)
}

// conflictDiffs are base against each side, and the sides against one another.
func conflictDiffs(ctx context.Context, svc control.Service, d control.ConflictDetail, sides []*conflictText) ([]conflictDiff, error) {
	out := []conflictDiff{}
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
		x, y := sides[pair[0]], sides[pair[1]]
		if x.side == nil && (y.side == nil || x.name == "base") {
			continue
		}
		c := conflictDiff{From: x.name, To: y.name}
		if x.side != nil && y.side != nil && x.side.Content != "" && x.side.Content == y.side.Content {
			c.Note = "the same content"
			out = append(out, c)
			continue
		}
		for _, s := range []*conflictText{x, y} {
			if err := s.load(ctx, svc, d); err != nil {
				return nil, err
			}
			if s.note != "" && c.Note == "" {
				c.Note = s.note
			}
		}
		if c.Note == "" {
			c.Text = textdiff.Unified(x.label(), y.label(), x.text, y.text)
		}
		out = append(out, c)
	}
	return out, nil
}

// writeConflict prints a conflict for people.
func writeConflict(a *app, d control.ConflictDetail, sides []*conflictText, diffs []conflictDiff) error {
	var sb strings.Builder
	fmt.Fprintf(&sb, "%s: %s, %s\n", d.ID, d.Kind, conflictState(d))
	fmt.Fprintf(&sb, "path: %s\n", printable(d.Path))
	switch {
	case d.CopyPath != "" && d.State == "resolved" && d.Resolution != control.KeepBoth:
		fmt.Fprintf(&sb, "copy: %s (gone)\n", printable(d.CopyPath))
	case d.CopyPath != "":
		fmt.Fprintf(&sb, "copy: %s\n", printable(d.CopyPath))
	case d.State != "automatic":
		sb.WriteString("copy: none on any disk (conflicts=history): the other side is in history only\n")
	}
	sb.WriteByte('\n')
	t := newTable("SIDE", "REVISION", "TIME", "NODE", "KIND", "SIZE")
	t.right = map[int]bool{1: true, 5: true}
	for _, s := range sides {
		switch {
		case s.side == nil && s.name == "base":
			t.add(s.name, "-", "-", "-", "none", "-")
		case s.side == nil && s.name == "other" && d.Kind == "edit/delete":
			at := "-" // it was dropped, and is in no revision
			if d.LoserRevision > 0 {
				at = fmt.Sprint(d.LoserRevision)
			}
			t.add(s.name, at, "-", cutRight(d.LoserNode, 20), "deleted", "-")
		case s.side == nil:
			t.add(s.name, "-", "-", "-", "absent", "-")
		default:
			length := size(s.side.Size)
			if s.side.Kind == "directory" {
				length = "-"
			}
			t.add(s.name, fmt.Sprint(s.side.Revision), when(s.side.Time), cutRight(s.side.Node, 20), s.side.Kind, length)
		}
	}
	if err := t.print(&sb); err != nil {
		return err
	}
	for _, x := range diffs {
		fmt.Fprintf(&sb, "\nfrom %s to %s:", x.From, x.To)
		if x.Note != "" {
			sb.WriteString(" " + x.Note + "\n")
			continue
		}
		sb.WriteByte('\n')
		writeDiff(&sb, x.Text, a.terminal(a.Out))
	}
	if d.State == "open" {
		fmt.Fprintf(&sb, "\none side's bytes: lockstep conflicts show %s --side base|current|other\n", d.ID)
		fmt.Fprintf(&sb, "resolve: lockstep conflicts resolve %s --keep current|other|both\n      or lockstep conflicts resolve %s --with FILE\n", d.ID, d.ID)
	}
	_, err := io.WriteString(a.Out, sb.String())
	return err
}

func conflictState(d control.ConflictDetail) string {
	switch d.State {
	case "open":
		return "open since " + when(d.Time)
	case "automatic":
		return "decided by rule, " + when(d.Time)
	}
	return fmt.Sprintf("resolved by %s at revision %d: %s", d.ResolvedBy, d.Resolved, d.Resolution)
}

// writeDiff writes a diff; on a terminal, control characters that a file has are
// escaped, for they would be carried out there.
func writeDiff(sb *strings.Builder, text string, terminal bool) {
	if !terminal {
		sb.WriteString(text)
		return
	}
	for line := range strings.Lines(text) {
		body, end := strings.CutSuffix(line, "\n")
		for i, part := range strings.Split(body, "\t") {
			if i > 0 {
				sb.WriteByte('\t')
			}
			sb.WriteString(printable(part))
		}
		if end {
			sb.WriteByte('\n')
		}
	}
}
