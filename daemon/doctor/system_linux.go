package doctor

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// privateMatters: the mode of a directory says who may read it.
const privateMatters = true

// SystemLimits asks the system. What it does not tell is left out.
func SystemLimits() Limits {
	return Limits{Inotify: inotify("/proc", os.Getuid(), os.Getpid()), Files: openFiles()}
}

func openFiles() *Files {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	return &Files{Soft: l.Cur, Hard: l.Max, Open: len(open)}
}

// inotify reads the limits, and what the user's other processes use of them.
func inotify(proc string, uid, self int) *Inotify {
	watches, err1 := number(filepath.Join(proc, "sys/fs/inotify/max_user_watches"))
	instances, err2 := number(filepath.Join(proc, "sys/fs/inotify/max_user_instances"))
	if err1 != nil || err2 != nil {
		return nil
	}
	l := &Inotify{MaxWatches: watches, MaxInstances: instances}
	all, err := os.ReadDir(proc)
	if err != nil {
		return l
	}
	for _, p := range all {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == self {
			continue
		}
		dir := filepath.Join(proc, p.Name())
		st, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != uid {
			continue
		}
		n, w := usedBy(dir)
		l.OtherInstances += n
		l.OtherWatches += w
	}
	return l
}

// usedBy counts a process's inotify instances and their watches.
func usedBy(dir string) (instances, watches int) {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return 0, 0
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err != nil || to != "anon_inode:inotify" {
			continue
		}
		instances++
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		watches += bytes.Count(info, []byte("inotify wd:"))
	}
	return instances, watches
}

func number(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// networkTypes are the filesystems whose files are on another machine. FUSE's own
// ones are told by their subtype.
var networkTypes = map[string]bool{
	"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "smbfs": true, "ncpfs": true, "afs": true, "ceph": true, "9p": true,
	"glusterfs": true, "lustre": true, "gpfs": true, "ocfs2": true, "gfs2": true,
	"fuse.sshfs": true, "fuse.rclone": true, "fuse.s3fs": true, "fuse.glusterfs": true, "fuse.ceph": true, "fuse.gvfsd-fuse": true, "fuse.davfs2": true,
}

// filesystemType is what is mounted where dir is.
func filesystemType(dir string) (name string, network bool) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	defer f.Close()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	best := -1
	for s := bufio.NewScanner(f); s.Scan(); {
		at, kind, ok := mountLine(s.Text())
		// The longest way that leads to dir; of equal ones the last mounted.
		if ok && len(at) >= best && (at == "/" || real == at || strings.HasPrefix(real, at+"/")) {
			best, name = len(at), kind
		}
	}
	return name, networkTypes[name]
}

// mountLine reads one line of mountinfo: see proc_pid_mountinfo(5).
func mountLine(line string) (at, kind string, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	fields, after := strings.Fields(left), strings.Fields(right)
	if !found || len(fields) < 5 || len(after) < 1 {
		return "", "", false
	}
	return unescape(fields[4]), after[0], true
}

// unescape undoes \ooo, which stands for blanks and the like.
func unescape(s string) string {
	var sb strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				sb.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		sb.WriteByte(s[i])
	}
	return sb.String()
}

func clone(to, from *os.File) error {
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return fmt.Errorf("clone a file: %w", err)
	}
	return nil
}
