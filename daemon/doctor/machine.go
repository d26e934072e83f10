package doctor

import (
	"net"
	"slices"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func checkSettings(f Facts) []control.Finding {
	if f.Home.Settings != nil {
		return []control.Finding{fixed(problem("%v", f.Home.Settings), "correct that line; `lockstep config --sample` shows every key")}
	}
	return []control.Finding{ok("config.toml is well formed, or not there")}
}

func checkHome(f Facts) []control.Finding {
	h := f.Home
	if h.Err != nil {
		return []control.Finding{fixed(problem("%v", h.Err), "run the command as the user who owns %s, or give the right one with --home", h.Path)}
	}
	if h.Missing {
		return []control.Finding{withCommand(fixed(problem("there is no node in %s", h.Path), "make one"), "lockstep up PATH")}
	}
	var out []control.Finding
	if h.Open {
		out = append(out, withCommand(fixed(problem("others may look into %s, which holds the node's key", h.Path), "close it"), "chmod 700 %s", shellQuote(h.Path)))
	}
	if h.Disk.Network {
		out = append(out, fixed(note("%s is on a network filesystem (%s): its locks and syncs are as good as that is", h.Path, h.Disk.Type),
			"move the home to a local disk while the daemon is stopped, and give its path with --home"))
	}
	if x, bad := lowSpace(h.Disk, 0, h.Path); bad {
		out = append(out, x)
	}
	return one(out, ok("%s is private, with %s free", h.Path, size(h.Disk.Free)))
}

// The free space under which a disk is said to be low, and nearly full. A node's
// stores stop at 16 MiB.
const (
	lowBytes  = 1 << 30
	fullBytes = 128 << 20
)

// lowSpace is what to say where a disk has little space, or less than is to come.
func lowSpace(d Disk, pending uint64, where string) (control.Finding, bool) {
	const how = "free some space; `lockstep status` shows what waits for it"
	switch {
	case !d.Known:
		return control.Finding{}, false
	case pending > 0 && d.Free < pending:
		return fixed(problem("%s are to come to %s, and %s are free", size(pending), where, size(d.Free)), how), true
	case d.Free < fullBytes:
		return fixed(problem("the disk of %s is nearly full: %s are free", where, size(d.Free)), how), true
	case d.Free < lowBytes:
		return fixed(note("the disk of %s has %s free", where, size(d.Free)), how), true
	}
	return control.Finding{}, false
}

func checkDaemon(f Facts) []control.Finding {
	switch {
	case f.Running:
		return []control.Finding{ok("the daemon runs, version %s", f.Node.Version)}
	case f.Home.Missing:
		return []control.Finding{skipped("there is no node to run")}
	}
	return []control.Finding{withCommand(fixed(problem("the daemon is not running: nothing is synced, and much of this cannot be checked"),
		"start it; where systemd does that: systemctl --user start lockstep"), "lockstep up")}
}

// minFiles is how many open files the daemon should be allowed: its stores keep up to
// some hundred open, and each connection and each file on its way is one more.
const minFiles = 1024

func checkFiles(f Facts) []control.Finding {
	l := f.Limits.Files
	switch {
	case l == nil:
		return []control.Finding{skipped("this system does not tell")}
	case l.Hard < minFiles:
		return []control.Finding{fixed(problem("this process may have %d files open, %d are needed", l.Hard, minFiles),
			"set LimitNOFILE=65536 in the unit, or \"ulimit -Hn 65536\" before the start")}
	case uint64(l.Open)*10 > l.Soft*8:
		return []control.Finding{fixed(problem("%d files of %d that may be are open", l.Open, l.Soft),
			"set LimitNOFILE=%d in the unit, or \"ulimit -n %d\" before the start, and restart the daemon", 4*l.Soft, 4*l.Soft)}
	}
	return []control.Finding{ok("%d files may be open, %d are", l.Soft, l.Open)}
}

// minWatches is the least that is worth setting: a watch costs about 1 KiB of the
// kernel's memory, and only while it is used.
const minWatches = 1 << 20

func checkInotify(f Facts) []control.Finding {
	l := f.Limits.Inotify
	if l == nil {
		return []control.Finding{skipped("this system does not tell its limits")}
	}
	dirs := len(f.Folders)
	for _, x := range f.Folders {
		dirs += int(x.Dirs)
	}
	var out []control.Finding
	switch {
	case dirs+l.OtherWatches > l.MaxWatches:
		out = append(out, raised(problem("the folders have %s directories, other programs watch %s, and %s may be watched in all: the rest is found by scans only, late",
			count(dirs), count(l.OtherWatches), count(l.MaxWatches)), "max_user_watches", wanted(dirs+l.OtherWatches)))
	case 10*(dirs+l.OtherWatches) > 8*l.MaxWatches:
		out = append(out, raised(note("%s of %s directories that may be watched will be", count(dirs+l.OtherWatches), count(l.MaxWatches)),
			"max_user_watches", wanted(dirs+l.OtherWatches)))
	}
	if need := len(f.Folders) + l.OtherInstances; need > l.MaxInstances {
		out = append(out, raised(problem("%d folders and %d watchers of other programs are more than the %d that a user may have",
			len(f.Folders), l.OtherInstances, l.MaxInstances), "max_user_instances", max(1024, 2*need)))
	}
	return one(out, ok("%s directories to watch of %s that may be (other programs: %s)", count(dirs), count(l.MaxWatches), count(l.OtherWatches)))
}

// wanted is twice what is needed, as a power of two.
func wanted(need int) int {
	n := minWatches
	for n < 2*need {
		n *= 2
	}
	return n
}

// raised says how to raise one of inotify's limits, now and for good.
func raised(f control.Finding, key string, n int) control.Finding {
	return withCommand(fixed(f, "raise the limit to %s", count(n)),
		"echo fs.inotify.%s=%d | sudo tee /etc/sysctl.d/90-lockstep-%s.conf && sudo sysctl --system", key, n, key)
}

func checkWatching(f Facts) []control.Finding {
	var out []control.Finding
	for _, x := range f.Folders {
		switch {
		case x.Halted != "":
			out = append(out, about(x.Name, fixed(problem("it is halted: %s", x.Halted), "mend that; the folder goes on by itself")))
		case x.Unwatched > 0:
			out = append(out, about(x.Name, fixed(problem("%s directories are not watched (%s): changes there are found by scans only",
				count(x.Unwatched), x.Why), "raise the limit that \"inotify\" names above; on a network filesystem set a short scan_interval in config.toml")))
		}
	}
	return one(out, ok("every directory of %s is watched", folders(len(f.Folders))))
}

func folders(n int) string {
	if n == 1 {
		return "1 folder"
	}
	return count(n) + " folders"
}

func checkAddress(f Facts) []control.Finding {
	n := f.Node
	host, port, err := net.SplitHostPort(n.Advertise)
	if err != nil {
		return []control.Finding{skipped("the node has no address yet")}
	}
	listen, lport, _ := net.SplitHostPort(n.Listen)
	ip := net.ParseIP(host)
	switch {
	case loopback(host):
		x := note("the others are told to dial %s: only nodes of this machine can", n.Advertise)
		if slices.ContainsFunc(f.Members, func(m Member) bool { h, _, _ := net.SplitHostPort(m.Address); return !loopback(h) }) {
			x.Level = control.LevelProblem
		}
		if loopback(listen) {
			return []control.Finding{fixed(x, "put listen = \"0.0.0.0:7417\" into %s and restart the daemon", f.Home.settings())}
		}
		return []control.Finding{fixed(x, "put advertise = \"HOST:%s\" into %s and restart the daemon", lport, f.Home.settings())}
	case loopback(listen):
		return []control.Finding{fixed(note("the node listens on %s, and the others are told to dial %s: something has to forward that", n.Listen, n.Advertise),
			"put listen = \"0.0.0.0:%s\" into %s and restart the daemon, if nothing does", lport, f.Home.settings())}
	case ip != nil && len(n.Own) > 0 && !slices.Contains(n.Own, ip.String()):
		return []control.Finding{fixed(note("the others are told to dial %s, which is no address of this machine now (it has %s): right only behind a router that forwards it",
			n.Advertise, join(n.Own)), "restart the daemon, which finds the address anew; where it was given by hand, correct advertise in %s", f.Home.settings())}
	case port != lport:
		return []control.Finding{note("the others dial %s, and the node listens on port %s: a router has to forward that", n.Advertise, lport)}
	}
	return []control.Finding{ok("the others dial %s; the node listens on %s", n.Advertise, n.Listen)}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
