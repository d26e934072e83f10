package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// A full disk under the home halts the folder, or at worst ends the daemon, says what
// is full, and loses nothing: what was written meanwhile is committed once there is
// space again, with nothing repaired by hand.
func TestFullHome(t *testing.T) {
	long(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting needs root")
	}
	for _, left := range []int64{8 << 20, 0} { // below what a node leaves free, and nothing
		ctx := within(t, 3*time.Minute)
		c := shared(t, ctx, 2)
		a := c.Nodes[0]
		writeFile(t, a, "before", []byte("1"))
		everywhere(t, ctx, c, a)
		must(t, a.Stop(ctx))
		must(t, os.Rename(a.Home, a.Home+".was"))
		must(t, os.Mkdir(a.Home, 0o700))
		must(t, syscall.Mount("tmpfs", a.Home, "tmpfs", 0, "size=96m"))
		defer syscall.Unmount(a.Home, syscall.MNT_DETACH)
		must(t, exec.Command("cp", "-a", a.Home+".was/.", a.Home).Run())
		must(t, a.Start(ctx))
		everywhere(t, ctx, c, a)

		fill := filepath.Join(a.Home, "fill")
		var st syscall.Statfs_t
		must(t, syscall.Statfs(a.Home, &st))
		room := int64(st.Bavail)*st.Bsize - left
		out, err := os.Create(fill)
		must(t, err)
		if _, err := io.CopyN(out, zeros{}, room); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		must(t, out.Close())
		for i := range 40 { // 20 MiB that do not compress
			b := make([]byte, 512<<10)
			rand.Read(b)
			writeFile(t, a, fmt.Sprint("while full/", i), b)
		}
		var ended error
		must(t, harness.Until(ctx, "the folder to halt, or the daemon to end", func() error {
			f, err := a.Folder(ctx, folderName)
			if err != nil {
				ended = err
				return nil
			}
			if f.State != "halted" || !strings.Contains(f.Error, "full") && !strings.Contains(f.Error, "no space") {
				return fmt.Errorf("state %s, error %q", f.State, f.Error)
			}
			return nil
		}))
		t.Logf("%d bytes left: halted, or ended: %v", left, ended)
		must(t, os.Remove(fill))
		if ended != nil {
			must(t, a.Kill()) // it is dead; this collects it
			must(t, a.Start(ctx))
		}
		everywhere(t, ctx, c, a)
	}
}

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
