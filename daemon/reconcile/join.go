package reconcile

import "github.com/lockstep-sync/lockstep/meta"

// Standing is how a file or symlink that was on the disk before this node kept the
// folder stands to what the folder's history has at its path.
type Standing uint8

// The standings.
const (
	// Fresh: the folder has nothing there now, and never had this content there.
	Fresh Standing = iota
	// Equal: the head has this content.
	Equal
	// Older: an earlier version has it, and the head another one.
	Older
	// Gone: an earlier version has it, and the folder has deleted or moved it since.
	Gone
	// Different: the head is another thing, and no version has this content.
	Different
)

// String returns the word that a plan uses.
func (s Standing) String() string {
	return [...]string{"only here", "equal", "older", "deleted there", "different"}[s]
}

// Candidate reports whether a version can have the content of something of that
// kind and size, so that only what may be in history is read.
func Candidate(v, disk meta.Entry) bool {
	return v.Kind == disk.Kind && (disk.Kind != meta.File || v.Size == disk.Size)
}

// Stand compares what is on the disk with the head and the path's candidates, newest
// first. For Equal, Older and Gone it returns the version that the disk holds: the
// base of what the user makes of it.
func Stand(head meta.Version, candidates []meta.Version, disk meta.Entry) (Standing, meta.Version) {
	for _, v := range candidates {
		switch {
		case !v.Entry.SameContent(disk):
			continue
		case head.Entry.SameContent(disk):
			return Equal, v
		case head.Entry.Kind == meta.Absent:
			return Gone, v
		}
		return Older, v
	}
	if head.Entry.Kind == meta.Absent {
		return Fresh, meta.Version{}
	}
	return Different, meta.Version{}
}
