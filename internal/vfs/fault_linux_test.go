package vfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// childEnv makes this test binary do one of children and nothing else, in a
// process of its own: another program, another user, another mount namespace.
const childEnv = "LOCKSTEP_VFS_CHILD"

var children = map[string]func(dir string) error{}

func TestMain(m *testing.M) {
	if name, dir, ok := strings.Cut(os.Getenv(childEnv), ":"); ok {
		if err := children[name](dir); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(name, dir string, attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe") // also where this user may not enter the binary's directory
	cmd.Env = append(os.Environ(), childEnv+"="+name+":"+dir)
	cmd.SysProcAttr = attr
	return cmd
}

// runChild runs it to its end, or skips where the system does not let it start.
func runChild(t *testing.T, name, dir string, attr *syscall.SysProcAttr) {
	t.Helper()
	out, err := child(name, dir, attr).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skip("SKIPPED, not permitted here:", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A lease break sends SIGIO, whose default would end the process.
func TestLeaseBreak(t *testing.T) {
	t.Parallel()
	f, dir := openTest(t)
	put(t, f, "f", "old", false)
	h, err := f.Open("f")
	must(t, err)
	defer h.Close()
	l, err := h.Lease()
	if errors.Is(err, ErrNotSupported) {
		t.Skip("SKIPPED, no leases on", dir, err)
	}
	must(t, err)
	cmd := child("write", filepath.Join(dir, "f"), nil)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "opening\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	for deadline := time.Now().Add(20 * time.Second); l.Held(); {
		if time.Now().After(deadline) {
			t.Fatal("nobody asked to break the lease")
		}
	}
	if got := read(t, f, "f"); got != "old" {
		t.Errorf("the writer did not wait for the lease: %q", got)
	}
	begun := time.Now()
	l.Release()
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != "written\n" {
		t.Errorf("child said %q, %v", rest, err)
	}
	must(t, cmd.Wait())
	if d := time.Since(begun); d > 20*time.Second {
		t.Errorf("the writer waited %v after the release", d)
	}
	if got := read(t, f, "f"); got != "new" {
		t.Errorf("f holds %q", got)
	}
	if l.Held() {
		t.Error("a released lease is held")
	}
	if l, err = h.Lease(); err != nil {
		t.Errorf("a second lease after the writer has gone: %v", err)
	} else {
		l.Release()
	}
}

func init() {
	children["write"] = func(path string) error {
		fmt.Println("opening")
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString("new"); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		fmt.Println("written")
		return nil
	}
}

// A shared writable mapping counts as a writer even after its descriptor was
// closed.
func TestLeaseSeesMapping(t *testing.T) {
	t.Parallel()
	f, dir := openTest(t)
	put(t, f, "f", "x", false)
	w, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
	must(t, err)
	m, err := unix.Mmap(int(w.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, w.Close())
	h, err := f.Open("f")
	must(t, err)
	defer h.Close()
	if _, err := h.Lease(); errors.Is(err, ErrNotSupported) {
		t.Skip("SKIPPED, no leases on", dir, err)
	} else if !errors.Is(err, ErrBusy) {
		t.Errorf("lease of a mapped file: %v", err)
	}
	must(t, unix.Munmap(m))
	l, err := h.Lease()
	must(t, err)
	l.Release()
}

func read(t *testing.T, f FS, p id.Path) string {
	t.Helper()
	h, err := f.Open(p)
	must(t, err)
	defer h.Close()
	b, err := io.ReadAll(h)
	must(t, err)
	return string(b)
}

func TestMounts(t *testing.T) {
	t.Parallel()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
	}
	runChild(t, "mounts", t.TempDir(), attr)
}

func init() { children["mounts"] = mounts }

// mounts runs in a mount namespace of its own.
func mounts(dir string) error {
	p := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"tmpfs", "bind", "plain"} {
		if err := os.Mkdir(p(d), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"file", "plain/x"} {
		if err := os.WriteFile(p(f), []byte("x"), 0o644); err != nil {
			return err
		}
	}
	if err := errors.Join(
		unix.Mount("tmpfs", p("tmpfs"), "tmpfs", 0, ""),
		unix.Mount(p("plain"), p("bind"), "", unix.MS_BIND, ""),
		unix.Mount(p("plain/x"), p("file"), "", unix.MS_BIND, ""),
		os.WriteFile(p("tmpfs/x"), []byte("x"), 0o644),
	); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for name, open := range map[string]func(string) (FS, error){"real": OpenReal, "portable": openRoot} {
		f, err := open(dir)
		if err != nil {
			return err
		}
		for op, err := range mountErrors(f, name == "real") {
			if !errors.Is(err, ErrMount) {
				return fmt.Errorf("%s: %s gave %v", name, op, err)
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	for _, f := range []string{"tmpfs/x", "plain/x"} {
		if fi, err := os.Stat(p(f)); err != nil || fi.Mode() != 0o644 {
			return fmt.Errorf("%s is now %v, %v", f, fi, err)
		}
	}
	return nil
}

// mountErrors does what must be refused. Only the real one sees bind mounts of
// the same filesystem.
func mountErrors(f FS, all bool) map[string]error {
	out := map[string]error{}
	dirs := []id.Path{"tmpfs"}
	if all {
		dirs = append(dirs, "bind")
	}
	for _, d := range dirs {
		note := func(op string, err error) { out[op+" "+string(d)] = err }
		_, err := f.Lstat(d)
		note("lstat", err)
		_, err = f.Lstat(d + "/x")
		note("lstat in", err)
		_, err = f.ReadDir(d)
		note("readdir", err)
		_, err = f.Open(d + "/x")
		note("open in", err)
		_, err = f.Create(d+"/new", 0o644)
		note("create in", err)
		note("mkdir in", f.Mkdir(d+"/new", 0o755))
		note("unlink in", f.Unlink(d+"/x"))
		note("chmod", f.Chmod(d, 0o700))
		note("chmod in", f.Chmod(d+"/x", 0o700))
		note("setmtime", f.SetMTime(d, 1))
		note("rename into", f.Rename("plain/x", d+"/y", NoReplace))
		note("rename out of", f.Rename(d+"/x", "y", NoReplace))
		note("syncdir", f.SyncDir(d))
		if all {
			note("rename", f.Rename(d, "y", Replace))
			note("rmdir", f.Rmdir(d))
		}
	}
	if all { // a file can be a mount point too
		_, out["lstat file"] = f.Lstat("file")
		_, out["open file"] = f.Open("file")
		out["chmod file"] = f.Chmod("file", 0o600)
		out["unlink file"] = f.Unlink("file")
		out["rename file"] = f.Rename("file", "other", Replace)
	}
	return out
}

// As another user than the files' owner: no O_NOATIME, no lease, unreadable files.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, needs root to become another user")
	}
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "readable"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "unreadable"), []byte("x"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "own"), 0o755))
	must(t, os.Chown(filepath.Join(dir, "own"), 65534, 65534))
	runChild(t, "unprivileged", dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
}

func init() {
	children["unprivileged"] = func(dir string) error {
		f, err := OpenReal(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		h, err := f.Open("readable")
		if err != nil {
			return err
		}
		defer h.Close()
		if _, err := h.Lease(); !errors.Is(err, ErrNotSupported) {
			return fmt.Errorf("lease of somebody else's file: %v", err)
		}
		_, err1 := f.Open("unreadable")
		_, err2 := f.ReadDir("closed")
		_, err3 := f.Lstat("closed/x")
		for i, err := range []error{err1, err2, err3, f.Chmod("readable", 0o600), f.Mkdir("new", 0o755), f.Unlink("readable")} {
			if !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("refused operation %d: %v", i, err)
			}
		}
		if s, err := f.Lstat("unreadable"); err != nil || s.Kind != File {
			return fmt.Errorf("lstat of an unreadable file: %+v, %v", s, err)
		}
		if err := errors.Join(f.Mkdir("own/d", 0o755), f.Mkdir("own/d/e", 0o755), f.Chmod("own/d", 0o300)); err != nil {
			return err
		}
		if err := f.SyncDir("own/d"); err != nil {
			return fmt.Errorf("sync of a directory that cannot be listed: %w", err)
		}
		return f.Chmod("own/d", 0o700)
	}
}

// While somebody swaps a directory for a symlink, nothing that the symlink leads
// to is read or changed: for the portable implementation nothing outside the
// root, for the real one nothing inside either.
func TestSwapRace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open   func(string) (FS, error)
		inside bool
	}{
		"real, link out":     {OpenReal, false},
		"real, link inside":  {OpenReal, true},
		"portable, link out": {openRoot, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, out := t.TempDir(), t.TempDir()
			if c.inside {
				out = filepath.Join(dir, "other")
				must(t, os.Mkdir(out, 0o755))
			}
			f, err := c.open(dir)
			must(t, err)
			defer f.Close()
			swapRace(t, f, dir, out)
		})
	}
}

func swapRace(t *testing.T, f FS, dir, out string) {
	a, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	must(t, os.Mkdir(a, 0o755))
	must(t, os.Symlink(out, link))
	must(t, os.WriteFile(filepath.Join(out, "f"), []byte("secret"), 0o640))
	before, err := os.Stat(filepath.Join(out, "f"))
	must(t, err)
	dirBefore, err := os.Stat(out)
	must(t, err)

	var stop atomic.Bool
	var swaps, done atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
			swaps.Add(1)
		}
	})
	count := func(err error) {
		if err == nil {
			done.Add(1)
		}
	}
	until := time.Now().Add(400 * time.Millisecond)
	for i := 0; time.Now().Before(until) || done.Load() == 0 && i < 1e6; i++ {
		if h, err := f.Create("a/f", 0o644); err == nil {
			_, err = h.Write([]byte("public"))
			count(err)
			h.Close()
		}
		if h, err := f.Open("a/f"); err == nil {
			b, _ := io.ReadAll(h)
			if string(b) == "secret" {
				t.Error("read what the link leads to")
			}
			h.Close()
		}
		count(f.Chmod("a/f", 0o777))
		count(f.SetMTime("a/f", 1))
		count(f.Mkdir("a/d", 0o755))
		count(f.Symlink("x", "a/l"))
		_, err := f.ReadDir("a")
		count(err)
		count(f.Rename("a/f", "g", Replace))
		count(f.Rename("g", "a/g", NoReplace))
		for _, n := range []id.Path{"a/f", "a/g", "a/l", "g"} {
			count(f.Unlink(n))
		}
		count(f.Rmdir("a/d"))
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d operations succeeded during %d swaps", done.Load(), swaps.Load())

	after, err := os.Stat(filepath.Join(out, "f"))
	must(t, err)
	dirAfter, err := os.Stat(out)
	must(t, err)
	if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Errorf("the file behind the link was changed: %v", after)
	}
	if !dirAfter.ModTime().Equal(dirBefore.ModTime()) {
		t.Error("the directory behind the link was changed")
	}
	if done.Load() == 0 || swaps.Load() == 0 {
		t.Error("the race was not run")
	}
}
