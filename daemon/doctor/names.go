package doctor

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Clashes finds the names of one directory that some systems hold for one, at most
// limit of them; more says that there are others. walk calls its argument with every
// path of a folder, directories too; it is called twice, so that what is kept in
// memory is a number a path, and the text of the clashing ones alone.
func Clashes(walk func(func(path string) error) error, limit int) (list []Clash, more bool, err error) {
	f := folder{fold: cases.Fold(), seed: maphash.MakeSeed()}
	seen, twice := make(map[uint64]struct{}), make(map[uint64]struct{})
	err = walk(func(p string) error {
		h := maphash.String(f.seed, f.key(p))
		if _, ok := seen[h]; ok {
			twice[h] = struct{}{}
		}
		seen[h] = struct{}{}
		return nil
	})
	if err != nil || len(twice) == 0 {
		return nil, false, err
	}
	groups := make(map[string][]string)
	err = walk(func(p string) error {
		key := f.key(p)
		if _, ok := twice[maphash.String(f.seed, key)]; !ok {
			return nil
		}
		if _, ok := groups[key]; !ok && len(groups) == limit {
			more = true
			return nil
		}
		groups[key] = append(groups[key], strings.Clone(p))
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		if g := groups[key]; len(g) > 1 { // else two numbers were equal by chance
			list = append(list, Clash{Paths: g, Unicode: !caseOnly(g)})
		}
	}
	return list, more, nil
}

// folder makes keys that are equal for names that some system holds for one.
type folder struct {
	fold cases.Caser
	seed maphash.Seed
}

// key leaves the parent as it is: where two directories clash, they are listed, and
// not all that is in them.
func (f folder) key(p string) string {
	dir, name := "", p
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		dir, name = p[:i+1], p[i+1:]
	}
	if ascii(name) {
		return dir + strings.ToLower(name)
	}
	if !utf8.ValidString(name) {
		return p // such a name cannot be on those systems at all
	}
	return dir + norm.NFC.String(f.fold.String(norm.NFC.String(name)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func caseOnly(paths []string) bool {
	for _, p := range paths[1:] {
		if !strings.EqualFold(p, paths[0]) {
			return false
		}
	}
	return true
}
