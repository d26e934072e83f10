// Package textdiff shows how two texts differ, as unified diffs.
package textdiff

import (
	"bytes"

	"github.com/aymanbagabas/go-udiff"
)

// MaxSize is the size in bytes up to which a text should be diffed. A diff holds
// both texts and an index of their lines in memory, about ten times their size.
const MaxSize = 4 << 20

// sniff is how many bytes IsText looks at; git looks at as many.
const sniff = 8000

// IsText reports whether b, the start of a file or all of it, looks like text: it
// has no NUL byte in the first 8000, which is git's test.
func IsText(b []byte) bool { return bytes.IndexByte(b[:min(len(b), sniff)], 0) < 0 }

// Unified returns the unified diff, with three lines of context, that makes b of a;
// "" when they are equal. The labels stand in its two first lines as they are. It
// is what `patch` and `git apply` take. For texts that differ very much it is
// right, though not the shortest: the search is bounded (Myers 1986, as in gopls).
func Unified(aLabel, bLabel string, a, b []byte) string {
	return udiff.Unified(aLabel, bLabel, string(a), string(b))
}
