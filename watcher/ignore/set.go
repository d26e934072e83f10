package ignore

import "github.com/lockstep-sync/lockstep/internal/id"

// Set is the rule files of a folder, by their directories. The zero Set has none.
// Methods that change it must not run with others.
type Set struct {
	files map[id.Path]*Rules
	only  *Only
}

// SetOnly makes the set ignore what a node does not keep, before any rule.
func (s *Set) SetOnly(o *Only) { s.only = o }

// Put sets the rules of the file in dir; nil removes them.
func (s *Set) Put(dir id.Path, r *Rules) {
	if r == nil {
		delete(s.files, dir)
		return
	}
	if s.files == nil {
		s.files = make(map[id.Path]*Rules)
	}
	s.files[dir] = r
}

// Get returns the rules of the file in dir, nil if there is none.
func (s *Set) Get(dir id.Path) *Rules { return s.files[dir] }

// Empty reports whether there is no rule file, and everything is kept.
func (s *Set) Empty() bool { return len(s.files) == 0 && s.only == nil }

// Each calls f with every directory that has a rule file, in no order.
func (s *Set) Each(f func(dir id.Path, r *Rules)) {
	for d, r := range s.files {
		f(d, r)
	}
}

// Match is the rule that decides on a path, and the directory of its file. The zero
// Match is that of no rule.
type Match struct {
	Dir  id.Path
	Rule *Rule
}

// Ignored reports whether the path is ignored.
func (m Match) Ignored() bool { return m.Rule != nil && m.Rule.Ignores() }

// Match returns the rule that decides on p: the last that matches in the deepest file
// that has one. Where a directory above p is ignored, it is that directory's, and what
// rules say of p itself has no effect.
func (s *Set) Match(p id.Path, dir bool) Match {
	if s.Empty() {
		return Match{}
	}
	sc := s.In(p.Dir())
	return sc.Match(p, dir)
}

// Scope answers for the names in one directory.
type Scope struct {
	dir   id.Path
	files []placed // the deepest first
	out   Match    // of the directory itself, where it is ignored
	only  *Only
}

// placed are the rules of a file in a directory above, or in, a scope's.
type placed struct {
	dir   id.Path
	rules *Rules
}

// In returns the scope of a directory. It stays as it is when the set changes.
func (s *Set) In(dir id.Path) Scope {
	sc := Scope{dir: dir, only: s.only}
	if s.Empty() {
		return sc
	}
	if s.only != nil && !s.only.Keeps(dir, true) {
		return Scope{dir: dir, out: Match{Rule: &s.only.out}}
	}
	for at := 0; ; {
		sc.dir = dir[:at]
		if r := s.files[sc.dir]; r != nil {
			sc.files = append([]placed{{sc.dir, r}}, sc.files...)
		}
		if at == len(dir) {
			return sc
		}
		end := at + 1
		for end < len(dir) && dir[end] != '/' {
			end++
		}
		if len(sc.files) > 0 {
			if m := sc.match(dir[:end], true); m.Ignored() {
				return Scope{dir: dir, out: m}
			}
		}
		at = end
	}
}

// Empty reports that no rule can match anything in the directory.
func (sc *Scope) Empty() bool { return len(sc.files) == 0 && sc.out.Rule == nil && sc.only == nil }

// Match returns the rule that decides on p, whose parent is the scope's directory.
func (sc *Scope) Match(p id.Path, dir bool) Match {
	if sc.out.Rule != nil {
		return sc.out
	}
	if sc.only != nil && !sc.only.Keeps(p, dir) {
		return Match{Rule: &sc.only.out}
	}
	return sc.match(p, dir)
}

func (sc *Scope) match(p id.Path, dir bool) Match {
	base := len(p)
	for base > 0 && p[base-1] != '/' {
		base--
	}
	for _, f := range sc.files {
		skip := len(f.dir)
		if skip > 0 {
			skip++ // the slash
		}
		if r := f.rules.last(string(p[skip:]), base-skip, dir); r != nil {
			return Match{f.dir, r}
		}
	}
	return Match{}
}
