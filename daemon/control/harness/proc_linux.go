package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const canTellProcesses = true

// clockTick is the unit of CPU times in /proc: 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processUsage reads /proc/PID/status and /proc/PID/stat.
func processUsage(pid int) (u Usage, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range bytes.Lines(b) {
		name, rest, _ := strings.Cut(string(line), ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch {
		case name == "VmRSS" && err == nil:
			u.RSS = kb << 10
		case name == "VmHWM" && err == nil:
			u.PeakRSS = kb << 10
		}
	}
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " ")
	f := strings.Fields(rest) // f[0] is field 3, the state
	if len(f) < 13 {
		return u, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	for _, s := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.CPU += time.Duration(n) * clockTick
	}
	return u, nil
}

// socketOwner returns the process among pids that holds the TCP socket whose local
// port is port: the dialling end of a connection that we have accepted.
func socketOwner(port int, pids []int) (int, error) {
	var want []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		inode, err := socketInode(table, port)
		if err == nil && inode != "" {
			want = append(want, "socket:["+inode+"]")
		}
	}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended meanwhile
		}
		for _, fd := range fds {
			target, err := os.Readlink(dir + "/" + fd.Name())
			if err != nil {
				continue
			}
			for _, w := range want {
				if target == w {
					return pid, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("no node holds the socket of port %d", port)
}

func socketInode(table string, port int) (string, error) {
	f, err := os.Open(table)
	if err != nil {
		return "", err
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%04X", port)
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
		fields := strings.Fields(sc.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[9] != "0" {
			return fields[9], nil
		}
	}
	return "", sc.Err()
}
