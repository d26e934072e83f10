package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// A mount point inside a folder is blocked and never entered; what was mounted
// away is not taken for deleted.
func TestMountPointIsBlocked(t *testing.T) {
	long(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting needs root")
	}
	ctx := within(t, time.Minute)
	c := shared(t, ctx, 2)
	a := c.Nodes[0]
	writeFile(t, a, "disk/under", []byte("below the mount point"))
	everywhere(t, ctx, c, a)
	must(t, syscall.Mount("tmpfs", at(a, "disk"), "tmpfs", 0, "size=1m"))
	defer syscall.Unmount(at(a, "disk"), syscall.MNT_DETACH)
	writeFile(t, a, "disk/inside", []byte("on the other filesystem"))
	writeFile(t, a, "outside", []byte("1"))
	lockstep(t, ctx, a, 0, "wait", folderName, "--all", "--timeout", "20s") // on the other disk too, which is looked at next
	want := snapshot(t, c.Nodes[1])
	if _, ok := want["disk/inside"]; ok {
		t.Error("a file of another filesystem was synced")
	}
	if _, ok := want["disk/under"]; !ok {
		t.Error("what the mount hides was deleted on the other node")
	}
	f, err := a.Folder(ctx, folderName)
	must(t, err)
	if len(f.Blocked) == 0 || !strings.Contains(f.Blocked[0].Reason, "mount") {
		t.Errorf("blocked: %+v", f.Blocked)
	}
	must(t, syscall.Unmount(at(a, "disk"), 0))
	must(t, harness.WaitTree(ctx, want, a))
}
