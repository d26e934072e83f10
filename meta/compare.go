package meta

import (
	"errors"
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// maxTouched bounds the revisions that Compare walks and the paths that it collects
// from them, about 10 MiB; beyond it all rows of the tree are read instead.
const maxTouched = 1 << 16

// Compare calls fn with both versions of each path within under ("" is everything)
// whose entries differ between two revisions, then not being the newer one, in byte
// order. Where a path had no version it is Absent, with revision 0. What it reads is
// in proportion to what the revisions between changed or, where those are very many,
// to the tree.
func (v *View) Compare(f id.Folder, under id.Path, then, now id.Revision, fn func(then, now Version) error) error {
	return v.compareWithin(f, under, then, now, maxTouched, fn)
}

func (v *View) compareWithin(f id.Folder, under id.Path, then, now id.Revision, most int, fn func(then, now Version) error) (err error) {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	now = min(now, head)
	then = min(then, now)
	one := func(then, now Version) error {
		if then.Entry == now.Entry {
			return nil
		}
		return fn(then, now)
	}
	paths, ok, err := v.d.touched(f, under, then, now, most)
	if err != nil {
		return err
	}
	if !ok {
		return v.d.compare(f, under, now, then, func(now, then version) error { return one(then.Version, now.Version) })
	}
	c, err := v.d.cursor(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, p := range paths {
		a, _, err := c.at(p, then)
		if err != nil {
			return err
		}
		b, _, err := c.at(p, now)
		if err != nil {
			return err
		}
		a.Path, b.Path = p, p
		if err := one(a.Version, b.Version); err != nil {
			return err
		}
	}
	return nil
}

// touched returns the paths within under that the revisions after then, up to now,
// changed, in byte order; false if there are more of either than most.
func (d reads) touched(f id.Folder, under id.Path, then, now id.Revision, most int) (paths []id.Path, ok bool, err error) {
	if now-then > id.Revision(most) {
		return nil, false, nil
	}
	seen := make(map[id.Path]bool)
	err = d.revisionRows(f, under, now, then+1, func(_ id.Revision, p id.Path) error {
		if seen[p] = true; len(seen) > most {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return nil, false, nil
	}
	for p := range seen {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths, true, err
}

// errStop ends an iteration early.
var errStop = errors.New("stop")

// revisionRows calls fn with the paths within under that the revisions from newest
// down to oldest changed, in path order within one revision.
func (d reads) revisionRows(f id.Folder, under id.Path, newest, oldest id.Revision, fn func(id.Revision, id.Path) error) (err error) {
	all := folderKey(keyRevision, f)
	it, err := d.r.Iter(all, kv.PrefixEnd(all))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for r := newest; r >= max(oldest, 1); r-- {
		whole := revisionPrefix(f, r)
		ranges := [][]byte{whole} // what keys start with
		if under != "" {
			ranges = [][]byte{revisionKey(f, r, under), revisionKey(f, r, under+"/")}
		}
		for i, prefix := range ranges {
			it.Seek(prefix)
			for it.Next() {
				k := it.Key()
				if len(k) < len(prefix) || string(k[:len(prefix)]) != string(prefix) {
					break
				}
				p := id.Path(k[len(whole):])
				if under != "" && i == 0 && p != under {
					break // under itself sorts first of all that begins like it
				}
				if err := fn(r, p); err != nil {
					return err
				}
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Versions calls fn with the versions within under ("" is everything) that the
// revisions from newest down to oldest made, in path order within one revision.
func (v *View) Versions(f id.Folder, under id.Path, newest, oldest id.Revision, fn func(Version) error) (err error) {
	head, err := v.head(f)
	if err != nil {
		return err
	}
	c, err := v.d.cursor(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return v.d.revisionRows(f, under, min(newest, head), oldest, func(r id.Revision, p id.Path) error {
		x, ok, err := c.at(p, r)
		if err != nil {
			return err
		}
		if !ok || x.Revision != r {
			return errNoVersion(p, r)
		}
		return fn(x.Version)
	})
}

// Tag returns the tag of that name.
func (v *View) Tag(f id.Folder, name string) (Tag, bool, error) {
	tags, err := v.Tags(f)
	i := slices.IndexFunc(tags, func(t Tag) bool { return t.Name == name })
	if err != nil || i < 0 {
		return Tag{}, false, err
	}
	return tags[i], true, nil
}
