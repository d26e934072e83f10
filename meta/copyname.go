package meta

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// copySuffix is what copyName adds to a stem: copies of copies lose it first, so
// that names never nest.
var copySuffix = regexp.MustCompile(`(?s)^(.+) \(conflict [a-z0-9][a-z0-9._-]{0,62} r[0-9]{1,20}\)( [0-9]{1,10})?$`)

// maxExt is the longest extension that is kept: longer ones are part of the stem.
const maxExt = 32

// copyName names the loser of a conflict on name: "stem (conflict NODE rREV).ext",
// with " N" before the extension for n > 1, at most limit bytes, cut in the stem
// between runes. A directory has no extension.
func copyName(name string, dir bool, node string, rev id.Revision, n, limit int) string {
	name = stripCopy(name)
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); !dir && i > 0 && len(name)-i <= maxExt && i < len(name)-1 {
		stem, ext = name[:i], name[i:]
	}
	stem = stripCopy(stem)
	suffix := fmt.Sprintf(" (conflict %s r%s)", node, rev)
	if n > 1 {
		suffix += fmt.Sprintf(" %d", n)
	}
	suffix += ext
	return cutRune(stem, max(limit-len(suffix), 1)) + suffix
}

// stripCopy removes what earlier conflicts added to a stem.
func stripCopy(stem string) string {
	for {
		m := copySuffix.FindStringSubmatch(stem)
		if m == nil {
			return stem
		}
		stem = m[1]
	}
}

// cutRune returns the longest prefix of s of at most n bytes that does not end in
// part of a rune. Bytes that are no UTF-8 are cut anywhere.
func cutRune(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}

// copyPath returns a path beside p, not taken, for the loser of a conflict on p.
// Where the directory's own path is so long that no name fits, the copy goes to
// the nearest ancestor where one does.
func (c *commit) copyPath(p id.Path, kind Kind) (id.Path, error) {
	if c.name == "" {
		c.name = c.node.Short()
		r, ok, err := reads{c.t}.node(c.node)
		if err != nil {
			return "", err
		}
		if ok && id.CheckName(r.Name) == nil {
			c.name = r.Name
		}
	}
	const shortest = 8 + len(" (conflict ") + id.MaxName + len(" r18446744073709551615) 4294967295") + maxExt
	dir := p.Dir()
	for dir != "" && len(dir)+1+shortest > id.MaxPath {
		dir = dir.Dir()
	}
	limit := id.MaxComponent
	if dir != "" {
		limit = min(limit, id.MaxPath-len(dir)-1)
	}
	for n := 1; ; n++ {
		q := dir.Join(copyName(p.Base(), kind == Dir, c.name, c.rev, n, limit))
		v, ok, err := c.newest(q)
		if err != nil {
			return "", err
		}
		if !ok || !v.live() && !(v.hidden() && v.Revision == c.rev) {
			return q, nil
		}
	}
}
