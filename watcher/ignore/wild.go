package ignore

import "strings"

// result of matching a part of a pattern with a part of a text.
type result int8

const (
	noMatch result = iota
	match
	abortAll      // no start later in the text can match either
	abortStarStar // only one after the next slash can, by way of "**"
)

// patience is how many recursive calls a match may make before their results are
// remembered: only patterns made to be slow need more. With the memory the work is
// at most the product of the lengths.
const patience = 256

// wild is one match. It follows git's wildmatch.c step by step, so that it has the
// same answers for patterns that mean nothing sensible as well.
type wild struct {
	pattern, text string
	path          bool // a slash is matched by "**" only
	calls         int
	known         map[uint64]result
}

// wildmatch reports whether the whole text matches the pattern.
func wildmatch(pattern, text string, path bool) bool {
	w := wild{pattern: pattern, text: text, path: path}
	return w.from(0, 0) == match
}

// at is the pattern's byte i, 0 at its end. No pattern holds a 0.
func (w *wild) at(i int) byte {
	if i < len(w.pattern) {
		return w.pattern[i]
	}
	return 0
}

// from is match, remembering results once there were many calls. The result depends
// on the two places alone: a part after "**/" begins after a slash, other parts never
// begin with a "*".
func (w *wild) from(p, t int) result {
	if w.calls++; w.calls < patience {
		return w.match(p, t)
	}
	key := uint64(p)<<32 | uint64(t)
	if r, ok := w.known[key]; ok {
		return r
	}
	r := w.match(p, t)
	if w.known == nil {
		w.known = make(map[uint64]result)
	}
	w.known[key] = r
	return r
}

// match matches the pattern from p with the text from t.
func (w *wild) match(p, t int) result {
	start := p
	for ; p < len(w.pattern); p, t = p+1, t+1 {
		c := w.pattern[p]
		if t >= len(w.text) && c != '*' {
			return abortAll
		}
		switch c {
		case '\\':
			p++
			if w.at(p) != w.text[t] {
				return noMatch
			}
		case '?':
			if w.path && w.text[t] == '/' {
				return noMatch
			}
		case '*':
			var r result
			var on bool
			if p, t, r, on = w.star(start, p, t); !on {
				return r
			}
		case '[':
			end, in, ok := w.class(p, w.text[t])
			if !ok {
				return abortAll
			}
			if !in || w.path && w.text[t] == '/' {
				return noMatch
			}
			p = end
		default:
			if c != w.text[t] {
				return noMatch
			}
		}
	}
	if t < len(w.text) {
		return noMatch
	}
	return match
}

// star matches from a "*" at p on. Either it has the result, or on is true: both
// places are at a slash, to go on after.
func (w *wild) star(start, p, t int) (np, nt int, r result, on bool) {
	before := p - 1
	slashes := !w.path // whether the star matches slashes
	if p++; w.at(p) == '*' {
		for w.at(p) == '*' {
			p++
		}
		after := w.at(p)
		if w.path && (before < start || w.pattern[before] == '/') &&
			(after == 0 || after == '/' || after == '\\' && w.at(p+1) == '/') {
			// "**/" matches nothing as well.
			if after == '/' && w.from(p+1, t) == match {
				return 0, 0, match, false
			}
			slashes = true
		}
	}
	switch rest := w.text[min(t, len(w.text)):]; {
	case p >= len(w.pattern):
		if !slashes && strings.IndexByte(rest, '/') >= 0 {
			return 0, 0, abortStarStar, false
		}
		return 0, 0, match, false
	case !slashes && w.pattern[p] == '/':
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return 0, 0, abortAll, false
		}
		return p, t + i, noMatch, true
	}
	return 0, 0, w.tryAll(p, t, slashes), false
}

// tryAll matches the pattern after a star from every place in the text where it may begin.
func (w *wild) tryAll(p, t int, slashes bool) result {
	c := w.pattern[p]
	literal := strings.IndexByte(special, c) < 0
	for ; t < len(w.text); t++ {
		if literal {
			for t < len(w.text) && w.text[t] != c && (slashes || w.text[t] != '/') {
				t++
			}
			if t == len(w.text) || w.text[t] != c {
				if slashes {
					return abortAll
				}
				return abortStarStar
			}
		}
		if r := w.from(p, t); r != noMatch {
			if !slashes || r != abortStarStar {
				return r
			}
		} else if !slashes && w.text[t] == '/' {
			return abortStarStar
		}
	}
	return abortAll
}

// class reports whether c is in the bracket expression at p, which ends at end; not
// ok where it has no end.
func (w *wild) class(p int, c byte) (end int, in, ok bool) {
	p++
	negated := w.at(p) == '!' || w.at(p) == '^'
	if negated {
		p++
	}
	var prev byte // the start of a range, 0 where none can start
	for first := true; first || w.at(p) != ']'; first, p = false, p+1 {
		b := w.at(p)
		switch {
		case b == 0:
			return 0, false, false
		case b == '\\':
			p++
			if b = w.at(p); b == 0 {
				return 0, false, false
			}
			in = in || b == c
		case b == '-' && prev != 0 && w.at(p+1) != 0 && w.at(p+1) != ']':
			p++
			if b = w.at(p); b == '\\' {
				p++
				if b = w.at(p); b == 0 {
					return 0, false, false
				}
			}
			in = in || prev <= c && c <= b
			b = 0
		case b == '[' && w.at(p+1) == ':':
			close := strings.IndexByte(w.pattern[p+2:], ']')
			if close < 0 {
				return 0, false, false
			}
			name, named := strings.CutSuffix(w.pattern[p+2:p+2+close], ":")
			if !named { // a set that has these characters
				in = in || c == '['
				break
			}
			is, known := inNamed(name, c)
			if !known {
				return 0, false, false
			}
			in = in || is
			p += 2 + close
			b = 0
		default:
			in = in || b == c
		}
		prev = b
	}
	return p, in != negated, true
}

// inNamed reports whether c is in the class called name, as git sees ASCII: a space
// is a blank, a tab or a line end.
func inNamed(name string, c byte) (in, known bool) {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	space := c == ' ' || c == '\t' || c == '\n' || c == '\r'
	print := 0x20 <= c && c <= 0x7e
	alnum := lower || upper || digit
	switch name {
	case "alnum":
		return alnum, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < 0x20 || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return print && !space, true
	case "lower":
		return lower, true
	case "print":
		return print, true
	case "punct":
		return print && !space && !alnum, true
	case "space":
		return space, true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}
