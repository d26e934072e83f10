package meta

import (
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// cursor reads versions of many paths of one folder. One iterator that seeks costs a
// fraction of one that is made for each look. It is not safe for concurrent use.
type cursor struct {
	it     *kv.Iter
	folder id.Folder
}

func (d reads) cursor(f id.Folder) (*cursor, error) {
	all := folderKey(keyVersion, f)
	it, err := d.r.Iter(all, kv.PrefixEnd(all))
	return &cursor{it, f}, err
}

func (c *cursor) close() error { return c.it.Close() }

// at is reads.at.
func (c *cursor) at(p id.Path, r id.Revision) (v version, ok bool, err error) {
	if p == "" {
		return v, false, nil
	}
	err = c.versions(p, r, 0, func(x version) (bool, error) {
		v, ok = x, true
		return false, nil
	})
	return v, ok, err
}

// versions is reads.versions; fn may not use the cursor.
func (c *cursor) versions(p id.Path, newest, oldest id.Revision, fn func(version) (bool, error)) error {
	c.it.Seek(versionKey(c.folder, p, newest))
	for c.it.Next() {
		q, r, ok := parseVersionKey(c.it.Key())
		if ok && (q != p || r < oldest) {
			return nil
		}
		v, err := decodeVersionAt(c.it)
		if err != nil {
			return err
		}
		if more, err := fn(v); err != nil || !more {
			return err
		}
	}
	return c.it.Err()
}
