package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// reads are the rows of the store, decoded.
type reads struct{ r kv.Reader }

func (d reads) applied() (uint64, error) {
	v, ok, err := d.r.Get([]byte{keyApplied})
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: applied index of %d bytes", ErrDamaged, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// row decodes the row at key into v and reports whether there is one.
func (d reads) row(key []byte, v any) (bool, error) {
	b, ok, err := d.r.Get(key)
	if err != nil || !ok {
		return false, err
	}
	return true, unpackRow(b, v)
}

// state is a folder's head: zero before its first commit.
func (d reads) state(f id.Folder) (s rowState, err error) {
	_, err = d.row(folderKey(keyState, f), &s)
	return s, err
}

func (d reads) folder(f id.Folder) (Folder, bool, error) {
	b, ok, err := d.r.Get(folderKey(keyFolder, f))
	if err != nil || !ok {
		return Folder{}, false, err
	}
	out, err := decodeFolder(f, b)
	return out, err == nil, err
}

func (d reads) commit(f id.Folder, r id.Revision) (Commit, bool, error) {
	b, ok, err := d.r.Get(commitKey(f, r))
	if err != nil || !ok {
		return Commit{}, false, err
	}
	c, err := decodeCommit(f, r, b)
	return c, err == nil, err
}

func (d reads) node(n id.Node) (NodeRecord, bool, error) {
	b, ok, err := d.r.Get(nodeKey(keyNode, n))
	if err != nil || !ok {
		return NodeRecord{}, false, err
	}
	r, err := decodeNode(b)
	return r, err == nil, err
}

func (d reads) invite(h id.Digest) (Invite, bool, error) {
	b, ok, err := d.r.Get(inviteKey(h))
	if err != nil || !ok {
		return Invite{}, false, err
	}
	i, err := decodeInvite(h, b)
	return i, err == nil, err
}

func (d reads) session(n id.Node) (id.Session, error) {
	w := new(rowSession)
	if ok, err := d.row(nodeKey(keySession, n), w); err != nil || !ok {
		return id.Session{}, err
	}
	return getFixed[id.Session](w.Session)
}

func (d reads) lane(n id.Node, lane id.Folder) (l rowLane, err error) {
	_, err = d.row(laneKey(keyLane, n, lane), &l)
	return l, err
}

func (d reads) outcome(n id.Node, lane id.Folder, s id.Sequence) (outcome, bool, error) {
	b, ok, err := d.r.Get(outcomeKey(n, lane, s))
	if err != nil || !ok {
		return outcome{}, false, err
	}
	o, err := decodeOutcome(s, b)
	return o, err == nil, err
}

func (d reads) conflict(f id.Folder, n uint64) (Conflict, bool, error) {
	b, ok, err := d.r.Get(conflictKey(f, n))
	if err != nil || !ok {
		return Conflict{}, false, err
	}
	c, err := decodeConflict(f, n, b)
	return c, err == nil, err
}

// each calls fn with the rows lo <= key < hi. Key and value are valid only
// during the call.
func (d reads) each(lo, hi []byte, fn func(k, v []byte) error) (err error) {
	it, err := d.r.Iter(lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// prefix is each over all keys that start with p.
func (d reads) prefix(p []byte, fn func(k, v []byte) error) error {
	return d.each(p, kv.PrefixEnd(p), fn)
}

// at returns the newest version of p at or before r, tombstones too.
func (d reads) at(f id.Folder, p id.Path, r id.Revision) (v version, ok bool, err error) {
	if p == "" {
		return v, false, nil
	}
	prefix := versionPrefix(f, p)
	it, err := d.r.Iter(versionKey(f, p, r), kv.PrefixEnd(prefix))
	if err != nil {
		return v, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Next() {
		return v, false, nil
	}
	v, err = decodeVersionAt(it)
	return v, err == nil, err
}

func decodeVersionAt(it *kv.Iter) (version, error) {
	p, r, ok := parseVersionKey(it.Key())
	if !ok {
		return version{}, fmt.Errorf("%w: version key %x", ErrDamaged, it.Key())
	}
	return decodeVersion(p, r, it.Value())
}

// versions calls fn with p's versions, newest first, from revision newest down to
// oldest, until it returns false.
func (d reads) versions(f id.Folder, p id.Path, newest, oldest id.Revision, fn func(version) (bool, error)) (err error) {
	it, err := d.r.Iter(versionKey(f, p, newest), kv.PrefixEnd(versionPrefix(f, p)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Next() {
		v, err := decodeVersionAt(it)
		if err != nil {
			return err
		}
		if v.Revision < oldest {
			return nil
		}
		if more, err := fn(v); err != nil || !more {
			return err
		}
	}
	return nil
}

// skipAfter is how many rows of one path are stepped over before a seek.
const skipAfter = 8

// subtree calls fn for each path within under that has a version at or before r,
// in byte order, with the newest such version, tombstones too.
func (d reads) subtree(f id.Folder, under id.Path, r id.Revision, fn func(version) error) error {
	if under != "" {
		v, ok, err := d.at(f, under, r)
		if err != nil {
			return err
		}
		if ok {
			if err := fn(v); err != nil {
				return err
			}
		}
	}
	return d.below(f, under, r, fn)
}

// below is subtree without the path itself.
func (d reads) below(f id.Folder, under id.Path, r id.Revision, fn func(version) error) (err error) {
	prefix := versionBelow(f, under)
	it, err := d.r.Iter(prefix, kv.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var done []byte // the path and NUL that fn has had
	skipped := 0
	for it.Next() {
		k := it.Key()
		if done != nil && bytes.HasPrefix(k, done) {
			if skipped++; skipped > skipAfter {
				it.Seek(kv.PrefixEnd(done))
				skipped = 0
			}
			continue
		}
		p, rev, ok := parseVersionKey(k)
		if !ok {
			return fmt.Errorf("%w: version key %x", ErrDamaged, k)
		}
		if rev > r {
			if skipped++; skipped > skipAfter {
				it.Seek(versionKey(f, p, r))
				skipped = 0
			}
			continue
		}
		v, err := decodeVersion(p, rev, it.Value())
		if err != nil {
			return err
		}
		done, skipped = append(done[:0], k[:len(k)-8]...), 0
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}
