package folder

import (
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// Mode is which way changes go between this disk and the history.
type Mode string

// The modes.
const (
	ModeBoth    Mode = "both"
	ModeSend    Mode = "send"    // nothing is brought to this disk
	ModeReceive Mode = "receive" // nothing of this disk is proposed
)

// How status speaks of what is left as it is.
const (
	whyHeld    = "its deletion here is held"
	whyMade    = "made here"
	whySkipped = "what others made of it is not brought here, for this node only sends"
	whyInWay   = "something that was made here is in the way of its directory"
	whyHolds   = "removed by history, and holds what was made here"
)

// keptHere is a change on this disk that a receiving node does not propose.
type keptHere struct {
	reason string
	// disk is what was found there: the file is not read again while it is so.
	disk reconcile.Disk
}

// FolderName stands for the folder's name in what an Explanation says to do: an engine
// knows its folder by its ID.
const FolderName = "FOLDER"

// keptWay says what becomes of a change that is kept here.
func keptWay(k keptHere) string {
	if k.reason == whyMade {
		return "`lockstep folder revert " + FolderName + "` moves it to .lockstep/reverted in the folder"
	}
	return "`lockstep folder revert " + FolderName + "` puts the committed version in its place"
}

// keepHere notes such a change. mu is held.
func (e *Engine) keepHere(p id.Path, d reconcile.Disk, c choice) {
	reason := "changed here"
	switch {
	case d.Stat.Kind == vfs.Absent:
		reason = "deleted here"
	case !c.had:
		reason = whyMade
	}
	e.st.keep(p, keptHere{reason, d})
	if c.had && c.row.Stat.Kind == vfs.Dir && d.Stat.Kind != vfs.Dir {
		e.st.unkeepGone(p) // it says so of all that was in it
	}
}

// known takes what a receiving node would propose for a version that history holds,
// where its bytes are one: the head's, or those of the record under another time. The
// head's attributes come back then.
func (c *choice) known(head meta.Base) {
	if c.Action != reconcile.Propose || c.Change.Op != meta.OpPut || c.disk.Entry.Kind != meta.File {
		return
	}
	switch {
	case c.had && c.disk.Entry.SameContent(c.row.Entry):
		if c.disk.Entry.Mode == c.row.Entry.Mode {
			c.Decision = reconcile.Decision{Action: reconcile.Adopt, Base: c.row.Base, Entry: c.disk.Entry}
		}
	case c.disk.Entry.SameContent(c.head.Entry):
		c.Decision = reconcile.Decision{Action: reconcile.Adopt, Base: head, Entry: c.disk.Entry}
	}
}

// leave postpones a path that stays as it is on this disk: until its disk or its head
// changes, or the user says otherwise.
func (e *Engine) leave(p id.Path, why string) {
	e.st.postpone(p, postponed{why: why, blocked: why, kept: true, at: time.Now().Add(retryBlocked)})
}

// skip postpones a path whose head is not brought, for the node only sends.
func (e *Engine) skip(p id.Path) {
	e.st.postpone(p, postponed{why: whySkipped, skipped: true, at: time.Now().Add(time.Hour)})
}

// staysHere explains a path that waits for its user's word, if it does. mu is held.
func (e *Engine) staysHere(p id.Path, d postponed, x *Explanation) bool {
	k, kept := e.st.keptAt(p)
	row, had, err := e.o.Local.Get(e.o.ID, p)
	switch {
	case kept:
		x.Step, x.Reason = Stuck, keptReason(k)+"; "+keptWay(k)
	case d.skipped:
		x.Step, x.Reason = Stuck, d.why
	case e.brake.on && had && err == nil && e.absent(p, row):
		x.Step, x.Reason, x.Since = Stuck, whyHeld+"; `lockstep folder allow "+FolderName+"` lets it go, `lockstep folder revert "+FolderName+"` puts it back", e.brake.held.Since
	default:
		return false
	}
	return true
}

// absent reports whether a recorded path is missing from the disk.
func (e *Engine) absent(p id.Path, row local.Row) bool {
	f, err := e.openFS()
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := lstat(f, p)
	return err == nil && st.Kind == vfs.Absent && row.Stat.Kind != vfs.Absent
}

// seenHere is what the follower knows of a path: of a change that is kept here, what
// was read of it.
func (e *Engine) seenHere(f vfs.FS, n lstater, p id.Path) reconcile.Disk {
	d := lookNear(f, n, p)
	if k, ok := e.st.keptAt(p); ok && k.disk.Hashed && k.disk.Stat.Same(d.Stat) {
		return k.disk
	}
	return d
}

// takeUpKept sends a file that was kept here to the local loop, which reads it again:
// by now history holds these bytes. It reports whether it did. mu is held.
func (e *Engine) takeUpKept(p id.Path, c choice) bool {
	if _, ok := e.st.keptAt(p); !ok || c.disk.Stat.Kind != vfs.File {
		return false
	}
	e.st.unkeep(p)
	e.watch.Requeue(p)
	e.st.postpone(p, postponed{why: whyLocal, at: time.Now().Add(retryLocal)})
	return true
}

// leftAlone postpones a path on which this disk differs and stays so, and reports
// whether it did. mu is held.
func (e *Engine) leftAlone(p id.Path, c choice) bool {
	switch {
	case e.brake.on && c.had && c.row.Stat.Kind == vfs.Dir && c.disk.Stat.Kind != vfs.Dir:
		e.leave(p, whyHeld) // gone, or another thing in its place
		return true
	case c.Action != reconcile.Propose:
		return false
	case e.o.Mode == ModeReceive:
		if c.had && c.row.Stat.Same(c.disk.Stat) {
			return false // of another history: its record goes, then it is looked at anew
		}
		e.keepHere(p, c.disk, c)
		k, _ := e.st.keptAt(p)
		e.leave(p, k.reason)
		return true
	case e.brake.on && c.disk.Stat.Kind == vfs.Absent:
		e.leave(p, whyHeld)
		return true
	}
	return false
}

// wayTo reports whether the directories above a path that is to be brought are there,
// or come with it. One whose deletion here stays here comes back for it; where
// something else is in its place, the path is left out. mu is held.
func (e *Engine) wayTo(b *local.Batch, f vfs.FS, p id.Path) (open bool, err error) {
	if e.o.Mode != ModeReceive && !e.brake.on {
		return true, nil
	}
	back := false
	for d := p.Dir(); d != ""; d = d.Dir() {
		st, err := lstat(f, d)
		if err != nil || st.Kind == vfs.Dir {
			break
		}
		row, had, err := e.o.Local.Get(e.o.ID, d)
		switch {
		case err != nil:
			return false, err
		case st.Kind != vfs.Absent && !(had && row.Stat.Same(st)):
			e.leave(p, whyInWay)
			return false, nil
		case had && row.Stat.Kind == vfs.Dir:
			if err := e.keepRest(d, p); err != nil {
				return false, err
			}
			e.dropRow(b, d, row)
			e.st.unkeep(d)
			e.st.postpone(d, postponed{why: whyFollow})
			back = true
		}
	}
	if back {
		e.st.postpone(p, postponed{why: whyFollow})
		e.lookAgain()
	}
	return !back, nil
}

// keepRest notes, for a directory whose deletion was kept here and that comes back for
// p, that what else was in it stays deleted. mu is held.
func (e *Engine) keepRest(dir, p id.Path) error {
	if e.o.Mode != ModeReceive {
		return nil
	}
	return e.o.Local.Children(e.o.ID, dir, func(name string, _ local.Row) error {
		if q := dir.Join(name); !p.Within(q) {
			e.st.keep(q, keptHere{reason: "deleted here"})
			e.watch.Requeue(q) // history may not have it any more
		}
		return nil
	})
}
