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

// watchMounts calls changed whenever a filesystem is mounted or unmounted at, above
// or below root, until ctx ends. Unmounting makes no event that the library passes
// on. It costs nothing while nothing is mounted.
func watchMounts(ctx context.Context, root string, changed func()) error {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	f, err := os.Open(mountTable)
	if err != nil {
		return fmt.Errorf("watch mounts: %w", err)
	}
	defer f.Close()
	r, w, err := os.Pipe() // wakes the poll when ctx ends
	if err != nil {
		return fmt.Errorf("watch mounts: %w", err)
	}
	defer r.Close()
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Write([]byte{0}) })()
	rfd := int32(r.Fd())
	last, err := mountsAround(f, root)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}, {Fd: rfd, Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch mounts: %w", err)
		}
		now, err := mountsAround(f, root)
		if err != nil {
			return err
		}
		if now != last {
			last = now
			changed()
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
