package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountTable is a file that is ready with POLLPRI when a mount came or went.
const mountTable = "/proc/self/mountinfo"

// mountWatch tells of filesystems that are mounted or unmounted at, above or below a
// root. Unmounting makes no event that the library passes on.
type mountWatch struct {
	table *os.File
	root  string
	last  string // the mounts that matter, when last read
}

// openMounts reads the mounts around root as they are now: watch tells of each
// change since, so a root that was checked after openMounts cannot go unnoticed.
func openMounts(root string) (*mountWatch, error) {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	// Not os.Open: it has the runtime poll the file too, and the kernel tells each
	// change to one poll only.
	fd, err := unix.Open(mountTable, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch mounts: open %s: %w", mountTable, err)
	}
	f := os.NewFile(uintptr(fd), mountTable)
	last, err := mountsAround(f, root)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &mountWatch{table: f, root: root, last: last}, nil
}

// watch calls changed for each change until ctx ends, and closes m. It costs
// nothing while nothing is mounted.
func (m *mountWatch) watch(ctx context.Context, changed func()) error {
	defer m.table.Close()
	r, w, err := os.Pipe() // wakes the poll when ctx ends
	if err != nil {
		return fmt.Errorf("watch mounts: %w", err)
	}
	defer r.Close()
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Write([]byte{0}) })()
	rfd := int32(r.Fd())
	for ctx.Err() == nil {
		now, err := mountsAround(m.table, m.root)
		if err != nil {
			return err
		}
		if now != m.last {
			m.last = now
			changed()
		}
		fds := []unix.PollFd{{Fd: int32(m.table.Fd()), Events: unix.POLLPRI}, {Fd: rfd, Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch mounts: %w", err)
		}
	}
	return nil
}

// mountsAround lists the mounts that matter to root, with their IDs.
func mountsAround(f io.ReadSeeker, root string) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("watch mounts: %w", err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("watch mounts: %w", err)
	}
	var out strings.Builder
	for line := range bytes.Lines(b) {
		// ID parent major:minor root mountpoint …
		fields := strings.SplitN(string(line), " ", 6)
		if len(fields) < 6 {
			continue
		}
		at := unescapeMount(fields[4])
		if within(at, root) || within(root, at) {
			fmt.Fprintf(&out, "%s %s\n", fields[0], at)
		}
	}
	return out.String(), nil
}

// within reports whether the cleaned path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// unescapeMount undoes the kernel's \040 for space, tab, newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
