package meta

import (
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Diff is Compare with moves: a path that was moved meanwhile, as history knows it
// and never by a likeness of content, is one difference, told at its new path with
// then at its old one. What was moved out of under is told too. An old path at which
// something new was made stays a difference of its own, and what was moved away from
// there a new path: each path whose entry differs is accounted for.
func (v *View) Diff(f id.Folder, under id.Path, then, now id.Revision, fn func(then, now Version) error) (err error) {
	t, err := v.tracer(f, then, now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
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
				x, _, err := t.at(to, t.now)
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
			x, _, err := t.at(from, t.then)
			if err != nil {
				return err
			}
			was = x.Version
		}
		return fn(was, is)
	})
}

// Was returns where what is at p at now was at then, "" if it was not there yet.
func (v *View) Was(f id.Folder, p id.Path, then, now id.Revision) (was id.Path, err error) {
	t, err := v.tracer(f, then, now)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	return t.origin(p)
}

// tracer follows entries along their moves between two revisions.
type tracer struct {
	*cursor
	then, now id.Revision
	// claimed are the old paths of moves told without a tombstone that points there:
	// one commit may have moved two entries away from one path, one after the other.
	claimed map[id.Path]bool
}

func (v *View) tracer(f id.Folder, then, now id.Revision) (tracer, error) {
	head, err := v.head(f)
	if err != nil {
		return tracer{}, err
	}
	c, err := v.d.cursor(f)
	return tracer{cursor: c, then: min(then, now, head), now: min(now, head), claimed: map[id.Path]bool{}}, err
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
	was, _, err := t.at(to, t.then)
	if err != nil {
		return false, err
	}
	is, _, err := t.at(to, t.now)
	if err != nil || was.Entry == is.Entry {
		return false, err // no difference at the new path: it is the old one that went
	}
	left, _, err := t.at(from, t.now)
	if err != nil {
		return false, err
	}
	if left.live() {
		old, _, err := t.at(from, t.then)
		if err != nil || old.Entry == left.Entry {
			return false, err // no difference at the old path: as if nothing had left it
		}
		if o, err := t.origin(from); err != nil || o == "" || o == from {
			return false, err
		}
	}
	switch went, err := t.forward(from); {
	case err != nil || went == to:
		return err == nil, err
	case went != "" || t.claimed[from]:
		return false, nil
	}
	t.claimed[from] = true
	return true, nil
}

// origin is where what is at p now was then, "" if it was not there yet.
func (t tracer) origin(p id.Path) (id.Path, error) {
	newest := t.now
	for range maxTrace {
		var came version
		made := false
		err := t.versions(p, newest, t.then+1, func(x version) (bool, error) {
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
			x, _, err := t.at(p, t.then)
			if err != nil || !x.live() {
				return "", err
			}
			return p, nil
		}
		left, _, err := t.at(came.From, came.Revision)
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
		err := t.versions(p, t.now, since+1, func(x version) (bool, error) {
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
