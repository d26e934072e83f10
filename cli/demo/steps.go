package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

func (r *run) start(ctx context.Context) (string, error) {
	var err error
	for _, n := range []struct {
		name string
		node **harness.Node
	}{{"a", &r.a}, {"b", &r.b}, {"c", &r.c}} {
		if *n.node, err = r.cluster.Add(ctx, n.name); err != nil {
			return "", err
		}
		r.note("%s runs: process %d, home %s", n.name, (*n.node).PID(), (*n.node).Home)
	}
	if err := r.cluster.WaitVoters(ctx, 3); err != nil {
		return "", err
	}
	return "three voters", nil
}

func (r *run) sync(ctx context.Context) (string, error) {
	if err := r.fill(); err != nil {
		return "", err
	}
	begin := time.Now()
	if err := r.cluster.Share(ctx, folderName); err != nil {
		return "", err
	}
	files := r.want.Find(func(_ string, e harness.Entry) bool { return e.Kind == "file" })
	detail, err := r.everywhere(ctx, begin)
	if err != nil {
		return "", err
	}
	r.original = r.want
	if r.firstRev, err = r.settled(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files, %s %s", len(files), humanize.IBytes(uint64(r.want.Bytes())), detail), nil
}

// fill puts the tree into a's directory.
func (r *run) fill() error {
	if r.opts.Dir == "" {
		if err := ownTree(r.a.Tree); err != nil {
			return err
		}
	} else {
		left, err := harness.CopyTree(r.a.Tree, r.opts.Dir)
		if err != nil {
			return fmt.Errorf("copy %q: %w", r.opts.Dir, err)
		}
		if len(left) > 0 {
			r.note("left out, not a readable file, directory or symlink: %s", harness.Summary(left))
		}
	}
	t, err := harness.Snapshot(r.a.Tree)
	if err != nil {
		return err
	}
	var made bool
	if r.place, made, err = choose(r.a.Tree, t); err != nil {
		return err
	}
	if made {
		r.note("added a few small files of the demo's own, for the steps that follow")
	}
	r.want, err = harness.Snapshot(r.a.Tree)
	return err
}

// settled waits until every node's disk is at the head, and returns its revision.
func (r *run) settled(ctx context.Context) (rev uint64, err error) {
	err = harness.Until(ctx, "one revision on all nodes", func() error {
		rev = 0
		for _, n := range r.cluster.Nodes {
			f, err := n.Folder(ctx, folderName)
			if err != nil {
				return err
			}
			if rev == 0 {
				rev = f.HeadRevision
			}
			if f.HeadRevision != rev || f.AppliedRevision != rev || f.LocalChanges != 0 || rev == 0 {
				return fmt.Errorf("%s: head %d, on disk %d, %d local changes; first node's head %d", n.Name,
					f.HeadRevision, f.AppliedRevision, f.LocalChanges, rev)
			}
		}
		return nil
	})
	return rev, err
}

// change runs do on n's tree, takes what it made as what every disk has to hold,
// and waits for that.
func (r *run) change(ctx context.Context, n *harness.Node, do func(root string) error) (string, error) {
	begin := time.Now()
	if err := do(n.Tree); err != nil {
		return "", err
	}
	var err error
	if r.want, err = harness.Snapshot(n.Tree); err != nil {
		return "", err
	}
	return r.everywhere(ctx, begin)
}

func (r *run) edit(ctx context.Context) (string, error) {
	r.note("b writes to %s", r.place.edited)
	return r.change(ctx, r.b, func(root string) error {
		return appendTo(filepath.Join(root, filepath.FromSlash(r.place.edited)), "edited on b\n")
	})
}

func (r *run) remove(ctx context.Context) (string, error) {
	r.note("c removes %s", r.place.removed)
	detail, err := r.change(ctx, r.c, func(root string) error {
		return os.Remove(filepath.Join(root, filepath.FromSlash(r.place.removed)))
	})
	if _, there := r.want[r.place.removed]; err == nil && there {
		return "", fmt.Errorf("%s is still there", r.place.removed)
	}
	return detail, err
}

func (r *run) rename(ctx context.Context) (string, error) {
	r.note("a renames %s to %s", r.place.dir, r.place.newDir)
	in := r.b.WireIn() + r.c.WireIn()
	detail, err := r.change(ctx, r.a, func(root string) error {
		return os.Rename(filepath.Join(root, filepath.FromSlash(r.place.dir)), filepath.Join(root, filepath.FromSlash(r.place.newDir)))
	})
	sent := r.b.WireIn() + r.c.WireIn() - in
	return fmt.Sprintf("%s, %s on the wire to b and c", detail, humanize.IBytes(uint64(sent))), err
}

func (r *run) conflict(ctx context.Context) (string, error) {
	name := filepath.FromSlash(r.place.fought)
	ours, theirs := []byte("this is a's side\n"), []byte("and this is c's side\n")
	err := r.c.Cut(harness.Reset)
	cut := err == nil
	switch {
	case cut:
		r.note("c is cut off")
	case errors.Is(err, harness.ErrUnsupported):
		r.note("c is stopped: this system does not let one process be cut off")
		if err := r.c.Stop(ctx); err != nil {
			return "", err
		}
	default:
		return "", err
	}
	if err := os.WriteFile(filepath.Join(r.c.Tree, name), theirs, 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(r.a.Tree, name), ours, 0o644); err != nil {
		return "", err
	}
	r.note("a and c both write %s", r.place.fought)
	want, err := harness.Snapshot(r.a.Tree)
	if err != nil {
		return "", err
	}
	if err := harness.WaitTree(ctx, want, r.a, r.b); err != nil {
		return "", fmt.Errorf("a and b go on without c: %w", err)
	}
	if got, err := os.ReadFile(filepath.Join(r.c.Tree, name)); err != nil || !bytes.Equal(got, theirs) {
		return "", fmt.Errorf("c's own edit was overwritten while it was cut off: %q, %w", got, err)
	}
	r.note("c is back")
	begin := time.Now()
	if cut {
		r.c.Heal()
	} else if err := r.c.Start(ctx); err != nil {
		return "", err
	}
	if err := r.bothKept(ctx, ours, theirs); err != nil {
		return "", err
	}
	after := took(begin)
	if err := r.listed(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("both sides on all three disks after %s, and listed", after), nil
}

// bothKept waits until all disks are equal and hold both sides of the conflict.
func (r *run) bothKept(ctx context.Context, ours, theirs []byte) error {
	sums := [2][32]byte{harness.Sum(ours), harness.Sum(theirs)}
	return harness.Until(ctx, "both sides on every disk", func() error {
		var first harness.Tree
		for _, n := range r.cluster.Nodes {
			t, err := harness.Snapshot(n.Tree)
			if err != nil {
				return err
			}
			var have [2]int
			for i, sum := range sums {
				have[i] = len(t.Find(func(_ string, e harness.Entry) bool { return e.Kind == "file" && e.Sum == sum }))
			}
			if have != [2]int{1, 1} {
				return fmt.Errorf("%s holds a's side %d times and c's side %d times", n.Name, have[0], have[1])
			}
			if first == nil {
				first = t
			} else if d := harness.Diff(first, t); len(d) > 0 {
				return fmt.Errorf("a against %s: %s", n.Name, harness.Summary(d))
			}
		}
		r.want = first
		return nil
	})
}

// listed checks that `conflicts` names the file on every node, with its copy.
func (r *run) listed(ctx context.Context) error {
	for _, n := range r.cluster.Nodes {
		res, err := r.command(ctx, n, "conflicts", "--json")
		if err != nil {
			return err
		}
		var list []control.Conflict
		if err := json.Unmarshal([]byte(res.Stdout), &list); err != nil {
			return fmt.Errorf("conflicts --json: %w", err)
		}
		i := slices.IndexFunc(list, func(c control.Conflict) bool { return c.Path == r.place.fought && c.State == "open" })
		if i < 0 || len(list) != 1 {
			return fmt.Errorf("%s lists %d conflicts, want the one of %s", n.Name, len(list), r.place.fought)
		}
		if _, there := r.want[list[i].CopyPath]; !there {
			return fmt.Errorf("%s lists the copy %q, which is not on the disks", n.Name, list[i].CopyPath)
		}
		if n == r.a {
			r.note("  %s: %s, copy %s", list[i].ID, list[i].Path, list[i].CopyPath)
		}
	}
	return nil
}

func (r *run) rollback(ctx context.Context) (string, error) {
	return r.rollTo(ctx, r.firstRev, r.original)
}

func (r *run) undo(ctx context.Context) (string, error) {
	rev, err := r.settled(ctx)
	if err != nil {
		return "", err
	}
	if len(harness.Diff(r.rolledFrom, r.want)) == 0 {
		return "", errors.New("the rollback changed nothing, so there is nothing to undo")
	}
	return r.rollTo(ctx, rev-1, r.rolledFrom)
}

// rollTo rolls the folder back to rev, and expects want on every disk and one new
// revision.
func (r *run) rollTo(ctx context.Context, rev uint64, want harness.Tree) (string, error) {
	head, err := r.settled(ctx)
	if err != nil {
		return "", err
	}
	r.rolledFrom = r.want
	begin := time.Now()
	if _, err := r.command(ctx, r.b, "rollback", fmt.Sprintf("%s@%d", folderName, rev)); err != nil {
		return "", err
	}
	r.want = want
	detail, err := r.everywhere(ctx, begin)
	if err != nil {
		return "", err
	}
	now, err := r.settled(ctx)
	if err != nil {
		return "", err
	}
	if now != head+1 {
		return "", fmt.Errorf("the head went from revision %d to %d: want exactly one more", head, now)
	}
	return fmt.Sprintf("exact %s, as one revision: %d", detail, now), nil
}

// The file that c is killed over: 64 MiB at 24 MiB a second take long enough to be
// sure of the middle, and little enough of anybody's time.
const (
	killSize = 64 << 20
	killRate = 24 << 20
)

func (r *run) kill(ctx context.Context) (string, error) {
	const name = "large.bin"
	limited := r.c.Limit(killRate) == nil
	before := r.received(ctx)
	if err := writeRandom(filepath.Join(r.a.Tree, name), killSize); err != nil {
		return "", err
	}
	var got int64
	err := harness.Until(ctx, "the transfer to be in its middle", func() error {
		if got = r.received(ctx) - before; got < killSize/8 {
			return fmt.Errorf("c has received %d bytes", got)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if err := r.c.Kill(); err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(r.c.Tree, name)); !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("c was to be killed in mid-transfer, but has the file already (%w)", err)
	}
	r.note("c is dead, with %s of %s received; its disk shows nothing of the file", humanize.IBytes(uint64(got)), humanize.IBytes(killSize))
	if r.want, err = harness.Snapshot(r.a.Tree); err != nil {
		return "", err
	}
	if err := harness.WaitTree(ctx, r.want, r.a, r.b); err != nil {
		return "", fmt.Errorf("a and b go on without c: %w", err)
	}
	if limited {
		if err := r.c.Limit(0); err != nil {
			return "", err
		}
	}
	begin := time.Now()
	if err := r.c.Start(ctx); err != nil {
		return "", err
	}
	r.note("c runs again: process %d", r.c.PID())
	return r.everywhere(ctx, begin)
}

// received is how many bytes have gone to c: what the proxies carried, or where
// they cannot tell, what c says.
func (r *run) received(ctx context.Context) int64 {
	if n := r.c.WireIn(); n > 0 {
		return n
	}
	f, err := r.c.Folder(ctx, folderName)
	if err != nil {
		return 0
	}
	return f.WireBytesReceived
}

func (r *run) history(ctx context.Context) (string, error) {
	rev, err := r.settled(ctx)
	if err != nil {
		return "", err
	}
	var hash string
	for _, n := range r.cluster.Nodes {
		f, err := n.Folder(ctx, folderName)
		if err != nil {
			return "", err
		}
		if hash == "" {
			hash = f.HistoryHash
		}
		if f.HistoryHash != hash || hash == "" {
			return "", fmt.Errorf("history hash %q on a, %q on %s", hash, f.HistoryHash, n.Name)
		}
	}
	res, err := r.command(ctx, r.c, "log", folderName)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimRight(res.Stdout, "\n"), "\n")
	for _, l := range lines[:min(len(lines), 8)] {
		r.note("  %s", l)
	}
	if err := harness.WaitTree(ctx, r.want, r.cluster.Nodes...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d revisions, hash %s…", rev, hash[:min(16, len(hash))]), nil
}

func appendTo(p, text string) error {
	f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// writeRandom writes bytes that neither compress nor are known already.
func writeRandom(p string, size int64) error {
	f, err := os.Create(p)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, size)
	return errors.Join(err, f.Close())
}
