package reconcile

import (
	"fmt"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// The small world of the exhaustive test: an absence, two files of other
// content, one of the first's content with another mode and mtime, a directory,
// a symlink.
var entries = map[string]meta.Entry{
	"absent":  {},
	"file a":  {Kind: meta.File, Mode: 0o644, Size: 1, MTime: 1, Content: id.Sum([]byte("a"))},
	"file a2": {Kind: meta.File, Mode: 0o755, Size: 1, MTime: 2, Content: id.Sum([]byte("a"))},
	"file b":  {Kind: meta.File, Mode: 0o644, Size: 1, MTime: 3, Content: id.Sum([]byte("b"))},
	"dir":     {Kind: meta.Dir, Mode: 0o755},
	"link":    {Kind: meta.Symlink, Target: "x"},
}

func statOf(e meta.Entry, ino uint64) vfs.Stat {
	if e.Kind == meta.Absent {
		return vfs.Stat{}
	}
	return vfs.Stat{Kind: vfs.Kind(e.Kind), Mode: e.Mode, Size: e.Size, MTime: e.MTime, CTime: int64(ino), Ino: ino}
}

type world struct {
	name string
	h    Head
	q    Queue
	r    Recorded
	d    Disk
}

func worlds() (out []world) {
	for hn, he := range entries {
		for _, seq := range []id.Sequence{0, 4} {
			for _, lin := range []Lineage{Unrecorded, Held, Ahead, Foreign} {
				for rn, re := range entries {
					if (lin == Unrecorded) != (re.Kind == meta.Absent) {
						continue // a record is always of something
					}
					for dn, de := range entries {
						for _, ino := range []uint64{1, 2} { // 1: the recorded inode
							for _, hashed := range []bool{false, true} {
								for _, left := range []string{"", "blocked", "ignored", "forgotten", "disk outside", "record outside", "both outside", "baseless"} {
									if left == "baseless" && lin != Held {
										continue // only of what history holds elsewhere
									}
									disk, record := left == "disk outside" || left == "both outside", left == "record outside" || left == "both outside"
									w := world{
										name: fmt.Sprintf("head %s, queue %d, recorded %s (%d), disk %s ino %d hashed %v %s", hn, seq, rn, lin, dn, ino, hashed, left),
										h:    Head{Revision: 7, Hash: [8]byte{7}, Entry: he, Forgotten: left == "forgotten"},
										q:    Queue{Sequence: seq},
										r:    Recorded{Lineage: lin, Entry: re, Stat: statOf(re, 1)},
										d:    Disk{Stat: statOf(de, ino), Hashed: hashed, Blocked: left == "blocked", Ignored: left == "ignored" || disk, Outside: disk},
									}
									w.r.Outside = record && lin != Unrecorded
									if lin != Unrecorded && left != "baseless" {
										w.r.Base = meta.Base{Revision: 5, Hash: [8]byte{5}}
									}
									if hashed {
										w.d.Entry = de
									}
									out = append(out, w)
								}
							}
						}
					}
				}
			}
		}
	}
	return out
}

// TestEveryCase checks the rules over every combination of the small world.
func TestEveryCase(t *testing.T) {
	ws := worlds()
	for _, w := range ws {
		got := Decide("p", w.h, w.q, w.r, w.d)
		if bad := violated(w, got); bad != "" {
			t.Errorf("%s\n  answer %v why %d change %+v\n  violates: %s", w.name, got.Action, got.Why, got.Change, bad)
		}
		if again := Decide("p", w.h, w.q, w.r, w.d); again != got {
			t.Errorf("%s: asked twice, answered %v and %v", w.name, got, again)
		}
	}
	t.Logf("%d cases", len(ws))
}

func violated(w world, got Decision) string {
	absent := w.d.Stat.Kind == vfs.Absent
	isClean := w.r.Stat.Same(w.d.Stat)
	if w.d.Outside && !absent && w.r.Lineage == Unrecorded && got.Action != Nothing && got.Action != Wait {
		return "what is not kept here is left alone"
	}
	if w.d.Ignored && !absent && w.r.Lineage == Unrecorded {
		if untracked := w.h.Entry.Kind == meta.Absent; untracked && w.q.Sequence == 0 && got.Action != Nothing {
			return "what is ignored and untracked is left alone"
		}
		if got.Action == Nothing && w.h.Entry.Kind == meta.Absent || got.Action == Wait {
			return ""
		}
	} else if got.Why == ForIgnored {
		return "only what is ignored waits for that"
	} else if w.d.Ignored {
		d := w.d
		if d.Ignored = false; got != Decide("p", w.h, w.q, w.r, d) {
			return "rules say nothing about what is tracked"
		}
	}
	if w.h.Forgotten && w.h.Entry.Kind == meta.Absent && got.Action == Materialize && !absent {
		return "what the head forgot is not removed"
	}
	if w.r.Outside && w.h.Entry.Kind == meta.Absent && w.q.Sequence == 0 {
		if got != (Decision{Action: LetGo}) {
			return "what is not kept is let go"
		}
		return ""
	}
	switch {
	case got.Action == LetGo && !(w.h.Forgotten && w.h.Entry.Kind == meta.Absent && isClean && w.q.Sequence == 0 && w.r.Lineage == Held):
		return "only what is known and at rest is let go"
	case w.d.Blocked:
		if got.Action != Wait {
			return "what cannot be read is left alone"
		}
	case got.Action == Materialize && !isClean && !absent:
		return "bytes that are not recorded are never replaced"
	case got.Action == Materialize && w.q.Sequence != 0:
		return "no head is brought over an own change under way"
	case got.Action == Materialize && isClean && w.r.Lineage == Ahead:
		return "a head older than the record is never brought"
	case got.Action == Materialize && w.r.Lineage == Foreign && isClean:
		return "bytes of another history are proposed before they are replaced"
	case got.Action == Propose && isClean && w.r.Lineage != Foreign:
		return "a clean disk makes no change"
	case got.Action == Propose && got.Change.Op == meta.OpPut && !isClean && (!w.d.Hashed || got.Change.Entry != w.d.Entry):
		return "a put carries what was hashed"
	case got.Action == Propose && w.q.Sequence != 0 && got.Change.Base.Own != w.q.Sequence:
		return "a change upon an own change under way names it"
	case got.Action == Propose && w.q.Sequence == 0 && w.r.Lineage == Held && got.Change.Base != w.r.Base:
		return "a change names the version that it was made from"
	case got.Action == Propose && w.q.Sequence == 0 && (w.r.Lineage == Foreign || w.r.Lineage == Unrecorded) && !got.Change.Base.IsNone():
		return "a version of another history is no base"
	case got.Action == Propose && got.Change.Op == meta.OpPut && got.Change.Mask == 0:
		return "a put changes something"
	case got.Action == Propose && got.Change.Op == meta.OpDelete && !absent:
		return "only what is gone is deleted"
	case got.Action == Adopt && absent && got.Entry.Kind != meta.Absent, got.Action == Adopt && !absent && (!w.d.Hashed && !isClean):
		return "only known bytes are adopted"
	case got.Action == Adopt && !absent && !isClean && got.Entry != w.d.Entry:
		return "what is adopted is what is there"
	case got.Action == Nothing && !(isClean && w.r.Entry == w.h.Entry):
		return "nothing is done only where disk, record and head agree"
	}
	return ""
}

// TestAdoptThenSettles: after an adoption the next decision is no adoption, so
// that a path cannot be adopted for ever.
func TestAdoptThenSettles(t *testing.T) {
	for _, w := range worlds() {
		got := Decide("p", w.h, w.q, w.r, w.d)
		if got.Action != Adopt {
			continue
		}
		r := Recorded{Lineage: Held, Base: got.Base, Entry: got.Entry, Stat: w.d.Stat}
		if w.r.Lineage == Foreign && got.Base == w.r.Base {
			r.Lineage = Foreign
		} else if w.r.Lineage == Ahead && got.Base == w.r.Base {
			r.Lineage = Ahead
		}
		if got.Entry.Kind == meta.Absent {
			r = Recorded{}
		}
		next := Decide("p", w.h, w.q, r, w.d)
		if next.Action == Adopt && !((r.Lineage == Foreign || r.Base.IsNone()) && next.Base == w.h.Base()) {
			t.Errorf("%s: adopted, then %v again", w.name, next.Action)
		}
	}
}

func TestMask(t *testing.T) {
	for _, c := range []struct {
		was, is string
		want    meta.Fields
	}{
		{"file a", "file a", 0},
		{"file a", "file a2", meta.FieldMode | meta.FieldMTime},
		{"file a", "file b", meta.FieldContent | meta.FieldMTime},
		{"file a2", "file b", meta.FieldsAll},
		{"dir", "link", meta.FieldsAll},
	} {
		if got := Mask(entries[c.was], entries[c.is]); got != c.want {
			t.Errorf("Mask(%s, %s) = %b, want %b", c.was, c.is, got, c.want)
		}
	}
}
