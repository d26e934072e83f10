package meta

import (
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Diff is Compare with moves: a path that was moved meanwhile, as history knows it
// and never by a likeness of content, is one difference, told at its new path with
// then at its old one. What was moved out of under is told too. An old path at which
// something new was made stays a difference of its own, and what was moved away from
// there a new path: each path whose entry differs is accounted for.
func (v *View) Diff(f id.Folder, under id.Path, then, now id.Revision, fn func(then, now Version) error) error {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	t := tracer{d: v.d, folder: f, then: min(then, now, head), now: min(now, head)}
	return v.Compare(f, under, t.then, t.now, func(was, is Version) error {
		if is.Entry.Kind == Absent {
			to, err := t.forward(was.Path)
			if err != nil {
				return err
			}
			moved, err := t.moved(was.Path, to)
			switch {
			case err != nil:
				return err
			case moved && to.Within(under):
				return nil // told there
			case moved:
				x, _, err := v.d.at(f, to, t.now)
				if err != nil {
					return err
				}
				return fn(was, x.Version)
			}
			return fn(was, is)
		}
		from, err := t.origin(is.Path)
		if err != nil {
			return err
		}
		moved, err := t.moved(from, is.Path)
		if err != nil {
			return err
		}
		if moved {
			x, _, err := v.d.at(f, from, t.then)
			if err != nil {
				return err
			}
			was = x.Version
		}
		return fn(was, is)
	})
}

// tracer follows entries along their moves between two revisions.
type tracer struct {
	d         reads
	folder    id.Folder
	then, now id.Revision
}

// maxTrace bounds the moves of one entry that are followed.
const maxTrace = 64

// moved reports whether from at then became to at now, and is to be told so.
func (t tracer) moved(from, to id.Path) (bool, error) {
	if from == "" || to == "" || from == to {
		return false, nil
	}
	if o, err := t.origin(to); err != nil || o != from {
		return false, err
	}
	was, _, err := t.d.at(t.folder, to, t.then)
	if err != nil {
		return false, err
	}
	is, _, err := t.d.at(t.folder, to, t.now)
	if err != nil || was.Entry == is.Entry {
		return false, err // no difference at the new path: it is the old one that went
	}
	left, _, err := t.d.at(t.folder, from, t.now)
	if err != nil || !left.live() {
		return err == nil, err
	}
	old, _, err := t.d.at(t.folder, from, t.then)
	if err != nil || old.Entry == left.Entry {
		return false, err // no difference at the old path: as if nothing had left it
	}
	o, err := t.origin(from)
	return o != "" && o != from, err
}

// origin is where what is at p now was then, "" if it was not there yet.
func (t tracer) origin(p id.Path) (id.Path, error) {
	newest := t.now
	for range maxTrace {
		var came version
		made := false
		err := t.d.versions(t.folder, p, newest, t.then+1, func(x version) (bool, error) {
			made = !x.live()
			if !made && x.From != "" {
				came = x
			}
			return !made && x.From == "", nil
		})
		if err != nil || made {
			return "", err
		}
		if came.From == "" {
			x, _, err := t.d.at(t.folder, p, t.then)
			if err != nil || !x.live() {
				return "", err
			}
			return p, nil
		}
		left, _, err := t.d.at(t.folder, came.From, came.Revision)
		if err != nil || left.live() && left.Revision < came.Revision {
			return "", err // a conflict copy: the original is where it was
		}
		p, newest = came.From, came.Revision-1
	}
	return "", nil
}

// forward is where what was at p then is now, "" if it is gone.
func (t tracer) forward(p id.Path) (id.Path, error) {
	since := t.then
	for range maxTrace {
		var end version
		err := t.d.versions(t.folder, p, t.now, since+1, func(x version) (bool, error) {
			if !x.live() || x.From != "" {
				end = x
			}
			return true, nil
		})
		switch {
		case err != nil:
			return "", err
		case end.Path == "":
			return p, nil
		case end.live() || end.To == "":
			return "", nil
		}
		p, since = end.To, end.Revision
	}
	return "", nil
}

func errNoVersion(p id.Path, r id.Revision) error {
	return fmt.Errorf("%w: no version of %q at revision %s", ErrDamaged, string(p), r)
}
