package folder

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// orderBytes is what has to be brought before an order is worth a thought: below
	// it everything is there soon.
	orderBytes = 64 << 20
	// earlyBytes bounds what goes first, as one.
	earlyBytes = 16 << 20
	// soloBytes is the size from which a file of a first sync comes after the others,
	// by itself.
	soloBytes = 4 << 20
)

// unit is a set of paths that are brought as one, as far as a page reaches.
type unit struct {
	paths  []id.Path
	bytes  int64
	newest id.Revision // of its versions
}

// order splits the paths so that small and recent ones need not wait for large ones.
// A commit stays whole, and overtakes another only where the two have no first path
// component in common, nor one that links them. Of a first sync, where nothing on the
// disk is torn apart by it, the large files come last.
func (e *Engine) order(s *snap, seen id.Revision, paths []id.Path) ([]unit, error) {
	heads := make([]meta.Version, len(paths))
	total, moves := int64(0), false
	for i, p := range paths {
		v, err := s.version(p)
		if err != nil {
			return nil, err
		}
		heads[i] = v
		total += v.Entry.Size
		moves = moves || v.From != "" && v.Entry.Kind == meta.Dir
	}
	whole := []unit{{paths: paths, bytes: total}}
	switch {
	case total < e.haste.least:
		return whole, nil
	case seen == 0 && moves: // a directory that is renamed takes along what is in it
		return whole, nil
	case seen == 0:
		return largeLast(paths, heads), nil
	case s.head.Revision < seen || s.head.Revision-seen > maxReplay:
		return whole, nil
	}
	l := make(links)
	for rev := seen + 1; rev <= s.head.Revision; rev++ {
		err := s.view.Changes(e.o.ID, rev, func(v meta.Version) error {
			l.join(rev, v.Path, v.From)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return smallFirst(paths, heads, l), nil
}

// largeLast makes one unit of all but the large files, and others of those.
func largeLast(paths []id.Path, heads []meta.Version) []unit {
	var rest unit
	var large []unit
	for i, p := range paths {
		if v := heads[i]; v.Entry.Kind == meta.File && v.Entry.Size >= soloBytes {
			large = append(large, unit{[]id.Path{p}, v.Entry.Size, v.Revision})
			continue
		}
		rest.paths = append(rest.paths, p)
		rest.bytes += heads[i].Entry.Size
	}
	sortUnits(large)
	if len(rest.paths) > 0 {
		large = append([]unit{rest}, large...)
	}
	return together(large)
}

// smallFirst makes a unit of what is linked, and of several small ones together.
func smallFirst(paths []id.Path, heads []meta.Version, l links) []unit {
	at := make(map[string]int)
	var units []unit
	for i, p := range paths {
		k := l.find(component(p))
		n, ok := at[k]
		if !ok {
			n = len(units)
			at[k] = n
			units = append(units, unit{})
		}
		u := &units[n]
		u.paths = append(u.paths, p)
		u.bytes += heads[i].Entry.Size
		u.newest = max(u.newest, heads[i].Revision)
	}
	sortUnits(units)
	return together(units)
}

// together makes one unit of small ones that follow each other: little at first, then
// as much as a page, since each unit is made durable by itself.
func together(units []unit) []unit {
	var out []unit
	limit := int64(earlyBytes)
	for _, u := range units {
		if n := len(out); n > 0 && out[n-1].bytes+u.bytes <= limit {
			out[n-1].paths = append(out[n-1].paths, u.paths...)
			out[n-1].bytes += u.bytes
			continue
		}
		if len(out) > 0 {
			limit = firstPageBytes
		}
		out = append(out, u)
	}
	for _, u := range out {
		slices.Sort(u.paths)
	}
	return out
}

// sortUnits puts small ones before large ones, and of about equal ones the recent
// before the old.
func sortUnits(units []unit) {
	class := func(n int64) (c int) {
		for ; n >= soloBytes; n /= 4 {
			c++
		}
		return c
	}
	slices.SortStableFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(class(a.bytes), class(b.bytes)), cmp.Compare(b.newest, a.newest), cmp.Compare(a.bytes, b.bytes))
	})
}

// links joins first path components that commits have in common: a forest, each
// naming its parent.
type links map[string]string

// component is a path's first one, regardless of case: some disks hold only one of two
// that differ in case.
func component(p id.Path) string { return "/" + strings.ToLower(p.First()) }

func (l links) find(k string) string {
	for {
		up, ok := l[k]
		if !ok || up == k {
			return k
		}
		if top, ok := l[up]; ok {
			l[k] = top
		}
		k = up
	}
}

// join notes that a revision touches a path, and the one that it was moved from.
func (l links) join(rev id.Revision, p, from id.Path) {
	top := l.find(rev.String())
	for _, q := range []id.Path{p, from} {
		if q == "" {
			continue
		}
		if other := l.find(component(q)); other != top {
			l[other] = top
		}
	}
}
