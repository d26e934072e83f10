package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

// TestInotify reads a /proc of its own making.
func TestInotify(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := inotify(proc, os.Getuid(), 7); got != nil {
		t.Errorf("without limits: %+v", got)
	}
	write("sys/fs/inotify/max_user_watches", "8192\n")
	write("sys/fs/inotify/max_user_instances", "128\n")
	for _, pid := range []string{"7", "8", "notes"} { // 7 is the daemon itself
		write(pid+"/fdinfo/3", "pos:\t0\nflags:\t02004000\ninotify wd:2 ino:1\ninotify wd:1 ino:2\n")
		write(pid+"/fdinfo/4", "pos:\t0\n")
		if err := os.MkdirAll(filepath.Join(proc, pid, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		for fd, to := range map[string]string{"3": "anon_inode:inotify", "4": "/dev/null"} {
			if err := os.Symlink(to, filepath.Join(proc, pid, "fd", fd)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := Inotify{MaxWatches: 8192, MaxInstances: 128, OtherWatches: 2, OtherInstances: 1}
	if got := inotify(proc, os.Getuid(), 7); got == nil || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.OtherWatches, want.OtherInstances = 0, 0
	if got := inotify(proc, os.Getuid()+1, 7); got == nil || *got != want {
		t.Errorf("another user's: got %+v, want %+v", got, want)
	}
}

func TestSystem(t *testing.T) {
	t.Parallel()
	l := SystemLimits()
	if l.Files == nil || l.Files.Soft == 0 || l.Files.Open == 0 {
		t.Errorf("files: %+v", l.Files)
	}
	if name, _ := filesystemType(t.TempDir()); name == "" {
		t.Error("the filesystem of a temporary directory has no name")
	}
}

func TestMountLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw`: {"/mnt 2", "ext3"},
		`22 1 0:21 / / rw shared:1 - fuse.sshfs host: rw`:                    {"/", "fuse.sshfs"},
		`nonsense`: {},
		``:         {},
	} {
		at, kind, ok := mountLine(line)
		if at != want[0] || kind != want[1] || ok != (want[1] != "") {
			t.Errorf("%q: got %q, %q, %v", line, at, kind, ok)
		}
	}
}
