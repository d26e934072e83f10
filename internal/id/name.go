package id

import (
	"fmt"
	"strings"
)

// MaxName is the longest name of a node or folder in bytes.
const MaxName = 63

// CheckName reports why s cannot name a node or a folder:
// names are [a-z0-9][a-z0-9._-]{0,62}.
func CheckName(s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("name %q: want 1 to %d characters", s, MaxName)
	}
	for i, c := range []byte(s) {
		if !nameByte(c, i == 0) {
			return fmt.Errorf("name %q: use a-z, 0-9, and after the first character also . _ -", s)
		}
	}
	return nil
}

// MakeName turns s into a valid name: lower-cased, other characters as "-", cut
// to MaxName. A string with no usable character gives fallback.
func MakeName(s, fallback string) string {
	b := []byte(strings.ToLower(s))
	for i, c := range b {
		if !nameByte(c, false) {
			b[i] = '-'
		}
	}
	out := strings.TrimLeft(string(b), "-._")
	if len(out) > MaxName {
		out = out[:MaxName]
	}
	if out == "" {
		return fallback
	}
	return out
}

func nameByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return true
	case c == '.', c == '_', c == '-':
		return !first
	}
	return false
}
