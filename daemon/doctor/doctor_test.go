package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// well are the facts of a cluster of three in which nothing is wrong.
func well() Facts {
	disk := Disk{Known: true, Free: 100 << 30, Type: "ext4"}
	member := func(name, ip string) Member {
		return Member{Name: name, Address: ip + ":7417", Version: "1", Online: true, LastSeen: time.Now(), DialledKnown: true, Heard: true,
			ClockKnown: true, Ahead: 20 * time.Millisecond, Within: 10 * time.Millisecond}
	}
	return Facts{
		OS: "linux", Running: true, Home: Home{Path: "/home/u/ls", Disk: disk},
		Node: Node{Name: "a", Version: "1", Listen: "[::]:7417", Advertise: "192.0.2.1:7417", Own: []string{"192.0.2.1"}, Leader: "a",
			Voter: true, Voters: 3, VotersOnline: 3, Quorum: true},
		Limits: Limits{Inotify: &Inotify{MaxWatches: 100_000, MaxInstances: 128, OtherWatches: 100, OtherInstances: 3},
			Files: &Files{Soft: 4096, Hard: 4096, Open: 60}},
		Folders: []Folder{{Name: "docs", Root: "/d", Dirs: 10, Disk: disk, FS: &Features{Exchange: true, NoReplace: true, Reflink: true, Lease: true}}},
		Members: []Member{member("b", "192.0.2.2"), member("c", "192.0.2.3")},
	}
}

func TestAllWell(t *testing.T) {
	t.Parallel()
	r := Run(well())
	if len(r.Findings) != len(checks)+1 || r.Problems() != 0 || !r.Running {
		t.Errorf("%d findings of %d checks, %d problems", len(r.Findings), len(checks), r.Problems())
	}
	for _, f := range r.Findings { // one a check, and one more for the second member
		if f.Level != control.LevelOK || f.Check == "" || f.Message == "" || f.Fix != "" {
			t.Errorf("%+v", f)
		}
	}
}

// TestFindings: one thing is wrong at a time; the finding says so, how bad it is, and
// what to do. Every check has a row.
func TestFindings(t *testing.T) {
	t.Parallel()
	const (
		note    = control.LevelNote
		problem = control.LevelProblem
		skipped = control.LevelSkipped
	)
	broken := errors.New("broken")
	covered := map[string]bool{}
	for _, c := range []struct {
		check, name string
		change      func(*Facts)
		level       control.Level
		subject     string
		want        string // in message, fix or command
	}{
		{"settings", "a bad key", func(f *Facts) { f.Home.Settings = broken }, problem, "", "config --sample"},
		{"home", "none", func(f *Facts) { f.Home.Missing = true }, problem, "", "lockstep up PATH"},
		{"home", "unreadable", func(f *Facts) { f.Home.Err = broken }, problem, "", "the user who owns /home/u/ls"},
		{"home", "open", func(f *Facts) { f.Home.Open = true }, problem, "", "chmod 700 '/home/u/ls'"},
		{"home", "network", func(f *Facts) { f.Home.Disk.Type, f.Home.Disk.Network = "nfs4", true }, note, "", "nfs4"},
		{"home", "full", func(f *Facts) { f.Home.Disk.Free = 20 << 20 }, problem, "", "20 MiB are free"},
		{"home", "low", func(f *Facts) { f.Home.Disk.Free = 500 << 20 }, note, "", "500 MiB free"},
		{"daemon", "not running", func(f *Facts) { f.Running = false }, problem, "", "lockstep up"},
		{"daemon", "no node", func(f *Facts) { f.Running, f.Home.Missing = false, true }, skipped, "", "no node"},
		{"files", "not told", func(f *Facts) { f.Limits.Files = nil }, skipped, "", "not tell"},
		{"files", "few", func(f *Facts) { f.Limits.Files.Hard = 256 }, problem, "", "LimitNOFILE"},
		{"files", "used up", func(f *Facts) { f.Limits.Files.Open = 4000 }, problem, "", "ulimit -n 16384"},
		{"inotify", "no such system", func(f *Facts) { f.OS = "darwin" }, skipped, "", "not on this system (darwin)"},
		{"inotify", "not told", func(f *Facts) { f.Limits.Inotify = nil }, skipped, "", "not tell"},
		{"inotify", "too few watches", func(f *Facts) { f.Folders[0].Dirs = 700_000 }, problem, "",
			"echo fs.inotify.max_user_watches=2097152 | sudo tee /etc/sysctl.d/90-lockstep-max_user_watches.conf && sudo sysctl --system"},
		{"inotify", "hardly enough", func(f *Facts) { f.Folders[0].Dirs = 90_000 }, note, "", "max_user_watches=1048576"},
		{"inotify", "instances", func(f *Facts) { f.Limits.Inotify.OtherInstances = 128 }, problem, "", "max_user_instances=1024"},
		{"watching", "some are not", func(f *Facts) { f.Folders[0].Unwatched, f.Folders[0].Why = 7, "no space left" }, problem, "docs", "no space left"},
		{"watching", "halted", func(f *Facts) { f.Folders[0].Halted = "gone" }, problem, "docs", "gone"},
		{"disk", "unmounted", func(f *Facts) { f.Folders[0].Err = broken }, problem, "docs", "mount the disk"},
		{"disk", "too small for what comes", func(f *Facts) { f.Folders[0].PendingBytes = 200 << 30 }, problem, "docs", "200 GiB are to come to /d, and 100 GiB are free"},
		{"disk", "not told", func(f *Facts) { f.Folders[0].Disk.Known = false }, skipped, "docs", "not tell"},
		{"filesystem", "not tried", func(f *Facts) { f.Folders[0].FS = nil }, skipped, "docs", "cannot be tried"},
		{"filesystem", "not writable", func(f *Facts) { f.Folders[0].FS, f.Folders[0].FSErr = nil, broken }, problem, "docs", "no file can be made in /d: broken"},
		{"filesystem", "network", func(f *Facts) { f.Folders[0].Disk.Type, f.Folders[0].Disk.Network = "cifs", true }, note, "docs", "scan_interval"},
		{"filesystem", "no leases", func(f *Facts) { f.Folders[0].FS.Lease = false }, note, "docs", "owner of the files"},
		{"filesystem", "no exchange", func(f *Facts) { f.Folders[0].FS = &Features{Lease: true} }, note, "docs", "moved aside"},
		{"filesystem", "ignores case", func(f *Facts) { f.Folders[0].FS.IgnoresCase = true }, note, "docs", "second is blocked"},
		{"filesystem", "ignores accents' form", func(f *Facts) { f.Folders[0].FS.Composes = true }, note, "docs", "accents"},
		{"names", "case", func(f *Facts) { f.Folders[0].Clashes = []Clash{{Paths: []string{"A", "a"}}} }, note, "docs", `"A" and "a"`},
		{"names", "accents", func(f *Facts) { f.Folders[0].Clashes = []Clash{{Paths: []string{"\u00e9", "e\u0301"}, Unicode: true}} }, note, "docs", `"\u00e9" and "e\u0301"`},
		{"names", "blocked here", func(f *Facts) {
			f.Folders[0].FS.IgnoresCase = true
			f.Folders[0].Clashes = make([]Clash, 9)
		}, problem, "docs", "4 more"},
		{"address", "loopback", func(f *Facts) { f.Node.Advertise, f.Node.Listen = "127.0.0.1:1", "127.0.0.1:1" }, problem, "", `put listen = "0.0.0.0:7417" into /home/u/ls/config.toml`},
		{"address", "loopback of all", func(f *Facts) {
			f.Node.Advertise, f.Node.Listen = "127.0.0.1:1", "127.0.0.1:1"
			f.Members = nil
		}, note, "", "only nodes of this machine"},
		{"address", "loopback though it listens", func(f *Facts) { f.Node.Advertise = "localhost:7417" }, problem, "", `put advertise = "HOST:7417"`},
		{"address", "listens on loopback", func(f *Facts) { f.Node.Listen = "127.0.0.1:7417" }, note, "", "forward"},
		{"address", "moved", func(f *Facts) { f.Node.Own = []string{"198.51.100.7"} }, note, "", "it has 198.51.100.7"},
		{"address", "other port", func(f *Facts) { f.Node.Advertise = "192.0.2.1:80" }, note, "", "listens on port 7417"},
		{"address", "none", func(f *Facts) { f.Node.Advertise = "" }, skipped, "", "no address"},
		{"quorum", "removed", func(f *Facts) { f.Node.Removed, f.Node.Voters, f.Node.VotersOnline = true, 3, 1 }, skipped, "", "removed"},
		{"reachability", "removed", func(f *Facts) { f.Node.Removed = true }, problem, "", "join again"},
		{"reachability", "offline", func(f *Facts) {
			f.Members[0] = Member{Name: "b", Address: "192.0.2.2:7417", Dial: broken}
		}, note, "b", "nc -vz 192.0.2.2 7417"},
		{"reachability", "offline, heard of a moment ago", func(f *Facts) {
			f.Members[0] = Member{Name: "b", Address: "192.0.2.2:7417", Dial: broken, Heard: true}
		}, note, "b", "offline"},
		{"reachability", "it is not reached", func(f *Facts) { f.Members[0].Dial = broken }, problem, "b", "it can dial this one"},
		{"reachability", "hears of it only", func(f *Facts) { f.Members[0].Dial, f.Members[0].Heard = broken, false }, problem, "b", "cannot dial it at 192.0.2.2:7417: broken"},
		{"reachability", "this one is not reached", func(f *Facts) { f.Members[0].Dialled = broken }, problem, "b", "cannot dial this node at 192.0.2.1:7417: broken"},
		{"reachability", "older version", func(f *Facts) {
			f.Members[0].DialledKnown, f.Members[0].DialledWhy, f.Members[0].Heard = false, broken, false
		}, note, "b", "not known: broken"},
		{"clock", "ahead", func(f *Facts) { f.Members[1].Ahead = 5 * time.Second }, note, "c", "5s ahead of this machine's"},
		{"clock", "behind", func(f *Facts) { f.Members[1].Ahead = -time.Hour }, problem, "c", "1h0m0s behind this machine's"},
		{"clock", "not known", func(f *Facts) { f.Members[0].ClockKnown, f.Members[1].ClockKnown = false, false }, skipped, "", "no other node"},
		{"version", "another", func(f *Facts) { f.Members[0].Version = "2" }, note, "b", "version 2"},
		{"quorum", "none", func(f *Facts) {
			f.Node.Quorum, f.Node.VotersOnline, f.Node.Offline = false, 1, []string{"b", "c"}
		}, problem, "", "start b, c"},
		{"quorum", "election", func(f *Facts) { f.Node.Quorum = false }, note, "", "election"},
		{"quorum", "no spare", func(f *Facts) { f.Node.VotersOnline, f.Node.Offline = 2, []string{"c"} }, note, "", "start c"},
		{"quorum", "alone", func(f *Facts) { f.Node.Voters, f.Node.VotersOnline, f.Members = 1, 1, nil }, note, "", "lockstep invite"},
		{"quorum", "one decides", func(f *Facts) { f.Node.Voters, f.Node.VotersOnline = 1, 1 }, note, "", "one node alone decides (a)"},
		{"quorum", "not known", func(f *Facts) { f.Node.Voters = 0 }, skipped, "", "not known"},
	} {
		covered[c.check] = true
		f := well()
		c.change(&f)
		hit := false
		for _, x := range Run(f).Findings {
			if x.Check == c.check && x.Level == c.level {
				hit = hit || x.Subject == c.subject && strings.Contains(x.Message+" | "+x.Fix+" | "+x.Command, c.want)
			}
			if x.Level == problem && x.Fix == "" {
				t.Errorf("%s, %s: a problem without a way to mend it: %+v", c.check, c.name, x)
			}
		}
		if !hit {
			t.Errorf("%s, %s: no %s of %q with %q in %+v", c.check, c.name, c.level, c.subject, c.want, Run(f).Findings)
		}
	}
	for _, c := range checks {
		if !covered[c.name] {
			t.Errorf("check %s has no row", c.name)
		}
	}
}

// TestOffline: without the daemon what needs it is skipped, and nothing panics.
func TestOffline(t *testing.T) {
	t.Parallel()
	r := Run(Facts{OS: "linux", Home: Home{Path: "/h"}})
	if r.Running || r.Problems() != 1 {
		t.Errorf("%+v", r)
	}
}
