package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// disk is a filesystem in a file, which can be mounted at one place or another.
type disk struct {
	t     *testing.T
	image string
}

func newDisk(t *testing.T, c *harness.Cluster, name string, size string) *disk {
	t.Helper()
	d := &disk{t, filepath.Join(filepath.Dir(filepath.Dir(c.Nodes[0].Home)), name+".img")}
	run(t, "truncate", "-s", size, d.image)
	run(t, "mkfs.ext4", "-q", "-N", "20000", d.image)
	return d
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// mount mounts the disk at dir, on a loop device of its own. It returns the device
// number.
func (d *disk) mount(dir string) uint64 {
	d.t.Helper()
	must(d.t, os.MkdirAll(dir, 0o755))
	run(d.t, "mount", "-o", "loop", d.image, dir)
	d.t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	_ = os.Remove(filepath.Join(dir, "lost+found"))
	var st syscall.Stat_t
	must(d.t, syscall.Stat(dir, &st))
	return uint64(st.Dev)
}

// unmount unmounts as a user does: not lazily. A daemon that is idle must not be in the
// way; what it has begun, a check of the marker say, it may finish.
func (d *disk) unmount(ctx context.Context, dir string) {
	d.t.Helper()
	tries := 0
	must(d.t, harness.Until(ctx, "unmount "+dir, func() error {
		tries++
		return syscall.Unmount(dir, 0)
	}))
	if tries > 1 {
		d.t.Logf("unmounted at try %d", tries)
	}
	if tries > 20 {
		d.t.Errorf("the disk could be unmounted at try %d only", tries)
	}
}

// halted waits until the folder has halted with a reason that says all of that.
func halted(t *testing.T, ctx context.Context, n *harness.Node, say ...string) {
	t.Helper()
	must(t, harness.Until(ctx, "the folder of "+n.Name+" to halt", func() error {
		f, err := n.Folder(ctx, folderName)
		if err != nil {
			return err
		}
		if f.State != "halted" {
			return fmt.Errorf("state %s", f.State)
		}
		for _, s := range say {
			if !strings.Contains(f.Error, s) {
				return fmt.Errorf("error %q does not say %q", f.Error, s)
			}
		}
		return nil
	}))
	r := lockstep(t, ctx, n, 1, "wait", folderName, "--timeout", "10s")
	for _, s := range say {
		if !strings.Contains(r.Stderr, s) {
			t.Errorf("wait does not say %q: %s", s, r.Stderr)
		}
	}
}

// A disk with a folder is unmounted under the daemon, is edited elsewhere, and comes
// back; meanwhile other disks are mounted in its place. The folder halts each time,
// says why, deletes nothing anywhere, and goes on by itself.
func TestUnmountedDisk(t *testing.T) {
	long(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting needs root")
	}
	ctx := within(t, 4*time.Minute)
	files := envInt(t, "LOCKSTEP_MOUNTED", 11500)
	c := newCluster(t)
	for _, name := range []string{"a", "b"} {
		_, err := c.Add(ctx, name)
		must(t, err)
	}
	a, b := c.Nodes[0], c.Nodes[1]
	ours := newDisk(t, c, "ours", "200M")
	first := ours.mount(a.Tree)
	for i := range files {
		writeFile(t, a, fmt.Sprintf("d%03d/f%05d", i%200, i), fmt.Appendf(nil, "file %d", i))
	}
	must(t, c.Share(ctx, folderName))
	everywhere(t, ctx, c, a)
	lockstep(t, ctx, a, 0, "wait", folderName, "--all", "--timeout", "1m")
	want := snapshot(t, b)
	before, err := b.Folder(ctx, folderName)
	must(t, err)

	ours.unmount(ctx, a.Tree)
	begun := time.Now()
	halted(t, ctx, a, "not mounted", a.Tree)
	t.Logf("halted after %.2f s", time.Since(begun).Seconds())

	// A daemon that starts without the disk takes nothing for deleted either.
	must(t, a.Kill())
	must(t, a.Start(ctx))
	halted(t, ctx, a, "not mounted", a.Tree)

	// Elsewhere the disk is edited; on the other node, too.
	elsewhere := filepath.Join(filepath.Dir(a.Home), "elsewhere")
	decoy := newDisk(t, c, "decoy", "8M") // takes the loop device that ours had
	decoy.mount(filepath.Join(filepath.Dir(a.Home), "decoy"))
	ours.mount(elsewhere)
	must(t, os.WriteFile(filepath.Join(elsewhere, "d000/f00000"), []byte("edited elsewhere"), 0o644))
	must(t, os.WriteFile(filepath.Join(elsewhere, "new elsewhere"), []byte("new"), 0o644))
	must(t, os.Remove(filepath.Join(elsewhere, "d001/f00001")))
	ours.unmount(ctx, elsewhere)
	writeFile(t, b, "from b", []byte("1"))
	lockstep(t, ctx, b, 0, "wait", folderName, "--timeout", "20s")
	if r := lockstep(t, ctx, b, 1, "wait", folderName, "--all", "--timeout", "1m"); !strings.Contains(r.Stderr, "node a") || !strings.Contains(r.Stderr, "halted") {
		t.Errorf("wait --all on the other node: %s", r.Stderr)
	}

	// Other disks in its place: one without a marker, one with another folder's.
	other := newDisk(t, c, "other", "8M")
	other.mount(a.Tree)
	halted(t, ctx, a, a.Tree, "no folder's marker")
	other.unmount(ctx, a.Tree)
	other.mount(elsewhere)
	must(t, os.Mkdir(filepath.Join(elsewhere, id.ReservedName), 0o700))
	must(t, os.WriteFile(filepath.Join(elsewhere, id.ReservedName, "folder"), []byte(strings.Repeat("ab", 16)+"\n"), 0o600))
	other.unmount(ctx, elsewhere)
	other.mount(a.Tree)
	halted(t, ctx, a, a.Tree, "holds another folder")
	if got, err := os.ReadDir(a.Tree); err != nil || len(got) != 1 {
		t.Errorf("on the other disk: %v, %v", got, err)
	}
	other.unmount(ctx, a.Tree)

	after := snapshot(t, b)
	delete(after, "from b")
	if d := harness.Diff(want, after); len(d) > 0 {
		t.Fatalf("while the disk was away the other node's changed: %s", harness.Summary(d))
	}
	if f, err := b.Folder(ctx, folderName); err != nil || f.HeadRevision != before.HeadRevision+1 {
		t.Errorf("revision %d, was %d: %v", f.HeadRevision, before.HeadRevision, err)
	}

	if dev := ours.mount(a.Tree); dev == first {
		t.Logf("the disk has the device number that it had: %#x", dev)
	}
	begun = time.Now()
	must(t, harness.Until(ctx, "the edits made elsewhere to arrive", func() error {
		got, err := harness.Snapshot(b.Tree)
		if err != nil {
			return err
		}
		if _, there := got["d001/f00001"]; there || got["new elsewhere"].Size != 3 || got["d000/f00000"].Size != int64(len("edited elsewhere")) {
			return fmt.Errorf("not all is there yet")
		}
		if len(got) != len(want)+1 {
			return fmt.Errorf("%d paths, want %d", len(got), len(want)+1)
		}
		return nil
	}))
	t.Logf("resumed, and equal after %.2f s", time.Since(begun).Seconds())
	must(t, c.WaitEqual(ctx))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all", "--timeout", "1m")
	if f, err := a.Folder(ctx, folderName); err != nil || f.State != "idle" || f.Error != "" || f.ConflictsOpen != 0 {
		t.Errorf("in the end: %+v, %v", f, err)
	}
	if got := snapshot(t, a); got["from b"].Size != 1 {
		t.Error("what came meanwhile is not on the disk")
	}
	ours.unmount(ctx, a.Tree) // idle again: not in the way
}
