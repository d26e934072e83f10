package control

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// EncodePath returns how a path is shown in JSON: itself where it is UTF-8, with
// b64 empty; otherwise text has each byte that is not UTF-8 as \xNN and each
// backslash doubled, and b64 is the path's bytes in base64.
func EncodePath(p string) (text, b64 string) {
	if utf8.ValidString(p) {
		return p, ""
	}
	var sb strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&sb, `\x%02x`, p[i])
		case r == '\\':
			sb.WriteString(`\\`)
		default:
			sb.WriteString(p[i : i+n])
		}
		i += n
	}
	return sb.String(), base64.StdEncoding.EncodeToString([]byte(p))
}

// DecodePath is the inverse of EncodePath: it returns the path's bytes.
func DecodePath(text, b64 string) (string, error) {
	if b64 == "" {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return "", fmt.Errorf("path_b64 of %q: %w", text, err)
	}
	return string(raw), nil
}

// RawPath is a path in a request: any bytes. In JSON it is a string, or
// {"b64": "…"} where it is not UTF-8.
type RawPath string

type rawB64 struct {
	B64 []byte `json:"b64"`
}

// MarshalJSON implements json.Marshaler.
func (p RawPath) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(p)) {
		return json.Marshal(string(p))
	}
	return json.Marshal(rawB64{[]byte(p)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *RawPath) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*p = RawPath(s)
		return nil
	}
	var r rawB64
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("path: want a string or {\"b64\": …}: %w", err)
	}
	*p = RawPath(r.B64)
	return nil
}
