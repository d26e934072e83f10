package meta

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The index of times: clocks may go back between two leaders, so stamps are not in
// the order of revisions, and a search needs to know the earliest and the latest
// stamp of whole ranges. Level n has a row for each complete block of 64^n
// revisions, 64^n·k+1 to 64^n·(k+1); level 0 are the commits' headers.
const timeFanout = 64

// stamps is the earliest and the latest time of a block, in nanoseconds since 1970.
type stamps struct{ first, last int64 }

// indexTime completes the blocks that end with revision r, whose commit row is set.
func (t *txn) indexTime(f id.Folder, r id.Revision) error {
	for level, size := byte(1), id.Revision(timeFanout); r%size == 0; level, size = level+1, size*timeFanout {
		s, err := reads{t}.stamps(f, level-1, r)
		if err != nil {
			return err
		}
		for i := id.Revision(1); i < timeFanout; i++ {
			x, err := reads{t}.stamps(f, level-1, r-i*size/timeFanout)
			if err != nil {
				return err
			}
			s = stamps{min(s.first, x.first), max(s.last, x.last)}
		}
		t.set(timeKey(f, level, r), appendUint64(appendUint64(nil, uint64(s.first)), uint64(s.last)))
	}
	return nil
}

// stamps reads the block of a level that ends with revision r.
func (d reads) stamps(f id.Folder, level byte, r id.Revision) (stamps, error) {
	if level == 0 {
		c, ok, err := d.commit(f, r)
		if err == nil && !ok {
			err = fmt.Errorf("%w: no header of revision %s", ErrDamaged, r)
		}
		return stamps{nanos(c.Time), nanos(c.Time)}, err
	}
	b, ok, err := d.r.Get(timeKey(f, level, r))
	if err == nil && (!ok || len(b) != 16) {
		err = fmt.Errorf("%w: times up to revision %s", ErrDamaged, r)
	}
	if err != nil {
		return stamps{}, err
	}
	return stamps{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// newestStamped returns the newest revision up to r whose stamp is one that wanted
// takes, 0 if there is none. wanted says of a block whether it may hold such a one.
func (d reads) newestStamped(f id.Folder, r id.Revision, wanted func(stamps) bool) (id.Revision, error) {
	for r > 0 {
		step := id.Revision(0)
		for level, size := byte(0), id.Revision(1); r%size == 0; level, size = level+1, size*timeFanout {
			s, err := d.stamps(f, level, r)
			if err != nil {
				return 0, err
			}
			if wanted(s) {
				break
			}
			step = size
		}
		if step == 0 {
			return r, nil
		}
		r -= step
	}
	return 0, nil
}

// maxCandidates bounds the revisions that RevisionAt lists.
const maxCandidates = 1000

// RevisionAt returns the newest revision stamped at or before t, 0 if there is
// none. Where earlier revisions are stamped after t (a clock stood wrong), the
// time names no one state: they are returned too, the oldest first, so that the user
// can choose; of very many the newest 1000.
func (v *View) RevisionAt(f id.Folder, t time.Time) (r id.Revision, later []id.Revision, err error) {
	head, err := v.head(f)
	if err != nil {
		return 0, nil, err
	}
	r, err = v.d.newestStamped(f, head, func(s stamps) bool { return !fromNanos(s.first).After(t) })
	if err != nil || r == 0 {
		return 0, nil, err
	}
	after := func(s stamps) bool { return fromNanos(s.last).After(t) }
	for next := r - 1; next > 0 && len(later) < maxCandidates; next-- {
		if next, err = v.d.newestStamped(f, next, after); err != nil || next == 0 {
			break
		}
		later = append(later, next)
	}
	slices.Reverse(later)
	return r, later, err
}
