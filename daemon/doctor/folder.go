package doctor

import (
	"fmt"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func checkDisk(f Facts) []control.Finding {
	var out []control.Finding
	for _, x := range f.Folders {
		if x.Err != nil {
			out = append(out, about(x.Name, fixed(problem("its directory cannot be looked at: %v", x.Err), "mount the disk, or put the directory back at %s", x.Root)))
			continue
		}
		if low, bad := lowSpace(x.Disk, uint64(max(x.PendingBytes, 0)), x.Root); bad {
			out = append(out, about(x.Name, low))
			continue
		}
		if !x.Disk.Known {
			out = append(out, about(x.Name, skipped("this system does not tell how much is free")))
			continue
		}
		out = append(out, about(x.Name, ok("%s free at %s", size(x.Disk.Free), x.Root)))
	}
	return one(out, ok("no folders"))
}

func checkFilesystem(f Facts) []control.Finding {
	var out []control.Finding
	for _, x := range f.Folders {
		switch {
		case x.Err != nil || x.FS == nil && x.FSErr == nil:
			out = append(out, about(x.Name, skipped("its directory cannot be tried")))
		case x.FSErr != nil:
			out = append(out, about(x.Name, fixed(problem("no file can be made in %s: %v", x.Root, x.FSErr),
				"run the daemon as the owner of the directory; or mount it for writing, or free some space, whichever it is")))
		default:
			out = append(out, features(f.OS, x)...)
		}
	}
	return one(out, ok("no folders"))
}

// features says what a folder's filesystem cannot do, and what follows from it.
func features(os string, x Folder) (out []control.Finding) {
	say := func(f control.Finding) { out = append(out, about(x.Name, f)) }
	kind := x.Disk.Type
	if kind == "" {
		kind = "its filesystem"
	}
	if x.Disk.Network {
		say(fixed(note("%s is on a network (%s): changes made on other machines give no notice, and are found by scans", x.Root, kind),
			"keep the folder on the machine that has the disk, or set a short scan_interval in config.toml"))
	}
	if !x.FS.Exchange && !x.FS.NoReplace {
		say(note("%s cannot move files into place without a gap: each is moved aside first, under a note that a restart finishes", kind))
	}
	if os == "linux" && !x.FS.Lease {
		say(fixed(note("%s gives no leases to this user: a file counts as finished by quiet time alone", kind),
			"run the daemon as the owner of the files"))
	}
	switch {
	case x.FS.IgnoresCase && x.FS.Composes:
		say(note("%s holds names that differ in case, or in how accents are written, for one: of two such the second is blocked here", kind))
	case x.FS.IgnoresCase:
		say(note("%s holds names that differ in case for one: of two such the second is blocked here", kind))
	case x.FS.Composes:
		say(note("%s holds names that differ in how accents are written for one: of two such the second is blocked here", kind))
	}
	var can []string
	for _, c := range []struct {
		has  bool
		name string
	}{{x.FS.Exchange, "exchange"}, {x.FS.Reflink, "reflinks"}, {x.FS.Lease, "leases"}} {
		if c.has {
			can = append(can, c.name)
		}
	}
	if len(out) == 0 {
		if len(can) == 0 {
			can = []string{"what is needed"}
		}
		say(ok("%s has %s", kind, join(can)))
	}
	return out
}

// shownClashes is how many a finding lists.
const shownClashes = 5

func checkNames(f Facts) []control.Finding {
	var out []control.Finding
	for _, x := range f.Folders {
		if len(x.Clashes) == 0 {
			continue
		}
		blocked := x.FS != nil && (x.FS.IgnoresCase || x.FS.Composes)
		var list []string
		unicode := false
		for i, c := range x.Clashes {
			unicode = unicode || c.Unicode
			if i < shownClashes {
				list = append(list, quoted(c))
			}
		}
		more := ""
		if n := len(x.Clashes) - shownClashes; n > 0 || x.MoreClashes {
			more = fmt.Sprintf("; %d more", n)
			if x.MoreClashes {
				more = "; and many more"
			}
		}
		how := "only in case"
		if unicode {
			how = "only in case or in how accents are written"
		}
		what := fmt.Sprintf("names that differ %s, which macOS and Windows hold for one: %s%s", how, strings.Join(list, "; "), more)
		finding := note("%s", what)
		if blocked {
			finding = problem("%s; this disk holds only one of each", what)
		}
		out = append(out, about(x.Name, fixed(finding, "rename one of each")))
	}
	return one(out, ok("no two names differ only in case or in how accents are written"))
}

// quoted shows the names; where they look alike, by the numbers of what differs.
func quoted(c Clash) string {
	form := "%q"
	if c.Unicode {
		form = "%+q"
	}
	q := make([]string, len(c.Paths))
	for i, p := range c.Paths {
		q[i] = fmt.Sprintf(form, p)
	}
	return strings.Join(q, " and ")
}
