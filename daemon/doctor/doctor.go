// Package doctor checks a machine and a node's place in its cluster, and says of
// each thing that is not well how to mend it. What it looks at is gathered into
// Facts; the checks are functions of that value alone.
package doctor

import (
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// Facts are what the checks look at. What is nil or empty was not learnt.
type Facts struct {
	OS   string // as runtime.GOOS has it
	Home Home
	// Running: the daemon gathered these facts. Without it there are no members and
	// no folders in them.
	Running bool
	Node    Node
	Limits  Limits
	Folders []Folder
	Members []Member // the others
}

// Home is the node's directory.
type Home struct {
	Path string
	// Missing: there is no node in it. Err: why it cannot be read.
	Missing bool
	Err     error
	// Settings is why config.toml is refused.
	Settings error
	// Open: others than the user may read it.
	Open bool
	Disk Disk
}

// Disk is the filesystem that something is on.
type Disk struct {
	Known bool
	Free  uint64 // bytes that this user can still fill
	Type  string // "ext4", "nfs", …; "" if not known
	// Network: its files are on another machine.
	Network bool
}

// Node is this node's place.
type Node struct {
	Name, Version     string
	Listen, Advertise string
	Own               []string // the machine's addresses that others may dial
	Removed           bool
	Leader            string
	Voter             bool
	// Voters and VotersOnline count this node too.
	Voters, VotersOnline int
	Offline              []string // names of the voters that are offline
	Quorum               bool
}

// Limits are the system's for this user and this process.
type Limits struct {
	Inotify *Inotify
	Files   *Files
}

// Inotify is how many watches and instances a user may have, and has in other
// programs than the daemon.
type Inotify struct {
	MaxWatches, MaxInstances     int
	OtherWatches, OtherInstances int
}

// Files are open files: the limit now, the most that it can be raised to, and how
// many are open.
type Files struct {
	Soft, Hard uint64
	Open       int
}

// Folder is one folder of this node.
type Folder struct {
	Name, Root string
	Err        error // why nothing could be learnt of its directory
	Halted     string
	Dirs       uint64
	// Unwatched counts the directories without events, and Why says why.
	Unwatched    int
	Why          string
	PendingBytes int64
	Disk         Disk
	FS           *Features
	FSErr        error // why FS could not be tried
	Clashes      []Clash
	// MoreClashes: the list is cut.
	MoreClashes bool
}

// Features are what a filesystem can do.
type Features struct {
	Exchange, NoReplace, Reflink, Lease bool
	IgnoresCase                         bool // A and a are one name
	Composes                            bool // é in one character and in two are one name
}

// Clash is names of one directory that some systems hold for one.
type Clash struct {
	Paths   []string
	Unicode bool // they differ in more than case
}

// Member is another node.
type Member struct {
	Name, Address, Version string
	Online                 bool
	LastSeen               time.Time
	// Dial is why this node cannot dial it. Dialled is why it cannot dial this one,
	// if DialledKnown; DialledWhy says why that is not known.
	Dial, Dialled error
	DialledKnown  bool
	DialledWhy    error
	// Heard: it sent a heartbeat by itself a moment ago, so it can reach this node.
	Heard bool
	// Ahead is by how much its clock is ahead, to within Within.
	ClockKnown    bool
	Ahead, Within time.Duration
}

// check is one of the doctor's. It returns at least one finding.
type check struct {
	name string
	// linux: it is about something that only Linux has.
	linux bool
	// daemon: it needs a running daemon.
	daemon bool
	run    func(Facts) []control.Finding
}

// checks are in the order in which a person mends things: what the rest needs first.
var checks = []check{
	{name: "settings", run: checkSettings},
	{name: "home", run: checkHome},
	{name: "daemon", run: checkDaemon},
	{name: "files", run: checkFiles},
	{name: "inotify", linux: true, run: checkInotify},
	{name: "watching", daemon: true, run: checkWatching},
	{name: "disk", daemon: true, run: checkDisk},
	{name: "filesystem", daemon: true, run: checkFilesystem},
	{name: "names", daemon: true, run: checkNames},
	{name: "address", run: checkAddress},
	{name: "reachability", daemon: true, run: checkReach},
	{name: "clock", daemon: true, run: checkClock},
	{name: "version", daemon: true, run: checkVersion},
	{name: "quorum", daemon: true, run: checkQuorum},
}

// Run makes every check.
func Run(f Facts) control.DoctorReport {
	r := control.DoctorReport{Running: f.Running}
	for _, c := range checks {
		var found []control.Finding
		switch {
		case c.linux && f.OS != "linux":
			found = []control.Finding{skipped("not on this system (%s)", f.OS)}
		case c.daemon && !f.Running:
			found = []control.Finding{skipped("needs the daemon, which is not running")}
		default:
			found = c.run(f)
		}
		for _, x := range found {
			x.Check = c.name
			r.Findings = append(r.Findings, x)
		}
	}
	return r
}
