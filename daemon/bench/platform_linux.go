package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// changed is the change time of a file.
func changed(st fs.FileInfo) time.Time {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctim.Unix())
	}
	return time.Time{}
}

// descendants are a process and those below it, as far as they run now.
func descendants(pid int) []int {
	out := []int{pid}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // a list for each thread
	if err != nil {
		return out
	}
	for _, l := range lists {
		b, err := os.ReadFile(l)
		if err != nil {
			continue // it has ended
		}
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(out, descendants(child)...)
			}
		}
	}
	return out
}

// clockTick is the unit of CPU times in /proc on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// procUsage reads what a running process uses: its CPU time with that of the children
// that it has waited for, its RSS and the peak of that.
func procUsage(pid int) (u usage, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return u, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	for _, s := range f[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * clockTick
	}
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range bytes.Lines(b) {
		name, rest, _ := strings.Cut(string(line), ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			u.rss = kb << 10
		case name == "VmHWM":
			u.peak = kb << 10
		}
	}
	return u, err
}

// loBytes are the bytes that the loopback device of our network namespace has carried.
func loBytes() (int64, error) {
	b, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if name, rest, _ := strings.Cut(strings.TrimSpace(line), ":"); name == "lo" {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, errors.New("/proc/self/net/dev: no lo")
}

// canIsolate: as root, runs get a network, processes and mounts of their own. Otherwise it
// says why not: a container's root, too, may have no right to them, nor loop devices.
func canIsolate() error {
	if os.Geteuid() != 0 {
		return errors.New("without root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("without loop devices (%w)", err)
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("without mkfs.ext4 (%w)", err)
	}
	probe := isolate(nil)
	probe.Path, probe.Args = "/bin/true", []string{"true"}
	if err := probe.Run(); err != nil {
		return fmt.Errorf("without namespaces (%w)", err)
	}
	return nil
}

// isolate runs this program again with namespaces of its own. When it ends, however it
// ends, the system ends what it started and unmounts what it mounted.
func isolate(args []string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// enter sets the namespaces up, from inside.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// mountImage makes a filesystem in a sparse file beside dir, and mounts it there. Its
// size is a bound; what is freed is given back by trim. The function returned undoes it.
func mountImage(kind, dir string, size int64) (func() error, error) {
	mkfs := map[string][]string{
		// No initialising in the background while runs are measured.
		"ext4": {"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-O", "has_journal"},
		"xfs":  {"mkfs.xfs", "-q", "-m", "reflink=1"},
	}[kind]
	image := dir + ".img"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(size), f.Close())
	for _, args := range [][]string{append(mkfs, image), {"mount", "-o", "loop", image, dir}} {
		if err == nil {
			err = run(args...)
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(image))
	}
	return func() error {
		if err := run("umount", dir); err != nil {
			err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
			return errors.Join(err, os.Remove(image))
		}
		return os.Remove(image)
	}, nil
}

// trim gives what is free in a mounted image back to the disk below.
func trim(dir string) error { return run("fstrim", dir) }

// reflink makes dst share src's blocks.
func reflink(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}

// syncFS writes back the filesystem that holds dir.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// apart puts a command into a group of its own: a ^C at the terminal is for us, who then
// end it.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killAll kills a command that was put apart, and what it has started.
func killAll(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
