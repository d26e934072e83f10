package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// What status, why and events say while a cluster loses its quorum and gets it back.
func TestStatusAnswers(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	c := shared(t, ctx, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	writeFile(t, a, "x", []byte("1"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all")
	says(t, ctx, a, "in sync at revision 1 on 3 of 3 nodes")
	lockstep(t, ctx, a, 0, "status", "--check")
	var last control.Event
	must(t, harness.Until(ctx, "the event of the commit", func() error {
		seen := seenEvents(t, ctx, a, "0")
		last = seen[len(seen)-1]
		if !slices.ContainsFunc(seen, func(e control.Event) bool { return e.Kind == "commit" && e.Folder == folderName && e.Revision == 1 }) {
			return fmt.Errorf("only %+v", seen)
		}
		return nil
	}))

	must(t, b.Kill())
	must(t, c.Nodes[2].Kill())
	// Nobody writes meanwhile: the loss alone is an event.
	must(t, harness.Until(ctx, "the event of the lost quorum", func() error {
		for _, e := range seenEvents(t, ctx, a, fmt.Sprintf("%s:%d", last.Epoch, last.Seq)) {
			if e.Seq <= last.Seq {
				t.Errorf("resumed after %d with %+v", last.Seq, e)
			}
			if e.Kind == "quorum" && e.Detail == "no quorum" {
				return nil
			}
		}
		return fmt.Errorf("no such event")
	}))
	writeFile(t, a, "x", []byte("2"))
	says(t, ctx, a, "1 change here waits for b (last seen ")
	r := lockstep(t, ctx, a, 5, "status", "--check")
	if !strings.Contains(r.Stderr, "no quorum") || strings.Contains(r.Stdout, "since its start") {
		t.Errorf("check: %s%s", r.Stdout, r.Stderr)
	}
	w := decode[control.WhyResult](t, lockstep(t, ctx, a, 0, "why", folderName+":x", "--json").Stdout)
	if w.Step != "queued" || w.Revision != 1 || !strings.Contains(w.Reason, "b (last seen ") {
		t.Errorf("why: %+v", w)
	}

	must(t, b.Start(ctx))
	says(t, ctx, a, "in sync at revision 2 on 2 of 3 nodes (c was last seen ")
	lockstep(t, ctx, a, 0, "status", "--check")
	if out := lockstep(t, ctx, b, 0, "why", folderName+":x").Stdout; out != folderName+":x  revision 2 by a is on this disk\n" {
		t.Errorf("why: %q", out)
	}
	// Another daemon, other numbers: who resumes is told.
	got := seenEvents(t, ctx, b, fmt.Sprintf("%s:%d", last.Epoch, last.Seq))
	if len(got) == 0 || got[0].Kind != "gap" || got[0].Epoch == last.Epoch {
		t.Errorf("resumed in another epoch: %+v", got)
	}
	whyReceiving(t, ctx, a, b)
}

// whyReceiving: why says how far a large file is on its way, and from whom it comes.
func whyReceiving(t *testing.T, ctx context.Context, from, to *harness.Node) {
	t.Helper()
	if err := to.Limit(4 << 20); err != nil {
		t.Logf("not looked at while it comes: %v", err)
		return
	}
	const size = 24 << 20
	must(t, writeRandom(at(from, "big"), nil, size))
	must(t, harness.Until(ctx, "the file on its way", func() error {
		w := decode[control.WhyResult](t, lockstep(t, ctx, to, 0, "why", folderName+":big", "--json").Stdout)
		if w.Step != "receiving" || w.SizeBytes != size || w.DoneBytes == 0 || w.DoneBytes >= size || !slices.Equal(w.Sources, []string{from.Name}) || w.Since == nil {
			return fmt.Errorf("why: %+v", w.WhyPath)
		}
		return nil
	}))
	out := lockstep(t, ctx, to, 0, "why", folderName+":big").Stdout
	if !strings.Contains(out, "is being received from "+from.Name+": ") || !strings.Contains(out, " of 24 MiB") {
		t.Errorf("why: %q", out)
	}
	must(t, to.Limit(0))
	lockstep(t, ctx, from, 0, "wait", folderName, "--all")
	// It may be read once more first, where nothing proved that nobody wrote to it.
	must(t, harness.Until(ctx, "the file in its place", func() error {
		if out := lockstep(t, ctx, to, 0, "why", folderName+":big").Stdout; !strings.HasSuffix(out, " by "+from.Name+" is on this disk\n") {
			return fmt.Errorf("why: %q", out)
		}
		return nil
	}))
}

// says waits until the phrase of the folder begins with what is wanted.
func says(t *testing.T, ctx context.Context, n *harness.Node, want string) {
	t.Helper()
	must(t, harness.Until(ctx, fmt.Sprintf("%q", want), func() error {
		f, err := n.Folder(ctx, folderName)
		if err == nil && !strings.HasPrefix(f.Summary, want) {
			err = fmt.Errorf("%s says %q", n.Name, f.Summary)
		}
		return err
	}))
}

// seenEvents are the events that a node has now, after one.
func seenEvents(t *testing.T, ctx context.Context, n *harness.Node, since string) (out []control.Event) {
	t.Helper()
	for line := range strings.Lines(lockstep(t, ctx, n, 0, "events", "--since", since, "--no-follow").Stdout) {
		var e control.Event
		must(t, json.Unmarshal([]byte(line), &e))
		out = append(out, e)
	}
	return out
}
