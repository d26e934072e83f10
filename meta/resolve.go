package meta

import (
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// resolveConflict closes a record as the user decided.
func (c *commit) resolveConflict(cmd ResolveCmd) (reason string, err error) {
	x, ok, err := reads{c.t}.conflict(c.folder, cmd.Conflict)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "no such conflict", nil
	case x.State == ConflictAutomatic:
		return "it was decided by rule, nothing is open", nil
	case x.State != ConflictOpen:
		return "it is resolved already: " + x.Resolution, nil
	}
	if ok, err := c.holds(cmd.Seen); err != nil || !ok {
		return "the revision it was decided on is not in this history", err
	}
	path, _, err := c.newest(x.Path)
	if err != nil {
		return "", err
	}
	other, _, err := c.newest(x.CopyPath)
	if err == nil {
		other, err = c.loser(x, other)
	}
	if err != nil {
		return "", err
	}
	for _, v := range []version{path, other} {
		if v.Revision > cmd.Seen.Revision {
			return fmt.Sprintf("%q has changed since it was looked at, at revision %s", string(v.Path), v.Revision), nil
		}
	}
	k := keeping{c: c, cmd: cmd, x: &x, path: path, other: other}
	if reason, err := k.keep(); reason != "" || err != nil {
		return reason, err
	}
	c.resolved(&x, cmd.Keep.String())
	c.conflicts = append(c.conflicts, x)
	return "", nil
}

// resolved closes an open record.
func (c *commit) resolved(x *Conflict, resolution string) {
	x.State, x.ResolvedBy, x.ResolvedAt, x.Resolution = ConflictResolved, c.node, c.rev, resolution
	c.state.Open--
}

// keeping is one resolution under way. path and other are the newest versions of the
// record's path and of its copy.
type keeping struct {
	c           *commit
	cmd         ResolveCmd
	x           *Conflict
	path, other version
}

// keep makes the effects of a resolution, or none with a reason.
func (k keeping) keep() (reason string, err error) {
	switch k.cmd.Keep {
	case KeepBoth:
		return k.both()
	case KeepWinner:
		return "", k.remove(k.other)
	case KeepLoser:
		switch {
		case k.other.Entry.Kind == Dir:
			return k.moveOver()
		case k.other.hidden():
			return k.put(k.other.Lost)
		case k.other.live():
			return k.put(k.other.Entry)
		}
		return "the other side is gone", nil
	case KeepWith:
		e, ok := k.cmd.Entry.normal()
		if !ok || e.Kind == Dir {
			return "not a file", nil
		}
		return k.put(e)
	}
	return fmt.Sprintf("unknown resolution %d", k.cmd.Keep), nil
}

// put makes e the path's and removes the copy.
func (k keeping) put(e Entry) (reason string, err error) {
	if reason, err := k.free(k.x.Path, k.path.Entry.Kind == Dir); reason != "" || err != nil {
		return reason, err
	}
	if err := k.c.set(version{Version: Version{Path: k.x.Path, Entry: e}}); err != nil {
		return "", err
	}
	return "", k.remove(k.other)
}

// moveOver moves the copy, a directory, to the path.
func (k keeping) moveOver() (reason string, err error) {
	c, to := k.c, k.x.Path
	if to.Within(k.other.Path) || k.other.Path.Within(to) {
		return fmt.Sprintf("%q and %q are within one another: move them by hand", string(to), string(k.other.Path)), nil
	}
	if ok, err := c.fits(k.other, to, false); err != nil {
		return "", err
	} else if !ok {
		return fmt.Sprintf("what is in %q cannot be named below %q", string(k.other.Path), string(to)), nil
	}
	if reason, err := k.free(to, k.path.live()); reason != "" || err != nil {
		return reason, err
	}
	_, err = c.moveTree(subtree{head: k.other, name: to, dst: to, src: target{path: k.other.Path, origin: k.other.Path, base: k.cmd.Seen}})
	return "", err
}

// both leaves both sides, and puts beside what lost without a copy.
func (k keeping) both() (reason string, err error) {
	if !k.other.hidden() {
		return "", nil
	}
	c, to := k.c, k.x.Path.Dir().Join(k.x.CopyPath.Base()) // the path may have moved since
	there, _, err := c.newest(to)
	if err != nil {
		return "", err
	}
	if reason, err := k.free(to, false); err != nil {
		return "", err
	} else if reason != "" || there.live() || len(to) > id.MaxPath {
		if to, err = c.copyPath(k.x.Path, k.other.Lost.Kind); err != nil {
			return "", err
		}
		if reason, err := k.free(to, false); reason != "" || err != nil {
			return reason, err
		}
	}
	k.x.CopyPath, k.x.Hidden = to, false
	return "", c.set(version{Version: Version{Path: to, From: k.x.Path, Entry: k.other.Lost}})
}

// free makes p a place for another entry: its parents are directories then, and, with
// clear, nothing is there any more. What nobody has looked at stays, and is the reason.
func (k keeping) free(p id.Path, clear bool) (reason string, err error) {
	c := k.c
	for q := p.Dir(); q != ""; q = q.Dir() {
		if v, _, err := c.newest(q); err != nil {
			return "", err
		} else if v.live() && v.Entry.Kind != Dir {
			return fmt.Sprintf("%q is a %s now", string(q), v.Entry.Kind), nil
		}
	}
	if clear {
		kept, err := c.survivors(target{path: p, origin: p, base: k.cmd.Seen}, k.path)
		if err != nil {
			return "", err
		}
		if len(kept.paths) != 0 {
			return fmt.Sprintf("%q has changed since it was looked at, at revision %s", string(kept.paths[0].Path), kept.paths[0].Revision), nil
		}
		if err := c.removeTree(k.path, kept); err != nil {
			return "", err
		}
	}
	return "", c.ensureParents(p)
}

// remove deletes v with what is below it; what nobody has looked at stays.
func (k keeping) remove(v version) error {
	if !v.live() {
		return nil
	}
	kept, err := k.c.survivors(target{path: v.Path, origin: v.Path, base: k.cmd.Seen}, v)
	if err != nil {
		return err
	}
	return k.c.removeTree(v, kept)
}
