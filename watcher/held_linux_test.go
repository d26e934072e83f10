package watcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// B08: a half-written file is not reported while its writer has it open.
func TestHalfWrittenFileIsNotReported(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	f, err := os.Create(x.path("download"))
	x.must(err)
	defer f.Close()
	_, err = f.WriteString("half")
	x.must(err)
	x.write("other", "1")
	x.reported("other", vfs.File)
	x.flush() // does not wait for it
	if got := x.w.Busy(); !slices.Equal(got, []id.Path{"download"}) {
		t.Errorf("busy %v", got)
	}
	if got := x.reports(); !slices.Equal(got, []string{"other: file"}) {
		t.Errorf("reported %v", got)
	}
	_, err = f.WriteString(" and whole")
	x.must(err)
	x.must(f.Close())
	if d := x.reported("download", vfs.File); d.Stat.Size != 14 {
		t.Errorf("reported with %d bytes", d.Stat.Size)
	}
	x.agrees()
}

func TestFileHeldOpenIsTakenWhenQuiet(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.o.Settle.HeldKnown, x.o.Settle.HeldNew = 50*time.Millisecond, time.Hour
	x.write("log", "1\n")
	x.start()
	x.forget()
	log, err := os.OpenFile(x.path("log"), os.O_APPEND|os.O_WRONLY, 0)
	x.must(err)
	defer log.Close()
	fresh, err := os.Create(x.path("fresh"))
	x.must(err)
	defer fresh.Close()
	_, err = log.WriteString("2\n")
	x.must(err)
	if d := x.reported("log", vfs.File); d.Settled.Sub(d.Seen) < 50*time.Millisecond || d.Stat.Size != 4 {
		t.Errorf("reported %+v", d)
	}
	if got := x.reports(); !slices.Equal(got, []string{"log: file"}) {
		t.Errorf("reported %v", got)
	}
}

// A shared writable mapping refuses the lease though the descriptor is closed.
func TestMappedFileIsNotReported(t *testing.T) {
	t.Parallel()
	x := prepare(t).start()
	f, err := os.Create(x.path("db"))
	x.must(err)
	x.must(f.Truncate(4096))
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	x.must(err)
	x.must(f.Close())
	mem[0] = 1
	x.write("other", "1")
	x.reported("other", vfs.File)
	x.flush()
	if got := x.w.Busy(); !slices.Equal(got, []id.Path{"db"}) {
		t.Errorf("busy %v", got)
	}
	mem[1] = 2 // no event
	x.must(unix.Munmap(mem))
	x.reported("db", vfs.File)
	x.flush()
	x.agrees()
}

func TestSpecialFilesAreBlocked(t *testing.T) {
	x := prepare(t)
	x.must(unix.Mkfifo(x.path("pipe"), 0o644))
	x.start()
	x.mkdir("d")
	x.must(unix.Mkfifo(x.path("d/late"), 0o644))
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	x.must(err)
	defer unix.Close(sock)
	t.Chdir(x.root)
	x.must(unix.Bind(sock, &unix.SockaddrUnix{Name: "sock"}))
	blocked := func(want string) {
		t.Helper()
		x.flush()
		if got := fmt.Sprint(x.w.Blocked()); got != want {
			t.Errorf("blocked %s, want %s", got, want)
		}
	}
	blocked(fmt.Sprintf("[{d/late %[1]s} {pipe %[1]s} {sock %[1]s}]", reasonSpecial))
	x.must(os.Remove(x.path("pipe")))
	x.write("pipe", "a file now")
	x.reported("pipe", vfs.File)
	x.must(os.RemoveAll(x.path("d")))
	blocked(fmt.Sprintf("[{sock %s}]", reasonSpecial))
	n := 0
	for _, d := range x.all() {
		if d.Blocked != "" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("blocked paths were reported %d times, want once each: 3", n)
	}
}

// asNobody names the root that a re-executed child watches as another user.
const asNobody = "LOCKSTEP_TEST_AS_NOBODY"

func TestUnreadableIsBlocked(t *testing.T) {
	if root := os.Getenv(asNobody); root != "" {
		watchUnreadable(t, root)
		return
	}
	root := t.TempDir()
	x := &fixture{t: t, root: root}
	mark(t, root)
	x.mkdir("closed/in")
	x.write("closed/in/f", "1")
	x.write("secret", "1")
	x.write("open", "1")
	if os.Getuid() != 0 { // this user is as good
		watchUnreadable(t, root)
		return
	}
	x.must(filepath.WalkDir(filepath.Dir(filepath.Dir(root)), func(p string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(root, p) || strings.HasPrefix(p, root) {
			if strings.HasPrefix(p, root) {
				err = os.Lchown(p, 65534, 65534)
			} else if strings.Contains(p, t.Name()) {
				err = os.Chmod(p, 0o755)
			}
		} else if err == nil {
			return filepath.SkipDir
		}
		return err
	}))
	exe, err := os.ReadFile(os.Args[0])
	x.must(err)
	child := filepath.Join(root, id.ReservedName, "child")
	x.must(os.WriteFile(child, exe, 0o755))
	cmd := exec.Command(child, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), asNobody+"="+root)
	cmd.Dir = root
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS") {
		t.Errorf("as nobody: did not run:\n%s", out)
	}
}

func watchUnreadable(t *testing.T, root string) {
	x := &fixture{t: t, root: root, index: newIndex(), changed: make(chan struct{})}
	x.o = Options{FS: func() (vfs.FS, error) { return vfs.OpenReal(root) }, Root: root, Folder: testFolder, Known: x.index}
	x.must(os.Chmod(x.path("closed"), 0o755))
	x.start()
	x.reported("closed/in/f", vfs.File)
	x.forget()
	x.must(os.Chmod(x.path("secret"), 0))
	x.must(os.Chmod(x.path("closed"), 0))
	blocked := func(want string) {
		t.Helper()
		x.flush()
		if got := fmt.Sprint(x.w.Blocked()); got != want {
			t.Errorf("blocked %s, want %s", got, want)
		}
	}
	blocked("[{closed permission denied} {secret permission denied}]")
	for _, d := range x.all() {
		if d.Stat.Kind == vfs.Absent && d.Blocked == "" {
			t.Errorf("reported as gone: %+v", d)
		}
	}
	x.must(os.Chmod(x.path("secret"), 0o644))
	x.reported("secret", vfs.File)
	x.must(os.Chmod(x.path("closed"), 0o755))
	blocked("[]")
	x.agrees()
}
