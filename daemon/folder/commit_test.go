package folder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// TestCommitLen: the parts hold everything once, in order, each within its bound
// unless it is one path.
func TestCommitLen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ paths, length, parts int }{
		{0, 0, 0}, {1, 10, 1}, {20000, 50, 1}, {20000, 1000, 3}, {100000, 50, 2}, {300000, 6, 3},
	} {
		e := &Engine{commitMax: commitBytes}
		var all []*found
		for i := range c.paths {
			all = append(all, &found{path: id.Path(fmt.Sprintf("%06d%s", i, strings.Repeat("x", max(0, c.length-6))))})
		}
		parts, seen := 0, 0
		for rest := all; len(rest) > 0; parts++ {
			n := e.commitLen(rest)
			size := 0
			for _, fd := range rest[:n] {
				if fd != all[seen] {
					t.Fatalf("%+v: path %d is out of order", c, seen)
				}
				size += meta.Change{Path: fd.path}.MaxSize()
				seen++
			}
			if n > 1 && (size > commitBytes/2 || n > meta.MaxChanges/2) {
				t.Errorf("%+v: a part of %d bytes", c, size)
			}
			rest = rest[n:]
		}
		if seen != c.paths || parts != c.parts {
			t.Errorf("%+v: %d paths in %d parts", c, seen, parts)
		}
	}
}
