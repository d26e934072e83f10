package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// View is a consistent read of the whole state: one applied index, every folder
// at one head. It is safe for concurrent use until Close. Revisions newer than a
// folder's head read as its head. Callbacks may use the View; an error that one
// returns ends the call and is returned.
type View struct {
	d       reads
	snap    *kv.Snapshot
	release func()
	heads   sync.Map // folder -> revision: what is frozen is read once
}

func newView(dbs DBs) *View {
	db, release := dbs.Acquire()
	s := db.Snapshot()
	return &View{d: reads{s}, snap: s, release: release}
}

// Close ends the view.
func (v *View) Close() error {
	err := v.snap.Close()
	v.release()
	return err
}

// AppliedIndex is the index of the newest log entry that the view shows.
func (v *View) AppliedIndex() (uint64, error) { return v.d.applied() }

// Cluster returns the cluster's record, zero before its first command.
func (v *View) Cluster() (ClusterInfo, error) {
	w := new(rowCluster)
	if ok, err := v.d.row([]byte{keyCluster}, w); err != nil || !ok {
		return ClusterInfo{}, err
	}
	c, err := getFixed[id.Cluster](w.ID)
	return ClusterInfo{ID: c, FeatureLevel: w.Level, Created: fromNanos(w.Created)}, err
}

// Folders returns all folders, removed ones too, in the order of their IDs.
func (v *View) Folders() ([]Folder, error) { return v.d.folders() }

func (d reads) folders() (out []Folder, err error) {
	err = d.prefix([]byte{keyFolder}, func(k, b []byte) error {
		if len(k) != 17 {
			return fmt.Errorf("%w: folder key %x", ErrDamaged, k)
		}
		f, err := decodeFolder(id.Folder(k[1:]), b)
		out = append(out, f)
		return err
	})
	return out, err
}

// Folder returns one folder's record.
func (v *View) Folder(f id.Folder) (Folder, bool, error) { return v.d.folder(f) }

// FolderByName returns the folder of that name that is not removed.
func (v *View) FolderByName(name string) (Folder, bool, error) {
	all, err := v.d.folders()
	if err != nil {
		return Folder{}, false, err
	}
	for _, f := range all {
		if f.Name == name && !f.Removed {
			return f, true, nil
		}
	}
	return Folder{}, false, nil
}

// Head returns the newest commit; Revision is 0 for an empty folder.
func (v *View) Head(f id.Folder) (Commit, error) {
	head, err := v.head(f)
	if err != nil || head == 0 {
		return Commit{Folder: f}, err
	}
	c, ok, err := v.d.commit(f, head)
	if err == nil && !ok {
		err = fmt.Errorf("%w: no header of revision %s", ErrDamaged, head)
	}
	return c, err
}

func (v *View) head(f id.Folder) (id.Revision, error) {
	if r, ok := v.heads.Load(f); ok {
		return r.(id.Revision), nil
	}
	s, err := v.d.state(f)
	if err == nil {
		v.heads.Store(f, id.Revision(s.Revision))
	}
	return id.Revision(s.Revision), err
}

// Commit returns one header.
func (v *View) Commit(f id.Folder, r id.Revision) (Commit, bool, error) {
	head, err := v.head(f)
	if err != nil || r > head || r == 0 {
		return Commit{}, false, err
	}
	return v.d.commit(f, r)
}

// Commits calls fn with the headers from newest down to oldest.
func (v *View) Commits(f id.Folder, newest, oldest id.Revision, fn func(Commit) error) error {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	for r := min(newest, head); r >= max(oldest, 1); r-- {
		c, ok, err := v.d.commit(f, r)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: no header of revision %s", ErrDamaged, r)
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

// Holds reports whether this history has the revision that b names.
func (v *View) Holds(f id.Folder, b Base) (bool, error) {
	c, ok, err := v.Commit(f, b.Revision)
	return ok && b.Own == 0 && c.Hash.Prefix() == b.Hash, err
}

// At returns the newest version of p at or before r, tombstones too.
func (v *View) At(f id.Folder, p id.Path, r id.Revision) (Version, bool, error) {
	head, err := v.head(f)
	if err != nil {
		return Version{}, false, err
	}
	out, ok, err := v.d.at(f, p, min(r, head))
	return out.Version, ok, err
}

// Paths reads versions of many paths of one folder of a View, best in the order of the
// paths: one iterator that goes on costs a fraction of one a path. It is not safe for
// concurrent use, and is closed before its View.
type Paths struct {
	c    *cursor
	head id.Revision
}

// Paths returns a reader of the folder's versions.
func (v *View) Paths(f id.Folder) (*Paths, error) {
	head, err := v.head(f)
	if err != nil {
		return nil, err
	}
	c, err := v.d.cursor(f)
	if err != nil {
		return nil, err
	}
	return &Paths{c, head}, nil
}

// At is View.At.
func (x *Paths) At(p id.Path, r id.Revision) (Version, bool, error) {
	v, ok, err := x.c.at(p, min(r, x.head))
	return v.Version, ok, err
}

// Close ends the reader.
func (x *Paths) Close() error { return x.c.close() }

// Changes calls fn with the versions that revision r made, in path order.
func (v *View) Changes(f id.Folder, r id.Revision, fn func(Version) error) error {
	head, err := v.head(f)
	if err != nil || r > head {
		return err
	}
	return v.d.changes(f, r, func(x version) error { return fn(x.Version) })
}

func (d reads) changes(f id.Folder, r id.Revision, fn func(version) error) (err error) {
	it, err := d.r.Iter(folderKey(keyVersion, f), kv.PrefixEnd(folderKey(keyVersion, f)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	prefix := revisionPrefix(f, r)
	return d.prefix(prefix, func(k, _ []byte) error {
		p := id.Path(k[len(prefix):])
		it.Seek(versionKey(f, p, r))
		if !it.Next() {
			if err := it.Err(); err != nil {
				return err
			}
			return errNoVersion(p, r)
		}
		x, err := decodeVersionAt(it)
		if err != nil {
			return err
		}
		if x.Path != p || x.Revision != r {
			return errNoVersion(p, r)
		}
		return fn(x)
	})
}

// Tree calls fn with the live entries at r within under ("" is the whole folder),
// in byte order of their paths.
func (v *View) Tree(f id.Folder, under id.Path, r id.Revision, fn func(Version) error) error {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	return v.d.subtree(f, under, min(r, head), func(x version) error {
		if !x.live() {
			return nil
		}
		return fn(x.Version)
	})
}

// History calls fn with the versions of p, newest first. It does not follow
// renames: a version's From does.
func (v *View) History(f id.Folder, p id.Path, fn func(Version) error) error {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	return v.d.versions(f, p, head, 0, func(x version) (bool, error) { return true, fn(x.Version) })
}

// Totals returns the counts at the head.
func (v *View) Totals(f id.Folder) (Totals, error) {
	s, err := v.d.state(f)
	return Totals{Files: s.Files, Dirs: s.Dirs, Symlinks: s.Symlinks, Bytes: s.Bytes}, err
}

// Conflicts calls fn with all records, the oldest first.
func (v *View) Conflicts(f id.Folder, fn func(Conflict) error) error {
	prefix := folderKey(keyConflict, f)
	return v.d.prefix(prefix, func(k, b []byte) error {
		if len(k) != len(prefix)+8 {
			return fmt.Errorf("%w: conflict key %x", ErrDamaged, k)
		}
		c, err := decodeConflict(f, binary.BigEndian.Uint64(k[len(prefix):]), b)
		if err != nil {
			return err
		}
		return fn(c)
	})
}

// Conflict returns one record.
func (v *View) Conflict(f id.Folder, n uint64) (Conflict, bool, error) { return v.d.conflict(f, n) }

// OpenConflicts returns how many records are open.
func (v *View) OpenConflicts(f id.Folder) (int, error) {
	s, err := v.d.state(f)
	return int(s.Open), err
}

// Lane returns how far a node's proposals have come.
func (v *View) Lane(n id.Node, lane id.Folder) (Lane, error) {
	l, e1 := v.d.lane(n, lane)
	s, e2 := v.d.session(n)
	return Lane{Session: s, Last: id.Sequence(l.Last)}, errors.Join(e1, e2)
}

// Outcome returns the stored answer to a proposal. Under sequence 0 of the
// cluster's lane is the answer to the node's newest session (Detail is its ID).
func (v *View) Outcome(n id.Node, lane id.Folder, s id.Sequence) (Outcome, bool, error) {
	o, ok, err := v.d.outcome(n, lane, s)
	return o.Outcome, ok, err
}

// Nodes returns the members in the order of their IDs.
func (v *View) Nodes() ([]NodeRecord, error) { return v.d.nodes() }

func (d reads) nodes() (out []NodeRecord, err error) {
	err = d.prefix([]byte{keyNode}, func(_, b []byte) error {
		r, err := decodeNode(b)
		out = append(out, r)
		return err
	})
	return out, err
}

func (d reads) invites() (out []Invite, err error) {
	err = d.prefix([]byte{keyInvite}, func(k, b []byte) error {
		var h id.Digest
		copy(h[:], k[1:])
		inv, err := decodeInvite(h, b)
		out = append(out, inv)
		return err
	})
	return out, err
}

// Node returns one member's record.
func (v *View) Node(n id.Node) (NodeRecord, bool, error) { return v.d.node(n) }

// Invite returns the invite of a secret's hash, used and revoked ones too.
func (v *View) Invite(h id.Digest) (Invite, bool, error) { return v.d.invite(h) }

// Tags returns a folder's tags in the order of their names.
func (v *View) Tags(f id.Folder) (out []Tag, err error) {
	prefix := folderKey(keyTag, f)
	err = v.d.prefix(prefix, func(k, b []byte) error {
		w := new(rowTag)
		if err := unpackRow(b, w); err != nil {
			return err
		}
		n, err := getFixed[id.Node](w.Node)
		out = append(out, Tag{Folder: f, Name: string(k[len(prefix):]), Revision: id.Revision(w.Revision), Time: fromNanos(w.Time), Node: n})
		return err
	})
	return out, err
}
